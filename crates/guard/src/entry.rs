//! Entering a lane, between fork and exec.
//!
//! The read-only lane is entered by the process that was forked. The workspace lane needs two more,
//! since a process namespace begins with a child:
//!
//! ```text
//!  supervisor
//!     └─ stand-in     what the supervisor forked; ends as the command ends
//!          └─ first   process 1 of the namespace; makes the view, reaps what is left behind
//!               └─ command
//! ```
//!
//! When the stand-in is killed the kernel kills the first process, and with it everything in the
//! namespace. When the command ends by itself, what it left behind goes on beneath the supervisor.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, Signal};

use crate::handover;
use crate::namespaces::{Identity, drop_capabilities, drop_held, loopback_up};
use crate::rules;
use crate::seccomp::Program;
use crate::view::View;

/// The way into a lane for one process. Made by [`Plan::entry`](crate::Plan::entry), used in the
/// process that becomes the command.
#[derive(Debug)]
pub struct Entry {
    pub(crate) supervisor: Pid,
    pub(crate) socket: OwnedFd,
    pub(crate) rules: OwnedFd,
    pub(crate) program: Program,
    pub(crate) first_exec: u64,
    pub(crate) cwd: CString,
    pub(crate) inner: Option<Inner>,
}

/// What only the workspace lane has.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) identity: Identity,
    pub(crate) view: View,
    /// Places of the view with their rights, which are known only when it is there.
    pub(crate) places: Vec<(CString, u64)>,
}

type Step<T> = Result<T, (&'static str, io::Error)>;

fn at<T>(step: &'static str, result: io::Result<T>) -> Step<T> {
    result.map_err(|error| (step, error))
}

impl Entry {
    /// Enters the lane. Returns in the process that is to execute the command; in the workspace lane
    /// that is another one than was called, and the one that was called does not return.
    ///
    /// Whoever calls it has one thread, was just forked by the supervisor, and has not yet begun a
    /// session: that is the command's to begin, behind this. Standard input, output and error are the
    /// command's already.
    ///
    /// Between this and [`execute`](Self::execute) nothing may be opened, and nothing else done that
    /// the supervisor is asked about: it waits for the exec. Sessions, the controlling terminal, signal
    /// masks, the umask and limits may be set; what is written to `/proc` (`oom_score_adj`) comes
    /// before, and is inherited.
    ///
    /// # Errors
    /// What the system says; the supervisor is told at which step. The process is not confined then
    /// and must end.
    pub fn enter(&self) -> io::Result<()> {
        self.steps().map_err(|(step, error)| {
            handover::failed(&self.socket, step);
            error
        })
    }

    fn steps(&self) -> Step<()> {
        at("keep descriptors to itself", close_on_exec())?;
        if let Some(inner) = &self.inner {
            at("enter namespaces", inner.identity.enter())?;
            self.die_with_supervisor()?;
            at("switch the loopback interface on", loopback_up())?;
            let (read, write) = at("make a pipe", pipe())?;
            match at("start the first process", fork())? {
                Some(first) => stand_in(first, &read),
                None => {
                    drop(read);
                    first_process(inner, &write)?;
                }
            }
            at(
                "enter the working directory",
                rustix::process::chdir(&self.cwd).map_err(Into::into),
            )?;
            at("drop capabilities", drop_capabilities())?;
            for (place, rights) in &inner.places {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                if let Ok(place) = openat(CWD, place, flags, Mode::empty()) {
                    at("add a rule", rules::add(&self.rules, &place, *rights))?;
                }
            }
        }
        at("give up new privileges", rustix::thread::set_no_new_privs(true).map_err(Into::into))?;
        at("drop capabilities", drop_held())?;
        at("restrict itself by Landlock", rules::restrict(&self.rules))?;
        let listener = at("install the filter", self.program.install())?;
        at("hand over the filter", handover::ready(&self.socket, &listener))
    }

    fn die_with_supervisor(&self) -> Step<()> {
        let set = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        at("follow the supervisor", set.map_err(Into::into))?;
        if rustix::process::getppid() != Some(self.supervisor) {
            return Err(("follow the supervisor", io::Error::from_raw_os_error(libc::ESRCH)));
        }
        Ok(())
    }

    /// Executes the command in this process; returns only if that fails.
    ///
    /// A plain `execve` would be asked about, and a supervisor that waits for it could not answer.
    pub fn execute(
        &self,
        program: &CStr,
        arguments: &[CString],
        environment: &[CString],
    ) -> io::Error {
        let pointers = |all: &[CString]| {
            let all = all.iter().map(|text| text.as_ptr());
            all.chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (arguments, environment) = (pointers(arguments), pointers(environment));
        // SAFETY: the kernel reads strings and lists that end in null, which live until it returns.
        unsafe {
            libc::syscall(
                libc::SYS_execveat,
                libc::AT_FDCWD,
                program.as_ptr(),
                arguments.as_ptr(),
                environment.as_ptr(),
                0,
                self.first_exec,
            )
        };
        io::Error::last_os_error()
    }
}

/// Becomes process 1 of the namespace, makes the view, and starts the command's process: returns there.
fn first_process(inner: &Inner, report: &OwnedFd) -> Step<()> {
    let killed = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    at("follow the stand-in", killed.map_err(Into::into))?;
    // If it ended before that, nobody reads what this process has to report.
    let mut polled = [PollFd::new(report, PollFlags::empty())];
    let _ = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    if polled[0].revents().contains(PollFlags::ERR) {
        exit(1);
    }
    inner.view.make()?;
    match at("start the command's process", fork())? {
        None => Ok(()),
        Some(command) => reap(command, report),
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn fork() -> io::Result<Option<libc::pid_t>> {
    // SAFETY: this process has one thread, and the child goes on as this one would.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        child => Ok(Some(child)),
    }
}

/// Leaves the command its standard streams: through another descriptor it could reach what its lane does
/// not let it open.
fn close_on_exec() -> io::Result<()> {
    /// `CLOSE_RANGE_CLOEXEC` (Linux 5.11).
    const CLOSE_ON_EXEC: libc::c_uint = 4;
    const FIRST: libc::c_uint = 3;
    // SAFETY: changes a flag of descriptors, and closes none before this process executes.
    match unsafe { libc::syscall(libc::SYS_close_range, FIRST, libc::c_uint::MAX, CLOSE_ON_EXEC) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
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

fn block_signals() {
    // SAFETY: fills and reads a set on this stack.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const all, std::ptr::null_mut());
    }
}

fn wait(child: libc::pid_t) -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    loop {
        // SAFETY: the kernel writes a number behind the pointer.
        match unsafe { libc::waitpid(child, &raw mut status, 0) } {
            -1 if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            -1 => return None,
            pid => return Some((pid, status)),
        }
    }
}

fn exit(code: libc::c_int) -> ! {
    // SAFETY: ends this process, which has nothing to tidy up.
    unsafe { libc::_exit(code) }
}

/// Waits as the namespace's first process until nothing is left in it.
fn reap(command: libc::pid_t, report: &OwnedFd) -> ! {
    block_signals();
    keep_only(report.as_raw_fd());
    // It keeps nothing of what made the view. If that fails it is no less confined than before: it
    // executes nothing and listens to nobody.
    let _ = drop_capabilities();
    while let Some((pid, status)) = wait(-1) {
        if pid == command {
            // What is left goes on without the stand-in, which ends when it has read this.
            let _ = rustix::process::set_parent_process_death_signal(None);
            let _ = rustix::io::write(report, &status.to_ne_bytes());
            keep_only(libc::c_int::MAX - 1);
        }
    }
    exit(0)
}

/// Waits for how the command ends, and ends the same way.
fn stand_in(first: libc::pid_t, report: &OwnedFd) -> ! {
    block_signals();
    keep_only(report.as_raw_fd());
    let mut bytes = [0; 4];
    loop {
        match rustix::io::read(report, &mut bytes) {
            Ok(4) => end_as(libc::c_int::from_ne_bytes(bytes)),
            Err(rustix::io::Errno::INTR) => {}
            // The first process failed before there was a command, or was killed.
            _ => end_as(wait(first).map_or(libc::SIGKILL, |(_, status)| status)),
        }
    }
}

fn end_as(status: libc::c_int) -> ! {
    if !libc::WIFSIGNALED(status) {
        exit(libc::WEXITSTATUS(status));
    }
    let signal = libc::WTERMSIG(status);
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: changes how this process ends. The command has left its own core if it wanted to; this
    // one's would take its place.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &raw const none);
        libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
        libc::signal(signal, libc::SIG_DFL);
        let mut only: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut only);
        libc::sigaddset(&raw mut only, signal);
        libc::raise(signal);
        libc::sigprocmask(libc::SIG_UNBLOCK, &raw const only, std::ptr::null_mut());
    }
    // A signal that ends nobody by default cannot have ended the command.
    exit(128 + signal)
}
