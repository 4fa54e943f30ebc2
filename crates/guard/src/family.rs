//! The processes of the workspace lane.
//!
//! ```text
//!  supervisor
//!     ├─ maker    takes the namespaces, makes the other two beside itself, and ends
//!     ├─ first    process 1 of the namespace; has what the command leaves behind
//!     └─ command  waits (`waiting.rs`), makes the view, enters the lane, executes
//! ```
//!
//! The first process holds the end of a pipe whose other end only the supervisor has ([`Leash`]). When that is
//! closed without a word the supervisor is gone: the first process ends, and the kernel kills everything in its
//! namespace. When the command has ended the supervisor says so, and the first process ends when nothing is left.
//!
//! All of them share the supervisor's memory: copying it would take longer than all else that they do. So they
//! have stacks of their own, touch nothing but those, and make only system calls that do not fail, or end them,
//! or whose errors are not kept in a variable of the C library.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::ptr::null_mut;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect};
use rustix::process::{WaitOptions, wait};

use crate::namespaces::drop_held;

/// As much as the largest page has.
const GUARD: usize = 64 << 10;

/// A process of the family begins here.
pub(crate) type Life = extern "C" fn(*mut libc::c_void) -> libc::c_int;

/// The supervisor's hold on the namespace's first process.
#[derive(Debug)]
pub(crate) struct Leash(OwnedFd);

impl Leash {
    /// The supervisor's end, and the first process's.
    pub(crate) fn new() -> io::Result<(Self, OwnedFd)> {
        let (theirs, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        Ok((Self(ours), theirs))
    }

    /// Has the first process end when nothing is left of the command.
    pub(crate) fn let_go(&self) {
        // Who is gone needs no word.
        let _ = rustix::io::write(&self.0, &[0]);
    }
}

/// A stack of so many bytes, beneath which nothing is; what is not touched takes no memory. Gives its end. It is
/// never given back.
pub(crate) fn stack(bytes: usize) -> io::Result<*mut libc::c_void> {
    let bytes = bytes + GUARD;
    // SAFETY: a new mapping, which overlaps nothing.
    let mapped = unsafe {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        mmap_anonymous(null_mut(), bytes, protection, MapFlags::PRIVATE | MapFlags::STACK)
    };
    let low = mapped?;
    // SAFETY: it is nobody's yet.
    unsafe { mprotect(low, GUARD, MprotectFlags::empty())? };
    Ok(low.cast::<u8>().wrapping_add(bytes).cast())
}

/// Starts a process that shares this one's memory, beneath this one or beside it, and gives its number.
///
/// # Safety
/// The stack is nobody else's, and the process keeps to what is said above.
pub(crate) unsafe fn start(
    life: Life,
    stack: *mut libc::c_void,
    beside: bool,
    argument: *mut libc::c_void,
) -> io::Result<libc::pid_t> {
    let beside = if beside { libc::CLONE_PARENT } else { 0 };
    let flags = libc::CLONE_VM | beside | libc::SIGCHLD;
    // SAFETY: as above.
    match unsafe { libc::clone(life, stack, flags, argument) } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(pid),
    }
}

/// The first process: waits until the command has ended, and then until nothing is left. Its argument is the
/// number of its end of the leash.
pub(crate) extern "C" fn first(leash: *mut libc::c_void) -> libc::c_int {
    let leash = leash as usize as RawFd;
    // What ends is gone by itself.
    // SAFETY: sets what this process does; all who share its memory have their own.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    // SAFETY: this process uses no other descriptor.
    if unsafe { keep_only(leash, 0) }.is_err() {
        exit(1);
    }
    // SAFETY: it is this process's own until it ends.
    let leash = unsafe { OwnedFd::from_raw_fd(leash) };
    // It executes nothing and listens to nobody.
    let _ = drop_held();
    match rustix::io::retry_on_intr(|| rustix::io::read(&leash, &mut [0])) {
        Ok(1..) => {}
        // The supervisor is gone.
        _ => exit(1),
    }
    // Until nobody is left.
    while let Ok(_) | Err(rustix::io::Errno::INTR) = wait(WaitOptions::empty()) {}
    exit(0)
}

/// Closes every descriptor from a number on but one.
///
/// # Safety
/// This process uses none of those that are closed.
pub(crate) unsafe fn keep_only(descriptor: RawFd, from: libc::c_uint) -> io::Result<()> {
    let kept = descriptor.unsigned_abs();
    let close = |first: libc::c_uint, last: libc::c_uint| {
        // SAFETY: as above.
        match unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    if kept > from {
        close(from, kept - 1)?;
    }
    close(kept + 1, libc::c_uint::MAX)
}

pub(crate) fn exit(code: libc::c_int) -> ! {
    // SAFETY: ends this process, which has nothing to tidy up.
    unsafe { libc::_exit(code) }
}
