//! One connection to a supervisor, from the client's side.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use stigmer_core::{ErrorCode, ProcessId, Result, ToolError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::supervisor::protocol::{self, Reply, Request};
use crate::supervisor::record::CONTROL;

/// How long a supervisor may take to answer what it answers at once. It is one thread that never
/// blocks; on a machine that swaps it may still have to wait for its turn.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How soon and how often a supervisor is connected to whose queue is full: as long as it may take
/// to answer.
const TRY_AGAIN: Duration = Duration::from_millis(10);
const MAX_TRIES: u32 = 1000;

/// One request at a time, each answered once.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Connection {
    /// The connection over which a command is being started.
    pub(crate) fn from_launch(stream: UnixStream) -> Self {
        Self { stream, received: Vec::new() }
    }

    /// Connects to the supervisor of a process's directory; `None` if there is none any more.
    pub(crate) async fn open(directory: &OwnedFd, id: &ProcessId) -> Result<Option<Self>> {
        let unreachable = |error: std::io::Error| ToolError::supervisor_unreachable(id, error);
        // In a container's state anybody there may have put a link to another server.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let control = match openat(directory, CONTROL, flags, Mode::empty()) {
            Ok(control) => control,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(unreachable(error.into())),
        };
        let kind = fstat(&control).map_err(|error| unreachable(error.into()))?.st_mode;
        if FileType::from_raw_mode(kind) != FileType::Socket {
            return Ok(None);
        }
        // Through the descriptor, because it is what was looked at, and because a socket's path
        // holds only 107 bytes (`unix(7)`).
        let path = format!("/proc/self/fd/{}", control.as_raw_fd());
        let address = SocketAddrUnix::new(path).map_err(|error| unreachable(error.into()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let mut tries = 0;
        loop {
            let socket =
                rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
                    .map_err(|error| unreachable(error.into()))?;
            match rustix::net::connect(&socket, &address) {
                Ok(()) => {
                    let stream = std::os::unix::net::UnixStream::from(socket);
                    let stream = UnixStream::from_std(stream).map_err(unreachable)?;
                    return Ok(Some(Self { stream, received: Vec::new() }));
                }
                Err(Errno::NOENT | Errno::CONNREFUSED) => return Ok(None),
                // Its queue is full for the moment.
                Err(Errno::AGAIN) if tries < MAX_TRIES => {
                    tries += 1;
                    tokio::time::sleep(TRY_AGAIN).await;
                }
                Err(error) => return Err(unreachable(error.into())),
            }
        }
    }

    /// Asks, and waits for the answer as long as it takes. `None` if the supervisor is gone.
    pub(crate) async fn ask(&mut self, request: &Request, body: &[u8]) -> Result<Option<Reply>> {
        self.send(request, body).await?;
        self.answer().await
    }

    /// Asks what is answered at once.
    pub(crate) async fn ask_soon(
        &mut self,
        id: &ProcessId,
        request: &Request,
    ) -> Result<Option<Reply>> {
        within_limit(id, self.ask(request, &[])).await
    }

    /// Waits for an answer that is given at once.
    pub(crate) async fn answer_soon(&mut self, id: &ProcessId) -> Result<Option<Reply>> {
        within_limit(id, self.answer()).await
    }

    /// Sends a request without waiting. A supervisor that is gone is noticed at the answer.
    pub(crate) async fn send(&mut self, request: &Request, body: &[u8]) -> Result<()> {
        let message = protocol::encode(request, body)
            .map_err(|error| ToolError::invalid_argument("request", error))?;
        let _ = self.stream.write_all(&message).await;
        Ok(())
    }

    /// Waits for an answer. `None` if the supervisor is gone.
    pub(crate) async fn answer(&mut self) -> Result<Option<Reply>> {
        loop {
            let decoded = protocol::decode::<Reply>(&self.received).map_err(|error| {
                ToolError::new(ErrorCode::Io, format!("a supervisor's answer: {error}"))
                    .with_hint("it was started by another version of stigmer; use that one for it")
            })?;
            if let Some((reply, _, used)) = decoded {
                self.received.drain(..used);
                return match reply {
                    Reply::Failed(error) => Err(error),
                    reply => Ok(Some(reply)),
                };
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(_) => {}
            }
        }
    }
}

/// An answer, if it comes in time.
async fn within_limit(
    id: &ProcessId,
    answer: impl Future<Output = Result<Option<Reply>>>,
) -> Result<Option<Reply>> {
    tokio::time::timeout(ANSWER_LIMIT, answer).await.unwrap_or_else(|_| {
        let reason = format!("no answer within {} s", ANSWER_LIMIT.as_secs());
        Err(ToolError::supervisor_unreachable(id, reason)
            .with_hint("it may be stopped: `pkill -CONT stigmer-superv` wakes it"))
    })
}

/// An answer that does not fit its question.
pub(crate) fn unexpected(id: &ProcessId, reply: &Reply) -> ToolError {
    ToolError::supervisor_unreachable(id, format!("unexpected answer {reply:?}"))
}
