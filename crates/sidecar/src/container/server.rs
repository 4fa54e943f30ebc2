//! The server of a container, looked after by process 1.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitStatus, kill_process};

use super::signals::Mask;
use super::{identity, prepare};
use crate::arguments::Init;
use crate::{IDLE, ITSELF};

/// The first wait before a server that ended is started again: it may have been killed by accident.
const FIRST_WAIT: Duration = Duration::from_millis(20);

/// The longest: something keeps it from running, and nobody is served better by more tries.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// A server that lived so long was well.
const WELL: Duration = Duration::from_secs(10);

/// How the server is started, and whether it runs.
pub(super) struct Server<'a> {
    wanted: &'a Init,
    environment: BTreeMap<OsString, OsString>,
    mask: Mask,
    pid: Option<Pid>,
    started: Instant,
    start_at: Instant,
    wait: Duration,
    is_first: bool,
}

/// What is to be done once the server has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was idle.
    Idle,
    /// It is started again.
    Again,
    /// It never ran: its exit code.
    Unable(u8),
}

impl<'a> Server<'a> {
    pub(super) fn new(
        wanted: &'a Init,
        environment: BTreeMap<OsString, OsString>,
        mask: Mask,
    ) -> Self {
        let now = Instant::now();
        let (pid, wait, is_first) = (None, FIRST_WAIT, true);
        Self { wanted, environment, mask, pid, started: now, start_at: now, wait, is_first }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// How long until it is to be started; `None` while it runs.
    pub(super) fn due_in(&self) -> Option<Duration> {
        self.pid.is_none().then(|| self.start_at.saturating_duration_since(Instant::now()))
    }

    /// Starts it.
    ///
    /// # Errors
    /// What the kernel says of becoming the caller, or of executing.
    pub(super) fn start(&mut self) -> io::Result<()> {
        let wanted = self.wanted;
        let mut command = Command::new(ITSELF);
        command.arg0("stigmer-sidecar").arg("--root").arg(prepare::named(&wanted.root));
        command.arg("--state").arg(wanted.shared.join("state"));
        let mut listen = OsString::from("unix:");
        listen.push(super::socket(&wanted.shared));
        command.arg("--listen").arg(listen);
        let ttl = wanted.ttl.unwrap_or_default().as_secs();
        command.arg("--ttl").arg(ttl.to_string()).args(["--end-commands", "--own-environment"]);
        command.env_clear().envs(&self.environment).current_dir("/").stdin(Stdio::null());
        let (uid, gid, mask) = (wanted.uid, wanted.gid, self.mask);
        let prepare = move || {
            mask.set();
            stigmer_host::new_session()?;
            identity::become_user(uid, gid)
        };
        // SAFETY: the closure makes system calls only and allocates nothing.
        unsafe { command.pre_exec(prepare) };
        let child = command.spawn()?;
        self.pid = Pid::from_raw(child.id().cast_signed());
        self.started = Instant::now();
        Ok(())
    }

    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid {
            let _ = kill_process(pid, signal);
        }
    }

    /// Notes that it has ended.
    pub(super) fn ended(&mut self, status: WaitStatus) -> Ended {
        self.pid = None;
        let first = std::mem::take(&mut self.is_first);
        match status.exit_status().and_then(|code| u8::try_from(code).ok()) {
            Some(IDLE) => return Ended::Idle,
            // One that was killed would have run.
            Some(code) if first && code != 0 => return Ended::Unable(code),
            _ => {}
        }
        if self.started.elapsed() >= WELL {
            self.wait = FIRST_WAIT;
        }
        self.start_again();
        Ended::Again
    }

    /// Puts the next start off.
    pub(super) fn start_again(&mut self) {
        self.start_at = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }
}
