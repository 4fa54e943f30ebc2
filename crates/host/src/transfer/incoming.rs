//! A stream of bytes as something that blocking code can read.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::rc::Rc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError};
use tokio::sync::mpsc;

/// Pieces that may wait for the disk: enough to keep both sides busy, and a bound on memory.
const WAITING: usize = 8;

/// What the stream's side sends.
pub(super) enum Piece {
    Data(Bytes),
    Failed(ToolError),
    /// The stream ended by itself. A sender that is dropped before it says so broke off: then what
    /// has arrived is not a whole file.
    End,
}

/// Runs blocking work on the stream's bytes.
pub(super) async fn read_with<T: Send + 'static>(
    mut content: ByteStream,
    work: impl FnOnce(Incoming) -> Result<T> + Send + 'static,
) -> Result<T> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let worker = tokio::task::spawn_blocking(move || work(Incoming::new(receiver)));
    loop {
        let (piece, last) = match content.next().await {
            Some(Ok(data)) => (Piece::Data(data), false),
            Some(Err(error)) => (Piece::Failed(error), true),
            None => (Piece::End, true),
        };
        // The worker reads no more after it has failed.
        if sender.send(piece).await.is_err() || last {
            break;
        }
    }
    drop(sender);
    worker.await.unwrap_or_else(|error| {
        Err(ToolError::new(ErrorCode::Io, format!("an upload broke off: {error}")))
    })
}

/// The reading side.
pub(super) struct Incoming {
    receiver: mpsc::Receiver<Piece>,
    current: Bytes,
    state: Rc<State>,
}

/// What is known of a stream while somebody else reads it.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The stream's end was read.
    pub(super) ended: Cell<bool>,
    /// Why the stream failed.
    pub(super) failure: RefCell<Option<ToolError>>,
    /// How many bytes may still be read; `None` is any number.
    pub(super) allowance: Cell<Option<usize>>,
}

impl Incoming {
    fn new(receiver: mpsc::Receiver<Piece>) -> Self {
        Self { receiver, current: Bytes::new(), state: Rc::default() }
    }

    pub(super) fn state(&self) -> Rc<State> {
        Rc::clone(&self.state)
    }

    /// Fills `current`; `false` at the end.
    fn fill(&mut self) -> std::io::Result<bool> {
        while self.current.is_empty() && !self.state.ended.get() {
            let failure = match self.receiver.blocking_recv() {
                Some(Piece::Data(data)) => {
                    self.current = data;
                    continue;
                }
                Some(Piece::End) => {
                    self.state.ended.set(true);
                    continue;
                }
                Some(Piece::Failed(error)) => error,
                None => ToolError::new(ErrorCode::Io, "the upload was given up by its sender"),
            };
            let text = failure.message.clone();
            self.state.failure.replace(Some(failure));
            return Err(std::io::Error::other(text));
        }
        Ok(!self.current.is_empty())
    }
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if buffer.is_empty() || !self.fill()? {
            return Ok(0);
        }
        let count = buffer.len().min(self.current.len());
        if let Some(allowance) = self.state.allowance.get() {
            let left = allowance.checked_sub(count);
            let left = left.ok_or_else(|| std::io::Error::other("a header is too large"))?;
            self.state.allowance.set(Some(left));
        }
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        Ok(count)
    }
}
