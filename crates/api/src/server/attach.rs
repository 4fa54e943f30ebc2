//! A terminal over one connection: output one way, input and steering the other.
//!
//! The two directions do not wait for each other. A client that does not read must still be able to
//! cancel, and a command that does not read its input must still be heard.
//!
//! Bytes for standard input and its end are handed over in their order. Signals and sizes take
//! effect at once, also while the command has not read all of its input: who presses Ctrl-C means
//! now.
//!
//! What the command does not take any more (it has ended, its input is closed, it has no terminal)
//! does not end the output, which tells of its end. A message that cannot be understood does: its
//! client is wrong about what it speaks.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use stigmer_core::process::TerminalSize;
use stigmer_core::{ByteString, ErrorCode, ProcessId, Result, ToolError, ToolExecutor};
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::Answers;
use super::context::Asked;
use crate::convert;
use crate::convert::{Fault, errors};
use crate::message_size::MAX_PIECE_BYTES;
use crate::wire;
use crate::wire::attach_request::Part;

/// Pieces of input that may wait for the command. More make the client wait, and with it a signal
/// that it sends behind them; `Processes.Signal` never waits.
const WAITING: usize = 16;

/// The first message.
pub(super) async fn begin(
    messages: &mut Streaming<wire::AttachRequest>,
) -> Result<wire::OutputRequest> {
    match next(messages).await? {
        Some(Part::Begin(begin)) => Ok(begin),
        _ => Err(Fault::new("begin", "must be the first message").in_request()),
    }
}

/// The output of a command that is steered by the messages. When it is dropped the steering ends.
pub(super) fn attach(
    asked: Asked,
    executor: Arc<dyn ToolExecutor>,
    id: ProcessId,
    messages: Streaming<wire::AttachRequest>,
    output: Answers<wire::OutputEvent>,
) -> Answers<wire::OutputEvent> {
    let (sender, fault) = oneshot::channel();
    let steering = AbortOnDropHandle::new(tokio::spawn(async move {
        if let Err(error) = steer(&*executor, &id, messages).await {
            // Nobody listens if the output has ended.
            let _ = sender.send(asked.refuse(&error));
        }
    }));
    let attached = Attached { output, fault: Some(fault), _steering: steering };
    Box::pin(stream::unfold(attached, |mut attached| async move {
        let next = attached.next().await?;
        Some((next, attached))
    }))
}

struct Attached {
    output: Answers<wire::OutputEvent>,
    /// Why the steering ended, if not by the client's will.
    fault: Option<oneshot::Receiver<Status>>,
    _steering: AbortOnDropHandle<()>,
}

impl Attached {
    async fn next(&mut self) -> Option<Result<wire::OutputEvent, Status>> {
        loop {
            let Some(fault) = &mut self.fault else { return self.output.next().await };
            tokio::select! {
                status = fault => {
                    self.fault = None;
                    if let Ok(status) = status {
                        return Some(Err(status));
                    }
                }
                event = self.output.next() => return event,
            }
        }
    }
}

enum Input {
    Data(Bytes),
    Close,
}

async fn steer(
    executor: &dyn ToolExecutor,
    id: &ProcessId,
    messages: Streaming<wire::AttachRequest>,
) -> Result<()> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let (read, ()) =
        tokio::join!(understand(executor, id, messages, sender), feed(executor, id, receiver),);
    read
}

/// Reads what the client sends to its end.
async fn understand(
    executor: &dyn ToolExecutor,
    id: &ProcessId,
    mut messages: Streaming<wire::AttachRequest>,
    input: mpsc::Sender<Input>,
) -> Result<()> {
    while let Some(part) = next(&mut messages).await? {
        match part {
            Part::Begin(_) => return Err(Fault::new("begin", "is said twice").in_request()),
            Part::Data(data) if data.len() > MAX_PIECE_BYTES => {
                let (length, most) = (data.len(), MAX_PIECE_BYTES);
                let message = format!("data: {length} bytes are more than the limit of {most}");
                let error = ToolError::new(ErrorCode::TooLarge, message);
                return Err(error.with_detail("limit", most).with_hint("send it in pieces"));
            }
            // The other side takes all there is, and only ends when this does.
            Part::Data(data) => drop(input.send(Input::Data(data)).await),
            Part::CloseStdin(_) => drop(input.send(Input::Close).await),
            Part::Resize(size) => {
                let size: TerminalSize = convert::request(size)?;
                pass_over(executor.resize(id, size).await);
            }
            Part::Signal(signal) => {
                pass_over(executor.signal(id, convert::request(signal)?).await.map(drop));
            }
        }
    }
    Ok(())
}

/// Hands the command its input.
async fn feed(executor: &dyn ToolExecutor, id: &ProcessId, mut input: mpsc::Receiver<Input>) {
    while let Some(input) = input.recv().await {
        pass_over(match input {
            Input::Data(data) => executor.write_stdin(id, ByteString::from(Vec::from(data))).await,
            Input::Close => executor.close_stdin(id).await,
        });
    }
}

/// What the command does not take any more is no fault of the stream's.
fn pass_over(result: Result<()>) {
    if let Err(error) = result {
        tracing::debug!(code = error.code.name(), "a command that is attached to did not take it");
    }
}

async fn next(messages: &mut Streaming<wire::AttachRequest>) -> Result<Option<Part>> {
    let message = messages.message().await.map_err(|status| errors::from_status(&status))?;
    let Some(message) = message else { return Ok(None) };
    let missing = || Fault::new("begin, data, close_stdin, resize or signal", "is missing");
    message.part.ok_or_else(|| missing().in_request()).map(Some)
}
