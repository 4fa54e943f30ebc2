//! Entering a lane, in the process that becomes the command.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::handover;
use crate::namespaces::drop_held;
use crate::rules;
use crate::seccomp::Program;
use crate::view::{Mounts, View};

/// The way into a lane for one process. Made by [`Plan::entry`](crate::Plan::entry), used in a process that
/// waited for it (`waiting.rs`).
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) rules: OwnedFd,
    pub(crate) program: Program,
    pub(crate) first_exec: u64,
    pub(crate) cwd: CString,
    pub(crate) inner: Option<Inner>,
}

/// What only the workspace lane has.
#[derive(Debug)]
pub(crate) struct Inner {
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
    /// Enters the lane. The process is its namespaces' own if the lane has any.
    ///
    /// Between this and [`execute`](Self::execute) nothing may be opened, and nothing else done that
    /// the supervisor is asked about: it waits for the exec.
    pub(crate) fn enter(
        &self,
        rules: &OwnedFd,
        mounts: Option<&Mounts>,
        supervisor: &OwnedFd,
    ) -> Step<()> {
        match (&self.inner, mounts) {
            (Some(inner), Some(mounts)) => inner.view.make(mounts)?,
            (None, None) => {}
            _ => return Err(("be another lane's", io::Error::from_raw_os_error(libc::EINVAL))),
        }
        let entered = rustix::process::chdir(&self.cwd);
        at("enter the working directory", entered.map_err(Into::into))?;
        if let Some(inner) = &self.inner {
            for (place, rights) in &inner.places {
                let flags = OFlags::PATH | OFlags::CLOEXEC;
                if let Ok(place) = openat(CWD, place, flags, Mode::empty()) {
                    at("add a rule", rules::add(rules, &place, *rights))?;
                }
            }
        }
        at("give up new privileges", rustix::thread::set_no_new_privs(true).map_err(Into::into))?;
        at("drop capabilities", drop_held())?;
        at("restrict itself by Landlock", rules::restrict(rules))?;
        let listener = at("install the filter", self.program.install())?;
        at("hand over the filter", handover::ready(supervisor, &listener))
    }

    /// Executes the command in this process; returns only if that fails.
    ///
    /// A plain `execve` would be asked about, and a supervisor that waits for it could not answer.
    pub(crate) fn execute(
        &self,
        program: &CStr,
        arguments: &[*const libc::c_char],
        environment: &[*const libc::c_char],
    ) -> io::Error {
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
