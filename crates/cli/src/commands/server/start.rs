//! `stigmer server start`.

use std::io::{BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use serde_json::{Value, json};
use stigmer_core::{ErrorCode, ToolError};
use stigmer_daemon::{Listen, Options, Record};
use stigmer_engine::{Launcher, Reserve, configuration};

use super::place;
use crate::arguments::{Globals, TimeLimit, time_limit};
use crate::context::{io, surroundings};
use crate::output::{Failure, Output};

/// Supervisors that the daemon has ready: as many commands begin at once without waiting for a fork.
const RESERVE: Reserve = Reserve::Keep(4);

/// The argument with which the daemon executes this program as its new reserve, when the one that it
/// has forked is gone.
const SERVE_AS_RESERVE: &str = "serve-as-reserve";

/// Is the reserve of the daemon that executed this program, if one has. Must be the first thing that
/// the program does.
pub(crate) fn serve_if_reserve() {
    if std::env::args_os().nth(1).is_some_and(|word| word == SERVE_AS_RESERVE) {
        Launcher::serve_as_reserve(RESERVE);
    }
}

/// This program, whatever its file is called by now.
const ITSELF: &str = "/proc/self/exe";

/// Supervisors for a program that lives long. Must be called before it has a second thread.
pub(crate) fn launcher() -> Result<Launcher, ToolError> {
    let launcher =
        Launcher::fork(RESERVE).map_err(|error| io("fork", "the supervisors", &error))?;
    Ok(launcher.with_program(ITSELF, [SERVE_AS_RESERVE]))
}

/// How long a daemon may take until it serves. It needs a tenth of a second, and more only on a
/// machine that hardly moves.
const PATIENCE: Duration = Duration::from_secs(30);

/// The most that a daemon says of how its start went.
const MAX_WORD: u64 = 64 << 10;

/// Starts the daemon.
#[derive(Debug, Args)]
#[command(after_help = "\
It goes to the background and serves its socket when this returns. What it is started with are its
settings: after `STIGMER_EXECUTION_MODE=sandbox stigmer server start` a plain `stigmer run` anywhere
is sandboxed. Clients on TCP show the token that `stigmer server status` names the file of. Exit code
4 if a daemon runs already.

Examples:
  stigmer server start
  stigmer server start --listen 127.0.0.1:7000
  stigmer server start --listen none --socket /run/user/1000/stigmer.sock
  stigmer server start --foreground
  stigmer server start --idle-limit 10m
  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 stigmer server start")]
pub(crate) struct Start {
    /// Stay in the foreground and log to standard error, too; Ctrl-C ends it
    #[arg(long)]
    foreground: bool,
    /// The TCP address to serve, or `none` [default: STIGMER_BACKEND_ENDPOINT if it is on this
    /// machine, else 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR", value_parser = listen())]
    listen: Option<Listen>,
    /// The unix socket to serve, instead of the one in stigmer's home
    #[arg(long, value_name = "PATH", value_hint = clap::ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// End when nobody was connected and no command ran for so long; 0 is never [default:
    /// STIGMER_SERVER_IDLE_LIMIT, else never]
    #[arg(long, value_name = "TIME", value_parser = time_limit())]
    idle_limit: Option<TimeLimit>,
    /// Leave the session of who started it, and tell on standard output how the start went
    #[arg(long, hide = true, requires = "foreground")]
    detached: bool,
}

fn listen() -> impl TypedValueParser<Value = Listen> {
    StringValueParser::new().try_map(|text| text.parse::<Listen>())
}

impl Start {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        if self.foreground { self.serve(globals, output) } else { self.send_off(globals, output) }
    }

    /// Is the daemon.
    fn serve(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        if self.detached {
            // Who leads a group cannot leave its session, and has nobody to leave.
            let _ = rustix::process::setsid();
        }
        // Supervisors are forked before this process has a second thread or a runtime.
        let launcher = launcher()?;
        let (configuration, place) = place(globals)?;
        let options = Options {
            listen: self.listen.unwrap_or_else(|| Listen::of(&configuration)),
            socket: self.absolute_socket()?,
            idle_limit: match self.idle_limit {
                Some(TimeLimit(limit)) => limit,
                None => configuration.server_idle_limit(),
            },
            surroundings: surroundings(),
            configuration,
            place,
            launcher,
            foreground: !self.detached,
        };
        let detached = self.detached;
        stigmer_daemon::run(options, |record| {
            if detached {
                tell(record, output)
            } else {
                announce(record, output).map_err(|_| reader_gone())
            }
        })?;
        Ok(0)
    }

    /// Starts this program again as the daemon and waits until it serves.
    fn send_off(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let surroundings = surroundings();
        if globals.mode.is_none() {
            configuration::refuse_unknown_modes(&surroundings)?;
        }
        for (name, near) in configuration::unknown_variables(&surroundings) {
            match near {
                Some(near) => {
                    output.warn(format_args!("{name} has no effect; did you mean {near}?"));
                }
                None => output.warn(format_args!("{name} has no effect: it is no setting")),
            }
        }
        let (configuration, _) = place(globals)?;
        let listen = self.listen.unwrap_or_else(|| Listen::of(&configuration));
        if listen.is_open() {
            output.warn(format_args!(
                "whoever can listen to the network between reads what is said on {listen}, the \
                 token too: nothing encrypts it"
            ));
        }

        let mut command = Command::new(ITSELF);
        command.arg0("stigmer").args(["--json", "server", "start", "--foreground", "--detached"]);
        if let Some(mode) = globals.mode {
            command.args(["--mode", mode.name()]);
        }
        command.args(["--listen", &listen.to_string()]);
        if let Some(socket) = self.absolute_socket()? {
            command.arg("--socket").arg(socket);
        }
        if let Some(TimeLimit(limit)) = self.idle_limit {
            let millis = limit.unwrap_or_default().as_millis();
            command.arg("--idle-limit").arg(format!("{millis}ms"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| io("start", "the daemon", &error))?;
        let word = child.stdout.take().map(hear).unwrap_or_default();
        match word.and_then(|word| understand(&word)) {
            Some(Ok(record)) => {
                announce(&record, output)?;
                Ok(0)
            }
            Some(Err(error)) => {
                let _ = child.wait();
                Err(error.into())
            }
            None => {
                let _ = child.kill();
                let ended = child.wait().map_err(|error| io("wait for", "the daemon", &error))?;
                let message = format!("the daemon did not start and did not say why: {ended}");
                Err(ToolError::new(ErrorCode::Io, message)
                    .with_hint("`stigmer server start --foreground` shows more")
                    .into())
            }
        }
    }

    /// The socket's path from `/`: the daemon does not stay in this directory.
    fn absolute_socket(&self) -> Result<Option<PathBuf>, ToolError> {
        let absolute = |path: &PathBuf| {
            std::path::absolute(path)
                .map_err(|error| ToolError::invalid_argument("--socket", error))
        };
        self.socket.as_ref().map(absolute).transpose()
    }
}

/// Says where the daemon listens.
fn announce(record: &Record, output: &mut Output) -> Result<(), Failure> {
    if output.is_json() {
        output.json(record)?;
    } else {
        if let Some(reason) = &record.no_tcp {
            output.warn(format_args!("not on TCP: {reason}"));
        }
        output.line(format_args!(
            "the daemon, process {}, listens on {}",
            record.pid,
            record.places()
        ))?;
    }
    output.flush()
}

/// Tells the program that started us, and lets go of it.
fn tell(record: &Record, output: &mut Output) -> Result<(), ToolError> {
    output
        .json(&json!({ "started": record }))
        .and_then(|()| output.flush())
        .map_err(|_| reader_gone())?;
    rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .and_then(|null| rustix::stdio::dup2_stdout(&null))
        .map_err(|error| io("let go of", "standard output", &error.into()))
}

fn reader_gone() -> ToolError {
    ToolError::new(ErrorCode::Io, "who started the daemon is gone")
}

/// The line that a daemon says of how its start went; nothing if it says none in time.
fn hear(said: ChildStdout) -> Option<String> {
    let patience = Timespec::try_from(PATIENCE).ok();
    let ready = poll(&mut [PollFd::new(&said.as_fd(), PollFlags::IN)], patience.as_ref());
    if !matches!(ready, Ok(1..)) {
        return None;
    }
    let mut line = String::new();
    BufReader::new(said.take(MAX_WORD)).read_line(&mut line).ok()?;
    Some(line)
}

/// What a daemon said of how its start went.
fn understand(line: &str) -> Option<Result<Record, ToolError>> {
    let mut said: Value = serde_json::from_str(line).ok()?;
    if let Some(error) = said.get_mut("error") {
        return serde_json::from_value(error.take()).ok().map(Err);
    }
    serde_json::from_value(said.get_mut("started")?.take()).ok().map(Ok)
}
