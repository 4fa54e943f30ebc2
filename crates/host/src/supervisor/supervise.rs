//! One command's supervisor: the loop.
//!
//! ```text
//!            launch                 the command exits            nobody can write any more
//!  waiting ────────── running ───────────────────── exited ──────────────────────── closed
//!                        │ time is up, cancelled,      ▲
//!                        │ or the client vanished      │
//!                        └────── ending ───────────────┘
//!                          TERM, grace, KILL until nothing is left
//! ```
//!
//! A command that may yet be discarded is on trial before it is *running* ([`trial`]).
//!
//! *running*: output goes to the log, clients are served. *ending*: the same, until the last process
//! of the command is gone or known to be out of reach. *exited*: `exit.json` is there; processes
//! that the command left behind may still write. *closed*: the supervisor is gone.

mod trial;
mod wait;

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::Mode;
use rustix::process::{Pid, Signal};
use stigmer_core::limits::{EXIT_SIGNAL_BASE, EXIT_TIMED_OUT};
use stigmer_core::process::{EndReason, ExitStatus, OutputKind, SignalRequest, Survivor};
use stigmer_core::{ErrorCode, ToolError};

use super::begin::{Begun, begin};
use super::client::{Client, Waiting};
use super::endpoints::signal_descriptor;
use super::lane::{Ahead, Lane};
use super::launcher::raise_open_files;
use super::log::LogWriter;
use super::memory::Memory;
use super::news::News;
use super::outputs::{Outputs, Overrun};
use super::protocol::{Launch, Reply, Request, VERSION, Watch};
use super::record::{CONTROL, ExitRecord};
use super::spawn::NotStarted;
use super::{prune, spawn, tree};

/// Control-D.
const END_OF_INPUT: u8 = 4;

/// The most connections at a time: one command may have a thousand followers through a daemon.
const MAX_CLIENTS: u64 = 1024;

/// Connections that followers may not take: whoever wants to end the command must always get through.
const FOR_STEERING: usize = 16;

/// Descriptors that connections may not take: a supervisor has a dozen of its own, and needs some
/// more to find and end its command's processes.
const OWN_DESCRIPTORS: u64 = 18;

/// What a supervisor begins with.
#[derive(Debug)]
pub(crate) struct Job {
    /// What to start.
    pub(crate) launch: Launch,
    /// The connection it came over, and what else was read from it.
    pub(crate) connection: (OwnedFd, Vec<u8>),
    /// The working directory.
    pub(crate) cwd: OwnedFd,
    /// The caller's standard input.
    pub(crate) stdin: Option<OwnedFd>,
    /// The umask for the command.
    pub(crate) umask: Mode,
    /// What is known of memory.
    pub(crate) memory: Memory,
    /// What was made for its lane while no job was there.
    pub(crate) ahead: Ahead,
}

/// Runs a command to its end, and serves its clients until nobody can write any more.
pub(crate) fn supervise(job: Job) {
    let Job { launch, connection: (socket, received), cwd, stdin, umask, mut memory, ahead } = job;
    memory.begin();
    let mut first = Client::new(socket, received);
    match Supervisor::start(launch, &cwd, (stdin, umask, ahead), memory, first.socket()) {
        Ok((mut supervisor, started)) => {
            drop(cwd);
            supervisor.clients.push(first);
            if !supervisor.begins(&started) {
                return;
            }
            supervisor.run();
            let processes = supervisor.launch.processes.clone();
            let retention = supervisor.launch.retention;
            // A follower that came late waits for its connection to close, not for the tidying.
            drop(supervisor);
            prune::prune(&processes, retention);
        }
        // A client that is gone is told nothing.
        Err(NotStarted::Failed(error)) => first.reply(&Reply::Failed(error)),
        Err(NotStarted::Refused(reason)) => {
            first.reply(&Reply::Refused { reason });
            // Who waited for the command goes: not every first process takes care of others' children.
            drop(first);
            tree::sweep(|_| {});
        }
    }
}

/// Why and until when a command is being ended.
#[derive(Debug)]
struct Ending {
    reason: EndReason,
    kill_at: Instant,
    /// The command had ended by itself before; this is for what it left behind.
    after_exit: bool,
}

#[derive(Debug)]
struct Supervisor {
    launch: Launch,
    directory: OwnedFd,
    listener: OwnedFd,
    signals: OwnedFd,
    exit_record: ExitRecord,
    log: LogWriter,
    outputs: Outputs,
    stdin: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    /// The command's side of its terminal, held open so that a command that closes it for a moment
    /// does not lose it.
    terminal_peer: Option<OwnedFd>,
    /// The last byte that was typed on the terminal.
    last_typed: u8,
    clients: Vec<Client>,
    max_clients: usize,
    started: Instant,
    /// Since when no client holds a foreground command.
    unheld_since: Instant,
    /// The client that launched a foreground command may yet come to hold it, and shall find all
    /// its output.
    launch_holds: bool,
    main: Option<Pid>,
    /// What it is confined to.
    lane: Option<Lane>,
    /// It may yet be discarded.
    on_trial: bool,
    /// How the command itself ended, while its exit is not yet published.
    main_status: Option<Main>,
    memory: Memory,
    ending: Option<Ending>,
    exit: Option<ExitStatus>,
    news: News,
}

/// How the command itself ended.
#[derive(Clone, Copy, Debug)]
enum Main {
    Exited(i32),
    Signalled(i32),
}

impl Supervisor {
    fn start(
        launch: Launch,
        cwd: &OwnedFd,
        (stdin, umask, ahead): (Option<OwnedFd>, Mode, Ahead),
        memory: Memory,
        client: &OwnedFd,
    ) -> Result<(Self, Reply), NotStarted> {
        let path = launch.processes.join(launch.id.as_str());
        let at = |operation: &str, error: std::io::Error| {
            ToolError::from_io(operation, &path.clone().into(), &error)
        };
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .map_err(|error| at("become the subreaper of", error.into()))?;
        let (signals, mask) =
            signal_descriptor().map_err(|error| at("watch signals for", error))?;
        let open_files = raise_open_files();
        let may_open = open_files.maximum.unwrap_or(u64::MAX).saturating_sub(OWN_DESCRIPTORS);
        let max_clients = may_open.min(MAX_CLIENTS) as usize;
        let max_clients = max_clients.max(FOR_STEERING + 1);
        let inherited = spawn::Inherited { stdin, umask, mask, open_files, ahead };
        let Begun { directory, listener, exit_record, spawned } =
            begin(&launch, &path, cwd, inherited, client)?;
        let log_directory = directory.try_clone().map_err(|error| at("open", error))?;
        let now = Instant::now();
        let started = Reply::Started {
            version: VERSION,
            executable: spawned.executable.map(Into::into),
            routing: spawned.lane.as_ref().map(|lane| Box::new(lane.routing().clone())),
        };
        let on_trial = spawned.main.is_some() && trial::may_be_discarded(&launch);
        let mut supervisor = Self {
            log: LogWriter::new(log_directory, launch.output_cap),
            launch_holds: launch.client_grace.is_some(),
            news: News::of(&launch),
            launch,
            directory,
            listener,
            signals,
            exit_record,
            outputs: Outputs::new(spawned.outputs),
            stdin: spawned.stdin,
            terminal: spawned.terminal,
            terminal_peer: spawned.terminal_peer,
            last_typed: b'\n',
            clients: Vec::new(),
            max_clients,
            started: now,
            unheld_since: now,
            main: spawned.main,
            lane: spawned.lane,
            on_trial,
            main_status: None,
            memory,
            ending: None,
            exit: None,
        };
        if let Some((message, code)) = spawned.refusal {
            let message = format!("stigmer: {message}\n");
            let kind = if supervisor.launch.terminal.is_some() {
                OutputKind::Terminal
            } else {
                OutputKind::Stderr
            };
            supervisor.log.append(kind, message.as_bytes());
            supervisor.main_status = Some(Main::Exited(code));
        }
        Ok((supervisor, started))
    }

    fn run(&mut self) {
        loop {
            self.serve_requests();
            let children = self.reap();
            self.advance(children);
            self.answer();
            // Nobody waits for this any more.
            self.news.ended(self.exit.as_ref());
            let over = self.exit.is_some() && children == tree::Children::None;
            if over && self.drain(Overrun::Wait) {
                break;
            }
            self.wait();
        }
        self.close();
    }

    fn serve_requests(&mut self) {
        for index in 0..self.clients.len() {
            while let Some((request, body)) = self.clients[index].next_request() {
                match self.request(index, request, body) {
                    Ok(Some(reply)) => self.clients[index].reply(&reply),
                    Ok(None) => {}
                    Err(error) => self.clients[index].reply(&Reply::Failed(error)),
                }
            }
        }
        self.drop_closed_clients();
    }

    /// Serves one request; no reply means that it waits for something.
    fn request(
        &mut self,
        index: usize,
        request: Request,
        body: Vec<u8>,
    ) -> Result<Option<Reply>, ToolError> {
        let id = &self.launch.id;
        match request {
            Request::Launch(_) => Err(ToolError::process_ended(id)
                .with_hint("a supervisor starts one command; launch another with another")),
            Request::Watch(watch) => {
                let followers = self.clients.iter().filter(|client| client.follows()).count();
                if followers + FOR_STEERING >= self.max_clients {
                    let message = format!("process {id} has {followers} followers, and no more");
                    return Err(ToolError::new(ErrorCode::Busy, message)
                        .with_detail("process", id.as_str()));
                }
                self.clients[index].held = watch.hold.then_some(watch.since);
                self.launch_holds &= !watch.hold;
                self.clients[index].waiting = Some(Waiting::Watch(watch));
                Ok(None)
            }
            Request::Stdin => {
                if self.stdin.is_none() {
                    return Err(ToolError::stdin_closed(id));
                }
                self.clients[index].waiting = Some(Waiting::Stdin { bytes: body, taken: 0 });
                Ok(None)
            }
            Request::CloseStdin => {
                if self.stdin.is_none() {
                    return Err(ToolError::stdin_closed(id));
                }
                if self.terminal.is_none() {
                    self.stdin = None;
                    return Ok(Some(Reply::Done));
                }
                // What a person types for the end of input (`termios(3)`, VEOF): control-D, and
                // once more behind an unfinished line, which the first one only hands over.
                let fresh_line = matches!(self.last_typed, b'\n' | END_OF_INPUT);
                let bytes = if fresh_line { vec![END_OF_INPUT] } else { vec![END_OF_INPUT; 2] };
                self.clients[index].waiting = Some(Waiting::Stdin { bytes, taken: 0 });
                Ok(None)
            }
            Request::Signal(SignalRequest::Cancel) => {
                let grace = self.launch.termination_grace;
                Ok(self.end_for(index, grace))
            }
            Request::Signal(SignalRequest::Kill) => Ok(self.end_for(index, Duration::ZERO)),
            Request::Signal(SignalRequest::Send(number)) => {
                self.send_signal(number)?;
                Ok(Some(Reply::Done))
            }
            Request::Resize(size) => {
                let terminal =
                    self.terminal.as_ref().ok_or_else(|| ToolError::not_a_terminal(id))?;
                rustix::termios::tcsetwinsize(terminal, spawn::window(size)).map_err(|error| {
                    ToolError::new(ErrorCode::Io, format!("cannot resize: {error}"))
                })?;
                Ok(Some(Reply::Done))
            }
            Request::Status => {
                let running = self.exit.is_none();
                let left = if running { 0 } else { tree::descendants().len() };
                // The first process of namespaces is none of the command's.
                let ours = self.lane.as_ref().is_some_and(Lane::has_namespaces);
                let background = left.saturating_sub(usize::from(ours));
                Ok(Some(Reply::Status {
                    pid: self
                        .main
                        .filter(|_| running && self.main_status.is_none())
                        .map(|pid| pid.as_raw_nonzero().get().unsigned_abs()),
                    background: u32::try_from(background).unwrap_or(u32::MAX),
                    end: self.log.end(),
                }))
            }
        }
    }

    /// Sends a signal to the command's foreground processes, as a terminal would.
    fn send_signal(&self, number: i32) -> Result<(), ToolError> {
        let main = self.main.filter(|_| self.main_status.is_none() && self.exit.is_none());
        let main = main.ok_or_else(|| ToolError::process_ended(&self.launch.id))?;
        let group = self
            .terminal
            .as_ref()
            .and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok())
            .unwrap_or(main);
        if !(1..=libc::SIGRTMAX()).contains(&number) {
            let range = format!("{number} is not between 1 and {}", libc::SIGRTMAX());
            return Err(ToolError::invalid_argument("signal", range));
        }
        // SAFETY: `kill` takes two numbers and touches no memory. The command's group exists while
        // the command was not waited for, and the terminal's group is one of its session.
        if unsafe { libc::kill(-group.as_raw_nonzero().get(), number) } == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        Err(match error.raw_os_error() {
            Some(libc::ESRCH) => ToolError::process_ended(&self.launch.id),
            Some(libc::EPERM) => ToolError::new(
                ErrorCode::PermissionDenied,
                format!(
                    "process {} runs as another user and takes no signal from this one",
                    self.launch.id
                ),
            ),
            _ => ToolError::new(ErrorCode::Io, format!("cannot send signal {number}: {error}")),
        })
    }

    /// Begins to end everything for a client; answers at once if there is nothing to end.
    fn end_for(&mut self, index: usize, grace: Duration) -> Option<Reply> {
        if let Some(exit) = &self.exit
            && tree::reap(|_| {}) == tree::Children::None
        {
            return Some(Reply::Ended { exit: exit.clone(), survivors: Vec::new() });
        }
        self.end(EndReason::Cancelled, grace);
        self.clients[index].waiting = Some(Waiting::End);
        None
    }

    /// Begins to end everything that the command started.
    fn end(&mut self, reason: EndReason, grace: Duration) {
        let kill_at = Instant::now().checked_add(grace).unwrap_or_else(Instant::now);
        match &mut self.ending {
            Some(ending) => ending.kill_at = ending.kill_at.min(kill_at),
            None => {
                let after_exit = self.main_status.is_some();
                self.ending = Some(Ending { reason, kill_at, after_exit });
                if !grace.is_zero() {
                    tree::signal_all(Signal::TERM);
                    // Who is stopped cannot obey.
                    tree::signal_all(Signal::CONT);
                }
            }
        }
    }

    fn reap(&mut self) -> tree::Children {
        let mut status = self.main_status;
        let left = tree::reap(|reaped| self.note_main(&mut status, reaped));
        self.main_status = status;
        left
    }

    /// Kills all that is left; gives what is out of reach.
    fn sweep(&mut self) -> Vec<Survivor> {
        let mut status = self.main_status;
        let survivors = tree::sweep(|reaped| self.note_main(&mut status, reaped));
        self.main_status = status;
        survivors
    }

    /// How the command itself ended, if it is what was reaped.
    fn note_main(&self, status: &mut Option<Main>, (pid, how): tree::Reaped) {
        if Some(pid) != self.main {
            return;
        }
        *status =
            how.exit_status().map(Main::Exited).or(how.terminating_signal().map(Main::Signalled));
        if let Some(lane) = self.lane.as_ref().filter(|_| status.is_some()) {
            lane.ended();
        }
    }

    /// Moves on from *running* to *ending* to *exited*.
    fn advance(&mut self, children: tree::Children) {
        let now = Instant::now();
        let mut overrun = Overrun::Wait;
        if self.ending.is_none() && self.exit.is_none() {
            let timeout = self.launch.timeout.and_then(|timeout| self.started.checked_add(timeout));
            let grace = self.launch.client_grace.filter(|_| !self.is_held());
            let vanished = grace.and_then(|grace| self.unheld_since.checked_add(grace));
            let due = if timeout.is_some_and(|at| at <= now) {
                Some(EndReason::TimedOut)
            } else if vanished.is_some_and(|at| at <= now) {
                Some(EndReason::Cancelled)
            } else {
                None
            };
            match due {
                Some(reason) if self.main_status.is_none() => {
                    self.end(reason, self.launch.termination_grace);
                }
                // It has ended by itself and only waits for a client to read.
                Some(_) => overrun = Overrun::Drop,
                None => {}
            }
        }
        let mut survivors = Vec::new();
        if let Some(ending) = &self.ending {
            if children == tree::Children::Running {
                if ending.kill_at > now {
                    return;
                }
                survivors = self.sweep();
            }
            self.finish(survivors.clone(), Overrun::Drop);
            self.ending = None;
            self.answer_ended(&survivors);
        } else if self.main_status.is_some() {
            self.finish(survivors, overrun);
        }
    }

    /// The command has ended: drains its output and publishes how.
    fn finish(&mut self, survivors: Vec<Survivor>, overrun: Overrun) {
        if self.exit.is_some() {
            return;
        }
        // Without a side of our own the terminal has an end.
        self.terminal_peer = None;
        if !self.drain(overrun) {
            return;
        }
        self.log.flush_gap();
        // A command that is still there although it was killed is out of reach: a survivor.
        let status = self.main_status.unwrap_or(Main::Signalled(libc::SIGKILL));
        let (code, own_reason, signal) = match status {
            Main::Exited(code) => (code, EndReason::Exited, None),
            Main::Signalled(signal) => {
                (EXIT_SIGNAL_BASE + signal, EndReason::Signalled, Some(signal))
            }
        };
        let ending = self.ending.as_ref().filter(|ending| !ending.after_exit);
        // The shell says 128 + 9 for a command of its own that was killed.
        let killed = code == EXIT_SIGNAL_BASE + libc::SIGKILL;
        let ran_out = ending.is_none() && killed && self.memory.ran_out();
        let own_reason = if ran_out { EndReason::OutOfMemory } else { own_reason };
        let reason = ending.map_or(own_reason, |ending| ending.reason);
        let code = if reason == EndReason::TimedOut { EXIT_TIMED_OUT } else { code };
        let exit = ExitStatus {
            code,
            reason,
            signal,
            ended_ms: now_ms(),
            duration_ms: u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            output_bytes: self.log.end(),
            memory_limit: if ran_out { self.memory.limit() } else { None },
            cause: None,
            survivors,
            denied: self.lane.as_ref().and_then(Lane::told).map(Box::new),
        };
        // If even the room that was kept cannot be written there is nobody to tell: clients that
        // are connected learn it all the same, others will find the process lost.
        let _ = self.exit_record.publish(&self.directory, &exit);
        self.exit = Some(exit);
        self.main = None;
    }

    fn answer_ended(&mut self, survivors: &[Survivor]) {
        let Some(exit) = &self.exit else { return };
        for client in &mut self.clients {
            if matches!(client.waiting, Some(Waiting::End)) {
                client.waiting = None;
                client.reply(&Reply::Ended { exit: exit.clone(), survivors: survivors.to_vec() });
            }
        }
    }

    /// Answers the requests whose wait is over.
    fn answer(&mut self) {
        let end = self.log.end();
        for client in &mut self.clients {
            match &client.waiting {
                Some(Waiting::Watch(watch)) if is_news(watch, end, self.exit.is_some()) => {
                    client.waiting = None;
                    client.reply(&Reply::Progress { end, exit: self.exit.clone(), closed: false });
                }
                Some(Waiting::Stdin { bytes, taken }) if *taken == bytes.len() => {
                    client.waiting = None;
                    client.reply(&Reply::Done);
                }
                Some(Waiting::Stdin { .. }) if self.stdin.is_none() => {
                    client.waiting = None;
                    client.reply(&Reply::Failed(ToolError::stdin_closed(&self.launch.id)));
                }
                _ => {}
            }
        }
    }

    /// Nobody can write any more: says so, and makes the socket go.
    fn close(&mut self) {
        self.log.flush_gap();
        self.lane.as_ref().inspect(|lane| lane.take_away());
        let _ = rustix::fs::unlinkat(&self.directory, CONTROL, rustix::fs::AtFlags::empty());
        let end = self.log.end();
        for client in &mut self.clients {
            match client.waiting.take() {
                Some(Waiting::Watch(_)) => {
                    client.reply(&Reply::Progress { end, exit: self.exit.clone(), closed: true })
                }
                Some(Waiting::Stdin { .. }) => {
                    client.reply(&Reply::Failed(ToolError::stdin_closed(&self.launch.id)));
                }
                _ => {}
            }
        }
    }

    fn drop_closed_clients(&mut self) {
        let was_held = self.is_held();
        if self.clients.iter().any(|client| client.closed && client.launched) {
            self.launch_holds = false;
        }
        self.clients.retain(|client| !client.closed);
        if was_held && !self.is_held() {
            self.unheld_since = Instant::now();
        }
    }

    fn drain(&mut self, overrun: Overrun) -> bool {
        let held = self.slowest_holder();
        self.outputs.drain(&mut self.log, held, overrun)
    }

    fn is_held(&self) -> bool {
        self.clients.iter().any(|client| client.held.is_some())
    }

    fn slowest_holder(&self) -> Option<u64> {
        let launch = self.launch_holds.then_some(0);
        self.clients.iter().filter_map(|client| client.held).chain(launch).min()
    }
}

fn is_news(watch: &Watch, end: u64, exited: bool) -> bool {
    watch.since < end || (exited && !watch.knows_exit)
}

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
