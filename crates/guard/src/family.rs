//! The processes of the workspace lane.
//!
//! ```text
//!  supervisor
//!     └─ stand-in     waits for the command, writes down how it ended, and ends
//!          ├─ first   process 1 of the namespace; has what the command leaves behind
//!          └─ command waits (`waiting.rs`), makes the view, enters the lane, executes
//! ```
//!
//! The first process holds the end of a pipe whose other end only the stand-in has. When that is closed
//! without a word the stand-in was killed: the first process ends, and the kernel kills everything in its
//! namespace. When the command ends by itself the stand-in says so; what is left goes on beneath the
//! supervisor.
//!
//! All of them share the supervisor's memory until the command executes: copying it would take longer than
//! all else that they do. So the stand-in and the first process, which run beside the supervisor, have stacks
//! of their own, touch nothing but those, and make only system calls that do not fail or whose errors are not
//! kept in a variable of the C library. Nor do they end by a signal: whoever dumps the core of one of them ends
//! all that share its memory.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Pid, WaitOptions, wait, waitpid};

use crate::entry::{Step, at};
use crate::namespaces::drop_held;

/// A stack for a process that calls a few functions; what is not touched takes no memory.
const STACK: usize = 64 << 10;

/// Starts the namespace's first process and the command's. Returns in the latter; the process that calls it
/// becomes the stand-in and does not return. How the command ends is written to `status`, as `wait(2)` says it.
pub(crate) fn begin(status: &'static AtomicI32) -> Step<()> {
    let pipe = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let (leash, hand) = at("make a pipe", pipe.map_err(Into::into))?;
    let stacks = at("make stacks", stacks())?;
    // SAFETY: the stack is as long as it is said to be, and nobody else's.
    let started = unsafe { start_first(stacks.wrapping_add(STACK), leash.as_raw_fd()) };
    at("start the first process", started)?;
    // SAFETY: as above.
    let started = unsafe {
        split(stacks.wrapping_add(2 * STACK), hand.as_raw_fd(), std::ptr::from_ref(status))
    };
    at("start the command's process", started)
}

/// Room for two stacks. It is not given back when processes end on them.
fn stacks() -> io::Result<*mut u8> {
    // SAFETY: a new mapping, which overlaps nothing.
    let mapped = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            2 * STACK,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::STACK,
        )
    };
    Ok(mapped?.cast())
}

/// Starts the first process on a stack. It blocks the signals that its caller does.
///
/// # Safety
/// `stack` is the aligned end of memory that is used for nothing else.
unsafe fn start_first(stack: *mut u8, leash: RawFd) -> io::Result<()> {
    let argument = leash as usize as *mut libc::c_void;
    let flags = libc::CLONE_VM | libc::SIGCHLD;
    // SAFETY: the function never returns, and shares nothing with this process that it changes.
    match unsafe { libc::clone(first, stack.cast(), flags, argument) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Goes on in a new process, on this stack; this process becomes the stand-in, on another.
///
/// # Safety
/// `stack` is the aligned end of memory that is used for nothing else.
unsafe fn split(stack: *mut u8, hand: RawFd, status: *const AtomicI32) -> io::Result<()> {
    const FLAGS: usize = (libc::CLONE_VM | libc::SIGCHLD) as usize;
    let result: isize;
    // SAFETY: returns once, in the new process, with this stack and all registers as they were. From the
    // call on the old process uses registers only, until it is on its own stack, from which it does not
    // come back.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jle 2f",
            "mov rsp, {stack}",
            "xor ebp, ebp",
            "mov edi, eax",
            "mov esi, {hand:e}",
            "mov rdx, {status}",
            "call {stand_in}",
            "ud2",
            "2:",
            stack = in(reg) stack,
            hand = in(reg) hand,
            status = in(reg) status,
            stand_in = sym stand_in,
            inlateout("rax") libc::SYS_clone as isize => result,
            in("rdi") FLAGS,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            out("rcx") _,
            out("r11") _,
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "svc #0",
            "cmp x0, #0",
            "b.le 2f",
            "mov sp, {stack}",
            "mov x29, xzr",
            "mov w1, {hand:w}",
            "mov x2, {status}",
            "bl {stand_in}",
            "brk #1",
            "2:",
            stack = in(reg) stack,
            hand = in(reg) hand,
            status = in(reg) status,
            stand_in = sym stand_in,
            inlateout("x0") FLAGS => result,
            in("x1") 0,
            in("x2") 0,
            in("x3") 0,
            in("x4") 0,
            in("x8") libc::SYS_clone,
            lateout("x30") _,
        );
    }
    match i32::try_from(result) {
        Ok(0) => Ok(()),
        Ok(error) => Err(io::Error::from_raw_os_error(-error)),
        Err(_) => Err(io::ErrorKind::Other.into()),
    }
}

/// The first process: waits until the command has ended, and then until nothing is left.
extern "C" fn first(leash: *mut libc::c_void) -> libc::c_int {
    // What ends is gone by itself.
    // SAFETY: sets what this process does; all who share its memory have their own.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let leash = leash as usize as RawFd;
    keep_only(leash);
    // It executes nothing and listens to nobody.
    let _ = drop_held();
    // SAFETY: this process has its own descriptors, and this is the only one that is left.
    let leash = unsafe { OwnedFd::from_raw_fd(leash) };
    let mut word = [0];
    loop {
        match rustix::io::read(&leash, &mut word) {
            Ok(1..) => break,
            Err(rustix::io::Errno::INTR) => {}
            // The stand-in was killed.
            _ => exit(1),
        }
    }
    drop(leash);
    // Until nobody is left.
    while let Ok(_) | Err(rustix::io::Errno::INTR) = wait(WaitOptions::empty()) {}
    exit(0)
}

/// The stand-in: waits for how the command ends, and writes it down.
extern "C" fn stand_in(command: libc::pid_t, hand: RawFd, ended: *const AtomicI32) -> ! {
    keep_only(hand);
    let status = loop {
        match waitpid(Pid::from_raw(command), WaitOptions::empty()) {
            Ok(Some((_, status))) => break status.as_raw(),
            Err(rustix::io::Errno::INTR) | Ok(None) => {}
            Err(_) => exit(1),
        }
    };
    // SAFETY: it is never given back.
    unsafe { &*ended }.store(status, Ordering::Release);
    // SAFETY: this process has its own descriptors, and keeps this one until it ends.
    let hand = unsafe { std::os::fd::BorrowedFd::borrow_raw(hand) };
    let _ = rustix::io::write(hand, &[0]);
    exit(0)
}

/// Closes every descriptor but one, so that nobody waits for this process to close them.
fn keep_only(descriptor: RawFd) {
    let kept = descriptor.unsigned_abs();
    // SAFETY: what is closed here is not used by this process any more; it only waits and ends.
    unsafe {
        if kept > 0 {
            libc::syscall(libc::SYS_close_range, 0, kept - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, kept + 1, libc::c_uint::MAX, 0);
    }
}

pub(crate) fn exit(code: libc::c_int) -> ! {
    // SAFETY: ends this process, which has nothing to tidy up.
    unsafe { libc::_exit(code) }
}
