//! Process 1 of a container: small, with one thread, and root as far as the container lets it be.
//!
//! It reads nothing that comes from a command. What commands ask of it, a child is forked for.

mod accounts;
mod environment;
mod identity;
mod mounts;
mod prepare;
mod server;
pub(crate) mod signals;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, wait};

use crate::arguments::Init;
use crate::broker::Broker;
use crate::pool::wait_for_workspace;
use crate::say;
use accounts::Caller;
use environment::Parts;
pub(crate) use mounts::Mounted;
use prepare::Trouble;
use server::{Ended, Server};
use signals::Signals;

/// How long the server may take to end all commands and itself. An engine kills a container after
/// ten seconds.
const SERVER_LIMIT: Duration = Duration::from_secs(8);

/// How long package managers may take then; their callers are gone, and they are being killed.
const BROKER_LIMIT: Duration = Duration::from_secs(1);

/// The server's socket in the shared directory.
pub(crate) fn socket(shared: &Path) -> PathBuf {
    shared.join("socket")
}

/// Is process 1 until the container is to end.
pub(crate) fn run(wanted: Init) -> ExitCode {
    match serve(wanted) {
        Ok(code) => ExitCode::from(code),
        Err(reason) => {
            say(&reason);
            ExitCode::FAILURE
        }
    }
}

fn serve(mut wanted: Init) -> Result<u8, String> {
    let mut ready = prepare(&wanted)?;
    if let Some(place) = &wanted.wait {
        match wait_for_workspace(&wanted, place, &ready.signals)? {
            Some(root) => wanted.root = root,
            None => return Ok(0),
        }
    }
    ready.enter(&wanted);
    let Ready { signals, broker, environment } = ready;
    let server = Server::new(&wanted, environment, signals.before());
    Container { signals, broker, server, ending: None }.run()
}

/// What does not depend on the workspace.
struct Ready {
    signals: Signals,
    broker: Option<Broker>,
    environment: BTreeMap<OsString, OsString>,
}

fn prepare(wanted: &Init) -> Result<Ready, String> {
    let unusable = |error: std::io::Error| format!("cannot start: {error}");
    // Process 1 gets no signal that it does not wait for.
    let signals = Signals::hold(&[libc::SIGTERM, libc::SIGINT, libc::SIGUSR1, libc::SIGCHLD])
        .map_err(unusable)?;
    if !crate::init::is_init() {
        let own = Some(rustix::process::getpid());
        rustix::process::set_child_subreaper(own).map_err(|error| unusable(error.into()))?;
    }
    let mut trouble = Trouble::default();
    prepare::places(wanted, &mut trouble);
    let caller = Caller { uid: wanted.uid, gid: wanted.gid, home: &wanted.home };
    let (name, unnamed) = accounts::enter(caller);
    trouble.0.extend(unnamed);
    let broker = match Broker::listen(wanted) {
        Ok(broker) => broker,
        Err(error) => {
            trouble.0.push(format!("package managers run as the caller: {error}"));
            None
        }
    };
    let shims = prepare::shims(broker.as_ref(), &mut trouble);
    let ca_bundle = wanted.ca_bundle.as_deref().filter(|bundle| bundle.is_file());
    match (ca_bundle, &wanted.ca_bundle) {
        (Some(bundle), _) => prepare::authorities(bundle, &mut trouble),
        (None, Some(bundle)) => trouble.0.push(format!("there is no {}", bundle.display())),
        (None, None) => {}
    }
    trouble.tell();
    let environment = environment::environment(Parts {
        own: std::env::vars_os().collect(),
        name: &name,
        home: &wanted.home,
        shims,
        ca_bundle,
    });
    Ok(Ready { signals, broker, environment })
}

impl Ready {
    /// Does what depends on the workspace.
    fn enter(&mut self, wanted: &Init) {
        let mut trouble = Trouble::default();
        prepare::workspace(&wanted.root, &mut trouble);
        trouble.tell();
        if let Some(broker) = &mut self.broker {
            broker.work_in(&wanted.root);
        }
    }
}

struct Container<'a> {
    signals: Signals,
    broker: Option<Broker>,
    server: Server<'a>,
    /// Until when the server may take to end.
    ending: Option<Instant>,
}

impl Container<'_> {
    fn run(mut self) -> Result<u8, String> {
        self.server.start().map_err(|error| format!("cannot become the caller: {error}"))?;
        loop {
            self.wait();
            for signal in self.signals.take() {
                match signal {
                    libc::SIGCHLD => {}
                    // To end if it is idle: who knows that is the server.
                    libc::SIGUSR1 if self.ending.is_none() => self.server.signal(Signal::USR1),
                    libc::SIGUSR1 => {}
                    _ => self.end(),
                }
            }
            if let Some(code) = self.reap() {
                return Ok(code);
            }
            if let Some(broker) = &mut self.broker {
                broker.accept(&self.signals);
            }
            self.look_after();
            if self.ending.is_some() && self.server.pid().is_none() {
                self.end_broker();
                return Ok(0);
            }
        }
    }

    /// Starts the server if it is due, and kills it if it does not end.
    fn look_after(&mut self) {
        match self.ending {
            Some(limit) if limit <= Instant::now() => self.server.signal(Signal::KILL),
            Some(_) => {}
            None if self.server.due_in() == Some(Duration::ZERO) => {
                if let Err(error) = self.server.start() {
                    say(&format!("cannot start the server again: {error}"));
                    self.server.start_again();
                }
            }
            None => {}
        }
    }

    /// Takes in every child that has ended, its own and others', and looks after what they left. An exit code ends the container.
    fn reap(&mut self) -> Option<u8> {
        let (mut code, mut unclean) = (None, None);
        reap(|pid, status| {
            if status.stopped() {
                return self.stopped(pid);
            }
            if Some(pid) != self.server.pid() {
                if let Some(broker) = &mut self.broker {
                    unclean = unclean.or(broker.ended(pid, status).err());
                }
                return;
            }
            match self.server.ended(status) {
                Ended::Idle => self.ending = Some(Instant::now()),
                Ended::Again if self.ending.is_none() => {
                    say("the server ended and is started again")
                }
                Ended::Again => {}
                Ended::Unable(reason) => code = Some(reason),
            }
        });
        if let Some(broker) = &mut self.broker {
            unclean = unclean.or(broker.clean_up(self.server.pid()).err());
        }
        if let Some(reason) = unclean {
            say(&format!("{reason}; the container ends"));
            self.end();
        }
        code
    }

    /// A child is stopped: nothing that it is needed for goes on, and nobody may ever have it go on.
    fn stopped(&self, pid: Pid) {
        if Some(pid) == self.server.pid() {
            self.server.signal(Signal::KILL);
        } else if let Some(broker) = &self.broker {
            broker.stopped(pid);
        }
    }

    /// Has everything end, in the time that there is for it.
    fn end(&mut self) {
        if self.ending.is_none() {
            self.ending = Some(Instant::now() + SERVER_LIMIT);
            self.server.signal(Signal::TERM);
        }
    }

    /// Package managers give back what they made before they end.
    fn end_broker(&mut self) {
        let Some(broker) = &mut self.broker else { return };
        let limit = Instant::now() + BROKER_LIMIT;
        broker.end();
        while broker.is_busy() && Instant::now() < limit {
            let mut polled = [PollFd::new(self.signals.descriptor(), PollFlags::IN)];
            let left = limit.saturating_duration_since(Instant::now());
            let _ = poll(&mut polled, Timespec::try_from(left).ok().as_ref());
            self.signals.take();
            reap(|pid, status| match status.stopped() {
                true => broker.stopped(pid),
                // All of it ends with this process.
                false => drop(broker.ended(pid, status)),
            });
            let _ = broker.clean_up(None);
        }
    }

    /// Waits for something to do.
    fn wait(&self) {
        let mut polled = vec![PollFd::new(self.signals.descriptor(), PollFlags::IN)];
        polled.extend(
            self.broker
                .as_ref()
                .and_then(Broker::listener)
                .map(|listener| PollFd::from_borrowed_fd(listener, PollFlags::IN)),
        );
        let until = match self.ending {
            Some(limit) => Some(limit.saturating_duration_since(Instant::now())),
            None => self.server.due_in(),
        };
        let until = until.and_then(|until| Timespec::try_from(until).ok());
        let _ = poll(&mut polled, until.as_ref());
    }
}

/// Takes in every child that has ended, and is told of every one that was stopped.
fn reap(mut each: impl FnMut(Pid, WaitStatus)) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG | WaitOptions::UNTRACED) {
        each(pid, status);
    }
}
