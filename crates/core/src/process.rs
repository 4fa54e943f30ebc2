//! Commands: starting, following, steering, ending.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{DEFAULT_CAPTURE_BYTES, DEFAULT_CLIENT_GRACE, DEFAULT_TERMINATION_GRACE};
use crate::{ByteString, Capture, Denied, FilePath, Place, ProcessId, Routing};

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// A command line for the shell: `bash -c`, or `sh -c` where there is no bash.
    Shell(ByteString),
    /// A program, looked up on `PATH` unless it has a `/`, and its arguments. No shell.
    Argv(Vec<ByteString>),
}

impl Command {
    /// One line for people.
    pub fn display(&self) -> String {
        match self {
            Self::Shell(line) => line.to_string_lossy().into_owned(),
            Self::Argv(words) => {
                let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
                words.join(" ")
            }
        }
    }
}

/// Where a command's standard input comes from.
#[derive(Clone, Debug, Default)]
pub enum Stdin {
    /// Nothing: reading it finds its end.
    #[default]
    Empty,
    /// What the client sends with `write_stdin`, until `close_stdin`.
    Stream,
    /// The caller's own descriptor, so that a command that reads nothing takes nothing. Needs
    /// [`Capability::InheritStdin`](crate::Capability).
    Inherit(Arc<OwnedFd>),
}

/// The size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Default for TerminalSize {
    /// 24 × 80, as a VT100 had.
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

/// What becomes of a command whose client vanishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// It goes on.
    Detached,
    /// It waits so long for a client to follow its output with `hold`, then is cancelled.
    Foreground {
        /// The time it waits.
        client_grace: Duration,
    },
}

impl Default for Lifetime {
    fn default() -> Self {
        Self::Foreground { client_grace: DEFAULT_CLIENT_GRACE }
    }
}

/// Limits that the kernel enforces on each process of a command (`setrlimit(2)`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceLimits {
    /// Seconds of processor time.
    #[serde(default)]
    pub cpu_seconds: Option<u64>,
    /// Bytes of address space.
    #[serde(default)]
    pub address_space_bytes: Option<u64>,
    /// Open descriptors.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Bytes of the largest file it may write.
    #[serde(default)]
    pub file_size_bytes: Option<u64>,
    /// Processes of the user it runs as.
    #[serde(default)]
    pub processes: Option<u64>,
}

impl ResourceLimits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The caller's own circumstances, for a command that shall run as if the caller had started it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The whole environment. Never stored or logged.
    pub environment: Vec<(ByteString, ByteString)>,
    /// The file mode creation mask; `None` is the executor's own.
    pub umask: Option<u32>,
    /// Resource limits; those that are not named are the executor's own.
    pub limits: Vec<CallerLimit>,
}

impl Caller {
    /// A caller of whom nothing but the environment is known.
    pub fn with_environment(environment: Vec<(ByteString, ByteString)>) -> Self {
        Self { environment, ..Self::default() }
    }
}

/// One of the caller's own resource limits (`getrlimit(2)`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerLimit {
    /// The kernel's number of the resource, on the machine that caller and executor share.
    pub resource: u32,
    /// The limit in force; `None` is none.
    pub soft: Option<u64>,
    /// The limit that it may be raised to; `None` is none.
    pub hard: Option<u64>,
}

/// Starts a command.
#[derive(Clone, Debug)]
pub struct StartProcess {
    /// The id it shall have; `None` lets the executor choose. The same request with the same id
    /// starts nothing new: that is how a request is repeated safely.
    pub id: Option<ProcessId>,
    /// What to run.
    pub command: Command,
    /// Where; empty means the workspace root.
    pub cwd: FilePath,
    /// The caller's own circumstances. Needs
    /// [`Capability::CallerEnvironment`](crate::Capability).
    pub caller: Option<Caller>,
    /// Variables declared for this command; they override all others.
    pub variables: BTreeMap<ByteString, ByteString>,
    /// Its standard input. With a terminal only [`Stdin::Empty`] and [`Stdin::Stream`], and both
    /// mean the terminal.
    pub stdin: Stdin,
    /// A terminal of this size for standard input, output and error.
    pub terminal: Option<TerminalSize>,
    /// How long it may run; `None` is without end.
    pub timeout: Option<Duration>,
    /// The time between TERM and KILL when it is ended.
    pub termination_grace: Duration,
    /// What becomes of it when its client vanishes.
    pub lifetime: Lifetime,
    /// Limits on its resources.
    pub limits: ResourceLimits,
    /// The user it runs as; `None` is the executor's own.
    pub user: Option<String>,
    /// Bytes of output kept on disk; `None` is the executor's setting.
    pub output_cap: Option<u64>,
    /// The trace that this belongs to: a W3C `traceparent`.
    pub traceparent: Option<String>,
}

impl StartProcess {
    /// A command with every option at its default: no time limit, empty input, no terminal.
    pub fn new(command: Command) -> Self {
        Self {
            id: None,
            command,
            cwd: FilePath::default(),
            caller: None,
            variables: BTreeMap::new(),
            stdin: Stdin::Empty,
            terminal: None,
            timeout: None,
            termination_grace: DEFAULT_TERMINATION_GRACE,
            lifetime: Lifetime::default(),
            limits: ResourceLimits::default(),
            user: None,
            output_cap: None,
            traceparent: None,
        }
    }

    /// A shell command line with every option at its default.
    pub fn shell(line: impl Into<ByteString>) -> Self {
        Self::new(Command::Shell(line.into()))
    }

    /// A program and its arguments with every option at its default.
    pub fn argv<W: Into<ByteString>>(words: impl IntoIterator<Item = W>) -> Self {
        Self::new(Command::Argv(words.into_iter().map(Into::into).collect()))
    }
}

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartedProcess {
    /// Its id, for every other operation.
    pub id: ProcessId,
    /// Where it runs.
    pub place: Place,
    /// What auto mode made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Box<Routing>>,
    /// The program that was found; missing when none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<FilePath>,
}

/// Which of a command's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Its terminal, where the two are one.
    Terminal,
}

/// Why output is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The log reached its cap; the beginning and the end were kept.
    OverCap,
    /// The log could not be written: the disk was full.
    DiskFull,
}

/// One thing that happened to a command. Offsets count the bytes of both streams together, in the
/// order in which they were read, from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputEvent {
    /// It wrote.
    Output {
        /// Offset of the first byte.
        offset: u64,
        /// Where it wrote.
        stream: OutputKind,
        /// What it wrote.
        bytes: ByteString,
    },
    /// It wrote, and the bytes are gone.
    Gap {
        /// Offset of the first missing byte.
        offset: u64,
        /// How many are missing.
        length: u64,
        /// Why.
        reason: GapReason,
    },
    /// It ended. Processes that it left behind may still write.
    Exit(ExitStatus),
}

/// How long to follow output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Follow {
    /// What there is now.
    #[default]
    No,
    /// Until the command has ended, and what it had written by then.
    UntilExit,
    /// Until nobody can write any more, the processes it left behind included.
    UntilClosed,
}

/// Reads a command's output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadOutput {
    /// The offset to begin at; past the end is an error.
    #[serde(default)]
    pub since: u64,
    /// How long to follow.
    #[serde(default)]
    pub follow: Follow,
    /// Be the client of a foreground command: it lives while this stream does, and output that this
    /// stream has not taken yet is never dropped; when the cap is reached the command waits.
    #[serde(default)]
    pub hold: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// By itself.
    Exited,
    /// By a signal that stigmer did not send.
    Signalled,
    /// It ran out of time.
    TimedOut,
    /// Somebody cancelled it, or its client vanished.
    Cancelled,
    /// The kernel ended it for want of memory.
    OutOfMemory,
    /// Its supervisor died: how it ended is not known. It must not be run again unasked.
    Lost,
}

impl EndReason {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Signalled => "signalled",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::OutOfMemory => "out_of_memory",
            Self::Lost => "lost",
        }
    }
}

/// A process that could not be ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survivor {
    /// Its process id on its machine.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// The user it runs as.
    pub uid: u32,
}

/// How a command ended, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitStatus {
    /// The code a shell would show: 0 to 255, 124 for a timeout, 128 + N for signal N.
    pub code: i32,
    /// Why it ended.
    pub reason: EndReason,
    /// The signal that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// When it ended, milliseconds since 1970.
    pub ended_ms: u64,
    /// How long it ran, in milliseconds.
    pub duration_ms: u64,
    /// Bytes of output up to its end.
    pub output_bytes: u64,
    /// The bytes of memory that it and what ran beside it could have, if it ran out of them and the
    /// limit is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_limit: Option<u64>,
    /// What became of its place, if it is lost with that and the reason is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Processes of the command that could not be ended with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub survivors: Vec<Survivor>,
    /// What it was refused in a lane of auto mode on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub denied: Option<Box<Denied>>,
}

/// Where a command is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It runs.
    Running,
    /// It ended, and `exit` says how.
    Exited,
    /// Its supervisor died without leaving word.
    Lost,
}

/// What is known of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessInfo {
    /// Its id.
    pub id: ProcessId,
    /// What was run.
    pub command: Command,
    /// The workspace it belongs to: its root.
    pub workspace: FilePath,
    /// Where it was run.
    pub cwd: FilePath,
    /// Where it is in its life.
    pub state: ProcessState,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitStatus>,
    /// When it was started, milliseconds since 1970.
    pub started_ms: u64,
    /// Its process id on its machine, while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Processes that it left behind and that still run.
    #[serde(default)]
    pub background: u32,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it goes on without a client.
    pub detached: bool,
    /// Bytes of output so far.
    pub output_bytes: u64,
    /// What auto mode made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Box<Routing>>,
}

/// What to do to a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalRequest {
    /// End it and everything it started: TERM, a time of grace, KILL. Returns when nothing is left.
    Cancel,
    /// End it and everything it started, at once.
    Kill,
    /// Send a signal, by number, to its foreground processes, as a terminal would.
    Send(i32),
}

/// Runs a command and waits for its end.
#[derive(Clone, Debug)]
pub struct Execute {
    /// What to run and how.
    pub start: StartProcess,
    /// What it reads; [`StartProcess::stdin`] must be `Stream` for this to be used.
    pub input: ByteString,
    /// Bytes of each stream in the result: half from the beginning, half from the end.
    pub capture_bytes: usize,
}

impl Execute {
    /// Runs a command with the default time limit and capture.
    pub fn new(mut start: StartProcess) -> Self {
        start.timeout = start.timeout.or(Some(crate::limits::DEFAULT_TIMEOUT));
        Self { start, input: ByteString::default(), capture_bytes: DEFAULT_CAPTURE_BYTES }
    }
}

/// One stream in a result: its beginning, its end, and how much lies between.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Captured {
    /// The beginning; everything, if nothing was omitted.
    pub head: ByteString,
    /// The end, if something was omitted.
    #[serde(default, skip_serializing_if = "ByteString::is_empty")]
    pub tail: ByteString,
    /// Bytes between the two; the log has them.
    #[serde(default)]
    pub omitted_bytes: u64,
}

/// What [`Execute`] returns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executed {
    /// The id under which the whole output is kept.
    pub id: ProcessId,
    /// How it ended.
    pub exit: ExitStatus,
    /// Standard output, or the terminal.
    pub stdout: Captured,
    /// Standard error.
    pub stderr: Captured,
    /// Whether either stream is not whole; `process_output` has the rest.
    pub truncated: bool,
    /// Where it ran.
    pub place: Place,
    /// What auto mode made of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Box<Routing>>,
    /// The program that was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executable: Option<FilePath>,
}

impl Executed {
    /// What was started, how it ended and what it wrote.
    pub fn new(
        started: StartedProcess,
        exit: ExitStatus,
        stdout: Capture,
        stderr: Capture,
    ) -> Self {
        let (stdout, stderr) = (stdout.finish(), stderr.finish());
        Self {
            id: started.id,
            exit,
            truncated: stdout.omitted_bytes + stderr.omitted_bytes > 0,
            stdout,
            stderr,
            place: started.place,
            routing: started.routing,
            executable: started.executable,
        }
    }
}
