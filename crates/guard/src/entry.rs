//! Entering a lane, between fork and exec.
//!
//! The read-only lane is entered by the process that was forked. The workspace lane needs two more, since
//! a process namespace begins with a child (`family.rs`).

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Pid, Signal};

use crate::family;
use crate::handover;
use crate::namespaces::{ALL, Identity, drop_capabilities, drop_held, loopback_up};
use crate::nest::Nest;
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
    /// Namespaces that were made ahead.
    pub(crate) nest: Option<Nest>,
    pub(crate) view: View,
    /// Places of the view with their rights, which are known only when it is there.
    pub(crate) places: Vec<(CString, u64)>,
}

/// What one step of the way gives, or its name and what the system said.
pub(crate) type Step<T> = Result<T, (&'static str, io::Error)>;

pub(crate) fn at<T>(step: &'static str, result: io::Result<T>) -> Step<T> {
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
            handover::failed(&self.socket, step, &error);
            error
        })
    }

    fn steps(&self) -> Step<()> {
        at("keep descriptors to itself", close_on_exec())?;
        if let Some(inner) = &self.inner {
            match &inner.nest {
                Some(nest) => at("enter namespaces", nest.enter())?,
                None => at("enter namespaces", inner.identity.enter(ALL))?,
            }
            self.die_with_supervisor()?;
            if inner.nest.is_none() {
                at("switch the loopback interface on", loopback_up())?;
            }
            family::begin()?;
            inner.view.make()?;
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
