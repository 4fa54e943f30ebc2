//! A process that waits until it is known what it is to execute.
//!
//! It shares its supervisor's memory until it executes, which spares both the copy that a fork makes. While it
//! prepares itself both run: it touches its own stack only, allocates nothing, and makes only system calls that
//! do not fail, or end it, or whose errors are not kept in a variable of the C library. Then it waits; and when
//! it goes on the supervisor stands still until it has executed, so that it may use what the supervisor may.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

use crate::denials::Denials;
use crate::entry::{Entry, Step, at};
use crate::family;
use crate::handover::{self, Message};
use crate::lane::{HostLane, Refusal};
use crate::namespaces::{ALL, Identity, loopback_up};
use crate::plan::Plan;

/// A stack to prepare and to enter a lane on; what is not touched takes no memory.
const STACK: usize = 512 << 10;

/// No wait status.
const NOT_ENDED: i32 = i32::MIN;

/// A process that waits to become a command in a lane, in namespaces of its own if the lane has them.
///
/// To make one for the workspace lane takes longer than all else that the lane needs. Who waits for commands can
/// make it while it waits. It must be the same process that begins the command, with the same user; each is for
/// one command only. One that is dropped ends by itself, which whoever made it has to wait for (`wait(2)`).
#[derive(Debug)]
pub struct Waiting {
    lane: HostLane,
    pid: Pid,
    socket: OwnedFd,
    shared: &'static Shared,
}

/// What the process and its supervisor both see.
#[derive(Debug)]
struct Shared {
    lane: HostLane,
    supervisor: Pid,
    identity: Identity,
    socket: RawFd,
    /// What to do, once that is known. It lives until the process has executed or ended.
    job: AtomicPtr<Job<'static>>,
    /// Why it could not execute.
    error: AtomicI32,
    /// How the command ended, if a stand-in was there to see it.
    status: AtomicI32,
}

struct Job<'a> {
    entry: &'a Entry,
    program: &'a CStr,
    arguments: &'a [*const libc::c_char],
    environment: &'a [*const libc::c_char],
    prepare: &'a dyn Fn() -> io::Result<()>,
}

/// What is begun in a lane.
pub struct Start<'a> {
    /// The program. A relative path counts from where the command begins.
    pub program: &'a CStr,
    /// Its arguments, the first of which is its name.
    pub arguments: &'a [CString],
    /// Standard input, output and error.
    pub stdio: [BorrowedFd<'a>; 3],
    /// What the command's process does when it is confined, before it executes: to begin a session, take a
    /// terminal, block signals, set the umask and limits. It may open nothing, and do nothing else that the
    /// supervisor is asked about, who waits; nor may it keep anything in memory.
    pub prepare: &'a dyn Fn() -> io::Result<()>,
}

/// What was begun.
#[derive(Debug)]
pub struct Begun {
    /// The process to wait for. How the command ended is what [`Denials::ended`] makes of its wait status.
    pub pid: Pid,
    /// What the supervisor has to do until nobody is left.
    pub denials: Denials,
}

impl Waiting {
    /// Makes one. It prepares itself while the caller goes on, which takes up to a millisecond; what fails then is
    /// told when a command is begun.
    ///
    /// # Errors
    /// [`Refusal::Io`] if the system is out of something.
    pub fn make(lane: HostLane) -> Result<Self, Refusal> {
        let failed = |error| Refusal::io("make a process", error);
        let (socket, theirs) = handover::pair().map_err(failed)?;
        let shared: &'static Shared = Box::leak(Box::new(Shared {
            lane,
            supervisor: rustix::process::getpid(),
            identity: Identity::own(),
            socket: theirs.as_raw_fd(),
            job: AtomicPtr::new(null_mut()),
            error: AtomicI32::new(0),
            status: AtomicI32::new(NOT_ENDED),
        }));
        // SAFETY: a new mapping, which overlaps nothing.
        let stack = unsafe {
            let protection = ProtFlags::READ | ProtFlags::WRITE;
            mmap_anonymous(null_mut(), STACK, protection, MapFlags::PRIVATE | MapFlags::STACK)
        };
        let stack = stack.map_err(|error| failed(error.into()))?.cast::<u8>();
        let argument = std::ptr::from_ref(shared).cast_mut().cast();
        // SAFETY: the stack is nobody else's and is never given back, nor is what is shared. See above for what
        // the process does.
        let pid = unsafe {
            let flags = libc::CLONE_VM | libc::SIGCHLD;
            libc::clone(run, stack.wrapping_add(STACK).cast(), flags, argument)
        };
        let Some(pid) = Pid::from_raw(pid.max(0)) else {
            return Err(failed(io::Error::last_os_error()));
        };
        Ok(Self { lane, pid, socket, shared })
    }

    /// Which lane it is for.
    pub fn lane(&self) -> HostLane {
        self.lane
    }

    /// Whether it is still there.
    pub fn waits(&self) -> bool {
        let mut one = [PollFd::new(&self.socket, PollFlags::empty())];
        poll(&mut one, Some(&Timespec::default())) == Ok(0)
    }
}

impl Plan {
    /// Begins a command in the lane, in a process that was made for it. Several may be begun one after the
    /// other, for a command that has to be tried again.
    ///
    /// Returns when the process has executed; the inner error is why it could not.
    ///
    /// # Errors
    /// [`Refusal::NotEntered`] with the step at which the lane could not be entered; [`Refusal::Io`] if the
    /// system is out of something, or the process is gone without a word. Nothing was executed then.
    pub fn begin(
        &self,
        waiting: Waiting,
        start: &Start<'_>,
    ) -> Result<Result<Begun, io::Error>, Refusal> {
        let Waiting { lane, pid, socket, shared } = waiting;
        let entry = self.entry()?;
        let variables = self.environment().iter().map(|(name, value)| {
            let pair = [name.as_bytes(), b"=", value.as_bytes()].concat();
            CString::new(pair).map_err(|error| Refusal::io("use a variable", error))
        });
        let environment: Vec<CString> = variables.collect::<Result<_, _>>()?;
        let pointers = |all: &[CString]| {
            let all = all.iter().map(|text| text.as_ptr());
            all.chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (arguments, environment_of) = (pointers(start.arguments), pointers(&environment));
        let mut job = Job {
            entry: &entry,
            program: start.program,
            arguments: &arguments,
            environment: &environment_of,
            prepare: start.prepare,
        };
        shared.job.store((&raw mut job).cast(), Ordering::Release);
        let [input, output, errors] = start.stdio;
        let failed = |error: io::Error| Refusal::io("enter the lane", error);
        handover::go(&socket, [input, output, errors, entry.rules.as_fd()]).map_err(failed)?;
        let mut ready = None;
        let refusal = loop {
            match handover::receive(&socket) {
                Ok(Message::Ready(listener, command)) => ready = Some((listener, command)),
                Ok(Message::Failed(reason)) => break Refusal::NotEntered { lane, reason },
                Ok(Message::End) => match (ready, shared.error.load(Ordering::Acquire)) {
                    (Some((listener, command)), 0) => {
                        let judge = self.judge().clone();
                        let denials = Denials::new(lane, command, listener, judge, &shared.status);
                        return Ok(Ok(Begun { pid, denials }));
                    }
                    (_, 0) => break Refusal::io("enter the lane", "its process said nothing"),
                    (_, error) => {
                        reap(pid);
                        return Ok(Err(io::Error::from_raw_os_error(error)));
                    }
                },
                Err(error) => break failed(error),
            }
        };
        // It has the job until it has ended.
        drop(socket);
        reap(pid);
        Err(refusal)
    }
}

/// How a process ended that stood in for another: as that did.
pub(crate) fn ended(status: &AtomicI32, own: i32) -> i32 {
    match status.load(Ordering::Acquire) {
        NOT_ENDED => own,
        seen => seen,
    }
}

fn reap(pid: Pid) {
    while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
}

/// What the process does.
extern "C" fn run(shared: *mut libc::c_void) -> libc::c_int {
    // SAFETY: it is never given back.
    let shared = unsafe { &*shared.cast_const().cast::<Shared>() };
    // SAFETY: this process has its own descriptors, and this one for itself.
    let socket = unsafe { OwnedFd::from_raw_fd(shared.socket) };
    let steps = shared.prepare(&socket).and_then(|()| shared.follow(&socket));
    if let Err((step, error)) = steps {
        handover::failed(&socket, step, &error);
    }
    family::exit(1)
}

impl Shared {
    /// All that can be done before the command is known.
    fn prepare(&'static self, socket: &OwnedFd) -> Step<()> {
        set_signals(true);
        keep(socket);
        if self.lane == HostLane::Workspace {
            at("enter namespaces", self.identity.enter(ALL))?;
        }
        // A command whose supervisor dies cannot be followed or ended by anybody: it goes, too.
        let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        at("follow the supervisor", set.map_err(Into::into))?;
        if rustix::process::getppid() != Some(self.supervisor) {
            return Err(("follow the supervisor", io::Error::from_raw_os_error(libc::ESRCH)));
        }
        if self.lane == HostLane::Workspace {
            at("switch the loopback interface on", loopback_up())?;
            family::begin(&self.status)?;
        }
        Ok(())
    }

    /// Waits, enters the lane and executes. Returns if it could not, or nothing will come.
    fn follow(&self, socket: &OwnedFd) -> Step<()> {
        let Some(given) = at("wait", handover::wait(socket))? else { return Ok(()) };
        let [input, output, errors, rules] = given;
        let streams = rustix::stdio::dup2_stdin(input)
            .and_then(|()| rustix::stdio::dup2_stdout(output))
            .and_then(|()| rustix::stdio::dup2_stderr(errors));
        at("take its standard streams", streams.map_err(Into::into))?;
        // SAFETY: the supervisor stands still, and keeps it until this process has executed or ended.
        let job = unsafe { &*self.job.load(Ordering::Acquire) };
        job.entry.enter(&rules, socket)?;
        set_signals(false);
        let error = match (job.prepare)() {
            Ok(()) => job.entry.execute(job.program, job.arguments, job.environment),
            Err(error) => error,
        };
        self.error.store(error.raw_os_error().unwrap_or(libc::EIO), Ordering::Release);
        Ok(())
    }
}

/// Blocks all signals, or none. What a program is used to: it is told of its children, and ends when it writes to
/// nobody. Whoever called may have ignored both.
fn set_signals(blocked: bool) {
    // SAFETY: fills and reads a set on this stack; sets what this process does, which installs no handler.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        if blocked {
            libc::sigfillset(&raw mut all);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, null_mut());
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Closes every descriptor but the standard streams and one.
fn keep(socket: &OwnedFd) {
    const FIRST: libc::c_uint = 3;
    let kept = socket.as_raw_fd().unsigned_abs();
    // SAFETY: this process uses none of those that are closed.
    unsafe {
        if kept > FIRST {
            libc::syscall(libc::SYS_close_range, FIRST, kept - 1, 0);
        }
        libc::syscall(libc::SYS_close_range, kept + 1, libc::c_uint::MAX, 0);
    }
}
