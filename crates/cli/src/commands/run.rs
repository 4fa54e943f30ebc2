//! `stigmer run`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use stigmer_core::limits::DEFAULT_CAPTURE_BYTES;
use stigmer_core::process::{
    Command, EndReason, Executed, ExitStatus, Follow, Lifetime, ReadOutput, StartProcess,
    StartedProcess, Stdin,
};
use stigmer_core::{ByteString, Capability, Capture, Place, ToolError};

use crate::arguments::{ByteCount, TimeLimit, byte_count, bytes, time_limit};
use crate::connection;
use crate::context::Context;
use crate::output::{Failure, Output, size};
use crate::session::{BrokenPipe, End, Options, Passing, Session, Sink};
use crate::terminal;

/// Runs a command under supervision.
#[derive(Debug, Args)]
#[command(after_help = "\
One argument is a command line for bash (sh where there is none); several are a program and its
arguments, without a shell. The command has the caller's environment, standard input, working
directory and Ctrl-C; in a terminal it has a terminal. When it ends, times out or is cancelled,
nothing that it started is left, unless it put that in the background itself.

The exit code is the command's: 124 timed out, 126 not executable, 127 not found, 128+N ended by
signal N; 125 is a failure of stigmer itself.

Examples:
  stigmer run 'make test 2>&1 | tail -20'
  stigmer run cargo test --workspace
  stigmer run --timeout 10m --env CI=true 'npm ci && npm test'
  stigmer run --detach 'python3 -m http.server 8000'
  stigmer run --json 'git status --short'
  stigmer run --mode auto 'make test'
  git diff | stigmer run 'wc -l'")]
pub(crate) struct Run {
    /// Where to run it [default: the workspace]
    #[arg(long, value_name = "DIR", value_parser = bytes(), value_hint = clap::ValueHint::DirPath)]
    cwd: Option<ByteString>,
    /// Set a variable; may be given more than once
    #[arg(short, long = "env", value_name = "NAME=VALUE", value_parser = bytes())]
    environment: Vec<ByteString>,
    /// End it after this time, 0 for never [default: setting timeout, 2m; never with a terminal or
    /// --detach]
    #[arg(long, value_name = "TIME", value_parser = time_limit())]
    timeout: Option<TimeLimit>,
    /// Print its id and leave it running; see ps, logs, attach, wait and kill
    #[arg(short, long)]
    detach: bool,
    /// Give it a terminal even if this is none
    #[arg(short, long, overrides_with = "no_tty")]
    tty: bool,
    /// Give it none even if this is one
    #[arg(short = 'T', long, overrides_with = "tty")]
    no_tty: bool,
    /// Pass input on instead of handing it over; with --detach keep it open for attach
    #[arg(short, long)]
    interactive: bool,
    /// How much of its output to keep, its beginning and its end [default: setting output_cap]
    #[arg(long, value_name = "SIZE", value_parser = byte_count())]
    output_cap: Option<ByteCount>,
    /// One command line for the shell, or a program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Run {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let detach = self.detach;
        let start = self.into_request(context, output.is_json())?;
        let passes_input = matches!(start.stdin, Stdin::Stream);
        let terminal = start.terminal.is_some();
        let timeout = start.timeout;
        let session = Session::new(terminal)?;
        let started = context.executor.start_process(start).await.map_err(Failure::Run)?;
        if detach {
            if output.is_json() {
                output.json(&started)?;
            } else {
                output.line(&started.id)?;
                output.routed(started.routing.as_deref());
            }
            return Ok(0);
        }
        let options = Options {
            read: ReadOutput { since: 0, follow: Follow::UntilExit, hold: true },
            broken_pipe: BrokenPipe::Tell,
            passing: Passing::All,
            pass_input: passes_input,
        };
        let mut stdout = Capture::new(DEFAULT_CAPTURE_BYTES);
        let mut stderr = Capture::new(DEFAULT_CAPTURE_BYTES);
        let sink = match output.is_json() {
            true => Sink::Capture(&mut stdout, &mut stderr),
            false => Sink::Write,
        };
        let end = session.follow(&context.processes, &started.id, options, sink).await;
        match end.map_err(Failure::of_run)? {
            End::Exit { exit, passed } => {
                let code = u8::try_from(exit.code).unwrap_or(u8::MAX);
                let signal = exit.signal.filter(|signal| Some(*signal) == passed);
                if output.is_json() {
                    output.json(&Executed::new(started, exit, stdout, stderr))?;
                } else {
                    remark(output, &started, &exit, timeout);
                }
                match signal {
                    Some(signal) => Err(Failure::Signalled { signal, code }),
                    None => Ok(code),
                }
            }
            End::Left { offset } | End::Edge { offset } => {
                // The user left it running: it shall not wait for a client and be cancelled.
                output.talk(format_args!(
                    "left {0} at offset {offset}; it is ended when nobody comes back: `stigmer attach {0}`",
                    started.id
                ));
                Ok(0)
            }
        }
    }

    fn into_request(self, context: &Context, json: bool) -> Result<StartProcess, Failure> {
        let words: Vec<ByteString> = self.command.into_iter().map(ByteString::from).collect();
        let command = match <[ByteString; 1]>::try_from(words) {
            Ok([line]) => Command::Shell(line),
            Err(words) => Command::Argv(words),
        };
        let configuration = &context.configuration;
        let capabilities = context.executor.capabilities();
        let mut start = StartProcess::new(command);
        start.cwd = self.cwd.unwrap_or_default();
        start.variables = variables(self.environment).map_err(Failure::Run)?;
        if capabilities.has(Capability::CallerEnvironment) {
            start.caller = Some(connection::caller(context.is_remote));
            if context.is_remote {
                connection::raise_open_files();
            }
        }
        // With --json the output is data for a program: a terminal would colour and wrap it.
        // In the background of a shell the terminal is somebody else's.
        let background = terminal::is_background();
        let interactive = terminal::is_interactive() && !background && !json && !self.detach;
        if self.tty || (interactive && !self.no_tty) {
            start.terminal = Some(terminal::size().unwrap_or_default());
        }
        start.stdin = if self.detach {
            if self.interactive || self.tty { Stdin::Stream } else { Stdin::Empty }
        } else if start.terminal.is_some() || self.interactive {
            Stdin::Stream
        } else if background || has_no_input() {
            Stdin::Empty
        } else if capabilities.has(Capability::InheritStdin) {
            inherited_stdin()
        } else {
            Stdin::Stream
        };
        let unlimited = start.terminal.is_some() || self.detach;
        start.timeout = match self.timeout {
            Some(TimeLimit(limit)) => limit,
            None if unlimited => None,
            None => configuration.timeout(),
        };
        start.termination_grace = configuration.termination_grace();
        start.lifetime = if self.detach {
            Lifetime::Detached
        } else {
            Lifetime::Foreground { client_grace: configuration.client_grace() }
        };
        start.output_cap = self.output_cap.map(|ByteCount(cap)| cap);
        Ok(start)
    }
}

/// Whether our standard input is closed, or the device that has nothing. Programs tell that from a pipe at
/// its end: `rg` would search the pipe.
fn has_no_input() -> bool {
    /// "Linux allocated devices" (`Documentation/admin-guide/devices.txt`).
    const NULL: (u32, u32) = (1, 3);
    match rustix::fs::fstat(rustix::stdio::stdin()) {
        Ok(status) => {
            let device = (rustix::fs::major(status.st_rdev), rustix::fs::minor(status.st_rdev));
            let kind = rustix::fs::FileType::from_raw_mode(status.st_mode);
            kind == rustix::fs::FileType::CharacterDevice && device == NULL
        }
        Err(_) => true,
    }
}

/// Our own standard input for the command, so that it takes from it what it reads and no more.
fn inherited_stdin() -> Stdin {
    match rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin().as_fd(), 3) {
        Ok(descriptor) => Stdin::Inherit(Arc::new(descriptor)),
        // It is closed.
        Err(_) => Stdin::Empty,
    }
}

fn variables(given: Vec<ByteString>) -> Result<BTreeMap<ByteString, ByteString>, ToolError> {
    let mut all = BTreeMap::new();
    for variable in given {
        let bytes = variable.as_bytes();
        let Some(at) = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0) else {
            let reason = format!("\"{variable}\" is not of the form NAME=VALUE");
            return Err(ToolError::invalid_argument("--env", reason));
        };
        all.insert(bytes[..at].into(), bytes[at + 1..].into());
    }
    Ok(all)
}

/// Says what the exit code alone does not.
fn remark(
    output: &mut Output,
    started: &StartedProcess,
    exit: &ExitStatus,
    timeout: Option<Duration>,
) {
    let id = &started.id;
    match exit.reason {
        EndReason::TimedOut => {
            let limit = timeout.unwrap_or_default();
            output.talk(format_args!(
                "stigmer: timed out after {limit:?} (--timeout sets another limit, 0 none)"
            ));
        }
        EndReason::Cancelled => output.talk(format_args!("stigmer: {id} was cancelled")),
        EndReason::OutOfMemory => match exit.memory_limit {
            Some(limit) => output.talk(format_args!(
                "stigmer: {id} ran out of memory: the limit is {}{}",
                size(limit),
                if started.place == Place::Container { " (setting sandbox_memory)" } else { "" }
            )),
            None => output.talk(format_args!("stigmer: {id} ran out of memory")),
        },
        EndReason::Lost => output.lost(id, exit),
        EndReason::Exited | EndReason::Signalled => {}
    }
    output.routed(started.routing.as_deref());
    output.failed_elsewhere(started.routing.as_deref(), exit);
    output.refused(id, exit);
    output.survivors(exit);
}
