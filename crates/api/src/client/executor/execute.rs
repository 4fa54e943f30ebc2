//! Running a command to its end, once.

use futures_util::StreamExt as _;
use stigmer_core::limits::MAX_CAPTURE_BYTES;
use stigmer_core::process::{
    Execute, Executed, Follow, OutputEvent, OutputKind, ReadOutput, StartedProcess, Stdin,
};
use stigmer_core::{Capture, ErrorCode, ProcessId, Result, ToolError};

use super::RemoteExecutor;
use super::processes::{chosen, same};
use crate::client::call::Tries;
use crate::client::methods::EXECUTE;
use crate::convert;
use crate::resilience::Repeat;

impl RemoteExecutor {
    /// Runs a command to its end. It is sent once; if the connection breaks, the command is asked
    /// after by its id and followed from its beginning, and started only if it never was.
    ///
    /// How much of an `input` a command has been fed when the connection breaks is not known, so
    /// that it is never fed again: such a command is followed if it was started and reads what it
    /// was fed (a command that waits for more ends with its time limit); if it was not, the result
    /// is `completion_unknown`.
    pub(super) async fn run(&self, mut request: Execute) -> Result<Executed> {
        if request.capture_bytes > MAX_CAPTURE_BYTES {
            let asked = request.capture_bytes;
            let reason = format!("{asked} bytes are over the limit of {MAX_CAPTURE_BYTES}");
            return Err(ToolError::invalid_argument("capture_bytes", reason));
        }
        let id = chosen(&mut request.start.id)?;
        let traceparent = request.start.traceparent.as_deref();
        let call = self.client.call(EXECUTE)?.about(&id).traced(traceparent);
        // Sent again it would feed its input again.
        let mut call = call.repeat(Repeat::IfUnseen);
        let mut tries = Tries::new();
        let sent = loop {
            let left = call.begin(&mut tries).await?;
            let ticket = self.ticket(&request.start.stdin).await;
            let message =
                ticket.and_then(|ticket| convert::execute_request(request.clone(), ticket));
            let result = call.once(message.map(|message| self.about(message)), left).await;
            match call.end(&mut tries, result).await {
                Ok(None) => {}
                Ok(Some(reply)) => break Ok(reply),
                Err(error) => break Err(error),
            }
        };
        let was_broken = call.was_broken();
        match sent {
            Ok(reply) => {
                let executed: Executed = convert::reply(reply)?;
                same(&id, &executed.id)?;
                Ok(executed)
            }
            Err(unknown) if was_broken => self.find_again(&id, request, unknown).await,
            Err(error) => Err(error),
        }
    }

    /// Goes on with a command after the connection broke.
    async fn find_again(
        &self,
        id: &ProcessId,
        request: Execute,
        unknown: ToolError,
    ) -> Result<Executed> {
        if !request.input.is_empty() {
            match self.look(id, true).await {
                Ok(_) => {}
                Err(error) if error.code == ErrorCode::UnknownProcess => return Err(unknown),
                Err(error) => return Err(not_known(unknown, error)),
            }
        }
        // Of a command that was started this starts nothing, and says where it runs.
        let started = self.start_with(id, &request.start, true).await?;
        if matches!(request.start.stdin, Stdin::Stream) && request.input.is_empty() {
            // It has all its input. If it has ended, or was told so before, it need not be told.
            let _ = self.close(id).await;
        }
        match self.captured(started, request.capture_bytes).await {
            Err(error) => Err(not_known(unknown, error)),
            executed => executed,
        }
    }

    /// Follows a command from its beginning to its end.
    async fn captured(&self, started: StartedProcess, limit: usize) -> Result<Executed> {
        let read = ReadOutput { since: 0, follow: Follow::UntilExit, hold: true };
        let mut events = self.output(&started.id, read).await?;
        let (mut stdout, mut stderr) = (Capture::new(limit), Capture::new(limit));
        let mut end = None;
        while let Some(event) = events.next().await {
            match event? {
                OutputEvent::Output { stream: OutputKind::Stderr, bytes, .. } => {
                    stderr.push(bytes.as_bytes());
                }
                OutputEvent::Output { bytes, .. } => stdout.push(bytes.as_bytes()),
                // Which stream lost them is not known; most output is standard output.
                OutputEvent::Gap { length, .. } => stdout.skip(length),
                OutputEvent::Exit(exit) => end = Some(exit),
            }
        }
        let exit = end.ok_or_else(|| {
            ToolError::new(ErrorCode::Io, format!("process {} has no end", started.id))
        })?;
        Ok(Executed::new(started, exit, stdout, stderr))
    }
}

/// A server that cannot be reached says nothing of the command.
fn not_known(unknown: ToolError, error: ToolError) -> ToolError {
    match error.code {
        ErrorCode::Unavailable | ErrorCode::DeadlineExceeded => unknown,
        _ => error,
    }
}
