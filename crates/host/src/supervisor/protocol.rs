//! What a client and a supervisor say to each other.
//!
//! A connection carries one request at a time, each answered once. A message is
//!
//! ```text
//! byte 0-3   length of the header, little endian
//! byte 4-7   length of the body, little endian
//! header     JSON: a Request or a Reply
//! body       bytes for standard input; else empty
//! ```
//!
//! Unknown fields are ignored and an unknown request is answered with an error, so that a client
//! and a supervisor of different versions understand each other or say what they lack.

use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use stigmer_core::process::{
    CallerLimit, Command, ExitStatus, ResourceLimits, SignalRequest, Survivor, TerminalSize,
};
use stigmer_core::{ByteString, Denied, FilePath, ProcessId, Routing, ToolError};

/// The version of this protocol. It grows when a message changes its meaning.
pub const VERSION: u32 = 1;

/// The longest header: a launch carries the whole environment and the arguments, which the kernel
/// itself bounds (`execve(2)`: 6 MiB on the usual stack), JSON at most six times as long.
const MAX_HEADER: usize = 64 << 20;
/// The longest body: clients send standard input in pieces of at most this.
pub const MAX_BODY: usize = 1 << 20;
const PREFIX: usize = 8;

/// Where a command's standard input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinSource {
    /// `/dev/null`.
    Empty,
    /// [`Request::Stdin`].
    Stream,
    /// The second descriptor that came with the launch.
    Inherit,
}

/// Everything a supervisor needs to start its command. The descriptor of the working directory
/// comes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Launch {
    /// The client's [`VERSION`].
    pub version: u32,
    /// The command's id.
    pub id: ProcessId,
    /// The directory in which the process's own directory is made.
    pub processes: PathBuf,
    /// The workspace's root.
    pub workspace: FilePath,
    /// The working directory, for people and for `PWD`.
    pub cwd: FilePath,
    /// What to run.
    pub command: Command,
    /// The whole environment.
    pub environment: Vec<(ByteString, ByteString)>,
    /// Where standard input comes from.
    pub stdin: StdinSource,
    /// A terminal of this size.
    pub terminal: Option<TerminalSize>,
    /// How long the command may run.
    pub timeout: Option<Duration>,
    /// The time between TERM and KILL.
    pub termination_grace: Duration,
    /// How long to wait for a client that vanished; `None` is for ever.
    pub client_grace: Option<Duration>,
    /// Limits on resources.
    pub limits: ResourceLimits,
    /// Bytes of output to keep.
    pub output_cap: u64,
    /// How long ended processes are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// The caller's file mode creation mask; `None` is the launcher's.
    #[serde(default)]
    pub umask: Option<u32>,
    /// The caller's resource limits; those that are not named are the launcher's.
    #[serde(default)]
    pub caller_limits: Vec<CallerLimit>,
    /// The trace that the command belongs to.
    #[serde(default)]
    pub traceparent: Option<String>,
    /// The directory of the journal that is told of the command; `None` is told nothing.
    #[serde(default)]
    pub journal: Option<PathBuf>,
    /// How much likelier than others it is killed when memory runs out, in thousandths of it.
    #[serde(default)]
    pub oom_score: Option<u16>,
    /// The lane of auto mode that the command is confined to; `None` is not confined.
    #[serde(default)]
    pub confinement: Option<Box<Confine>>,
}

/// How a supervisor confines its command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Confine {
    /// What is kept with the command; the lane is in it.
    pub routing: Routing,
    /// Programs that must be executable in the lane.
    pub programs: Vec<ByteString>,
    /// More directories that hold tools.
    pub tool_roots: Vec<PathBuf>,
    /// How many of the environment's variables, at its end, were declared for the command and are not its
    /// caller's.
    pub declared: usize,
    /// Whether a try that fails on a refused change is to be discarded.
    pub may_fall_over: bool,
}

/// What a client asks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Start the command; only as the first request of a supervisor. Answer: `Started` or `Failed`.
    Launch(Box<Launch>),
    /// Answer with `Progress` as soon as there is more than the client knows.
    Watch(Watch),
    /// Write the body to standard input. Answer: `Done` when the command's pipe has taken it.
    Stdin,
    /// Close standard input. Answer: `Done`.
    CloseStdin,
    /// Signal or end the command. Answer: `Ended` for an end, else `Done`.
    Signal(SignalRequest),
    /// Change the terminal's size. Answer: `Done`.
    Resize(TerminalSize),
    /// Answer with `Status`.
    Status,
}

/// What a watching client knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// It has all output before this offset.
    pub since: u64,
    /// It knows that the command ended.
    pub knows_exit: bool,
    /// It is the command's client: the command lives while it does, and waits for it.
    pub hold: bool,
}

/// What a supervisor answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The command runs (or was not found, and ended with 127).
    Started {
        /// The supervisor's [`VERSION`].
        version: u32,
        /// The program that was found.
        executable: Option<FilePath>,
        /// The lane that it is confined to, with what is enforced.
        #[serde(default)]
        routing: Option<Box<Routing>>,
    },
    /// Nothing ran: the lane is off, or does not fit.
    Refused {
        /// Why, for people.
        reason: String,
    },
    /// The command failed because of what it was refused, and nothing of it is left.
    Discarded(Denied),
    /// There is more.
    Progress {
        /// The offset after the last byte of output.
        end: u64,
        /// How the command ended.
        exit: Option<ExitStatus>,
        /// Nobody can write any more.
        closed: bool,
    },
    /// Done.
    Done,
    /// Nothing of the command is left but these.
    Ended {
        /// How the command ended.
        exit: ExitStatus,
        /// What could not be ended.
        survivors: Vec<Survivor>,
    },
    /// What there is to know.
    Status {
        /// The command's process id, while it runs.
        pid: Option<u32>,
        /// Processes that it left behind.
        background: u32,
        /// The offset after the last byte of output.
        end: u64,
    },
    /// The request failed.
    Failed(ToolError),
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum InvalidMessage {
    /// A length is over its limit.
    #[error("a {part} of {length} bytes is longer than the limit of {limit}")]
    TooLong {
        /// Header or body.
        part: &'static str,
        /// What was announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
    /// The header is not understood.
    #[error("a message is not understood: {0}")]
    NotUnderstood(#[from] serde_json::Error),
}

/// A message as it is sent.
///
/// # Errors
/// [`InvalidMessage`] if it is over a limit.
pub fn encode(header: &impl Serialize, body: &[u8]) -> Result<Vec<u8>, InvalidMessage> {
    let mut message = vec![0; PREFIX];
    serde_json::to_writer(&mut message, header)?;
    let length = message.len() - PREFIX;
    check("header", length, MAX_HEADER)?;
    check("body", body.len(), MAX_BODY)?;
    message[..4].copy_from_slice(&(length as u32).to_le_bytes());
    message[4..8].copy_from_slice(&(body.len() as u32).to_le_bytes());
    message.extend_from_slice(body);
    Ok(message)
}

/// A message: its header, its body, and how many bytes it took.
pub type Decoded<'a, T> = (T, &'a [u8], usize);

/// Takes the first message off a buffer: header, body, and the bytes it took; `None` if it is not
/// whole yet.
///
/// # Errors
/// [`InvalidMessage`] if the buffer does not begin with a message.
pub fn decode<T: DeserializeOwned>(
    buffer: &[u8],
) -> Result<Option<Decoded<'_, T>>, InvalidMessage> {
    let Some((prefix, rest)) = buffer.split_first_chunk::<PREFIX>() else { return Ok(None) };
    let header = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    let body = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]) as usize;
    check("header", header, MAX_HEADER)?;
    check("body", body, MAX_BODY)?;
    if rest.len() < header + body {
        return Ok(None);
    }
    let message = serde_json::from_slice(&rest[..header])?;
    Ok(Some((message, &rest[header..header + body], PREFIX + header + body)))
}

fn check(part: &'static str, length: usize, limit: usize) -> Result<(), InvalidMessage> {
    if length > limit {
        return Err(InvalidMessage::TooLong { part, length, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_read_back_one_by_one() {
        let mut bytes = encode(&Request::Stdin, b"hello").unwrap();
        bytes.extend(encode(&Request::Status, b"").unwrap());
        let (first, body, used) = decode::<Request>(&bytes).unwrap().unwrap();
        assert!(matches!(first, Request::Stdin));
        assert_eq!(body, b"hello");
        let (second, _, rest) = decode::<Request>(&bytes[used..]).unwrap().unwrap();
        assert!(matches!(second, Request::Status));
        assert_eq!(used + rest, bytes.len());
        for cut in 0..used {
            assert!(decode::<Request>(&bytes[..cut]).unwrap().is_none());
        }
    }

    #[test]
    fn a_launch_of_a_version_that_said_less_is_understood() {
        let launch = serde_json::json!({
            "version": 1, "id": "0123456789", "processes": "/p", "workspace": "/w", "cwd": "/w",
            "command": {"shell": "true"}, "environment": [], "stdin": "empty", "terminal": null,
            "timeout": null, "termination_grace": {"secs": 2, "nanos": 0}, "client_grace": null,
            "limits": {}, "output_cap": 1, "retention": null,
        });
        let old: Launch = serde_json::from_value(launch.clone()).unwrap();
        assert!(old.umask.is_none() && old.caller_limits.is_empty());
        assert!(old.traceparent.is_none() && old.journal.is_none());
        let mut new = launch;
        new["of_the_future"] = true.into();
        assert!(serde_json::from_value::<Launch>(new).is_ok());
    }

    #[test]
    fn too_long_a_body_is_refused_before_it_arrives() {
        assert!(encode(&Request::Stdin, &vec![0; MAX_BODY + 1]).is_err());
        assert!(decode::<Request>(&[1, 0, 0, 0, 255, 255, 255, 255]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Some((_, body, used))) = decode::<Request>(&bytes) {
                prop_assert!(used <= bytes.len() && body.len() <= used);
            }
        }
    }
}
