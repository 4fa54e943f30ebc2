//! A command's output, whatever becomes of the connection.

use stigmer_core::process::{Follow, OutputEvent, ReadOutput};
use stigmer_core::{ErrorCode, OutputStream, ProcessId, Result, ToolError};

use super::RemoteExecutor;
use crate::client::methods::{Method, OUTPUT};
use crate::client::resume::{Resumable, resuming};
use crate::convert::{self, InWorkspace as _};
use crate::wire;

impl RemoteExecutor {
    /// Reads or follows a command's output. When the connection breaks, or the server goes down, it
    /// goes on from the first byte that has not arrived.
    pub(super) async fn output(&self, id: &ProcessId, read: ReadOutput) -> Result<OutputStream> {
        let workspace = self.workspace.clone();
        let source = Output { workspace, id: id.clone(), read, has_exited: false };
        resuming(&self.client, source).await
    }
}

/// How far a reader of a command's output has come.
struct Output {
    workspace: String,
    id: ProcessId,
    /// What is asked for; `since` is what comes next.
    read: ReadOutput,
    has_exited: bool,
}

impl Output {
    /// Goes on behind `length` bytes at `offset`.
    fn reach(&mut self, offset: u64, length: u64) -> Result<()> {
        if offset != self.read.since {
            return Err(self.wrong(format!("goes on at {offset}, not at {}", self.read.since)));
        }
        match offset.checked_add(length) {
            Some(next) => self.read.since = next,
            None => return Err(self.wrong(format!("has {length} bytes at {offset}"))),
        }
        Ok(())
    }

    fn wrong(&self, what: impl std::fmt::Display) -> ToolError {
        ToolError::new(ErrorCode::Io, format!("the server's output of process {} {what}", self.id))
            .with_detail("process", self.id.as_str())
    }
}

impl Resumable for Output {
    type Request = wire::OutputRequest;
    type Message = wire::OutputEvent;
    type Item = OutputEvent;

    const METHOD: Method<Self::Request, Self::Message> = OUTPUT;

    fn request(&mut self) -> Option<wire::OutputRequest> {
        Some(convert::output_request(&self.id, self.read).in_workspace(&self.workspace))
    }

    fn arrived(&mut self, message: wire::OutputEvent) -> Result<Option<OutputEvent>> {
        let next = message.next;
        let event: OutputEvent = convert::reply(message)?;
        let mut is_new = true;
        match &event {
            OutputEvent::Output { offset, bytes, .. } => {
                self.reach(*offset, bytes.len() as u64)?;
            }
            OutputEvent::Gap { offset, length, .. } => self.reach(*offset, *length)?,
            // A stream that was resumed after the end is told of it once more.
            OutputEvent::Exit(_) => is_new = !std::mem::replace(&mut self.has_exited, true),
        }
        if next != self.read.since {
            return Err(self.wrong(format!("is at {}, and says {next}", self.read.since)));
        }
        Ok(is_new.then_some(event))
    }

    fn may_end(&self) -> bool {
        self.read.follow == Follow::No || self.has_exited
    }

    fn is_over(&self) -> bool {
        self.read.follow == Follow::UntilExit && self.has_exited
    }
}

#[cfg(test)]
mod tests {
    use stigmer_core::process::{EndReason, ExitStatus, GapReason, OutputKind};

    use super::*;
    use crate::convert::Position;

    fn output(since: u64, follow: Follow) -> Output {
        let read = ReadOutput { since, follow, hold: true };
        Output { workspace: String::new(), id: ProcessId::from_random(1), read, has_exited: false }
    }

    fn wrote(offset: u64, text: &str) -> OutputEvent {
        OutputEvent::Output { offset, stream: OutputKind::Stdout, bytes: text.into() }
    }

    fn exit() -> OutputEvent {
        OutputEvent::Exit(ExitStatus {
            code: 0,
            reason: EndReason::Exited,
            signal: None,
            ended_ms: 1,
            duration_ms: 1,
            output_bytes: 5,
            memory_limit: None,
            cause: None,
            survivors: Vec::new(),
            denied: None,
        })
    }

    #[test]
    fn output_goes_on_where_it_was() {
        let mut reader = output(3, Follow::UntilClosed);
        let mut position = Position::at(3);
        let gap = OutputEvent::Gap { offset: 5, length: 10, reason: GapReason::OverCap };
        for event in [wrote(3, "ab"), gap, exit(), wrote(15, "c")] {
            assert_eq!(reader.arrived(position.event(event.clone())).unwrap(), Some(event));
        }
        assert_eq!(reader.arrived(position.event(exit())).unwrap(), None, "the end came twice");
        assert_eq!(reader.request().unwrap().since, 16);
        assert!(reader.may_end() && !reader.is_over());
    }

    #[test]
    fn a_byte_that_is_lost_or_repeated_is_an_error() {
        for (offset, next) in [(4, 6), (2, 4), (u64::MAX - 1, u64::MAX), (3, 4), (3, 6)] {
            let mut event =
                Position::at(0).event(wrote(offset, if offset < 9 { "ab" } else { "" }));
            event.next = next;
            let error = output(3, Follow::No).arrived(event).unwrap_err();
            assert_eq!(error.code, ErrorCode::Io, "{offset} {next}: {error}");
        }
        let endless = wire::Gap { offset: 3, length: u64::MAX, reason: 1 };
        let event = Some(wire::output_event::Event::Gap(endless));
        let error =
            output(3, Follow::No).arrived(wire::OutputEvent { next: 2, event }).unwrap_err();
        assert_eq!(error.code, ErrorCode::Io, "{error}");
    }

    #[test]
    fn a_stream_that_follows_is_not_whole_without_the_end() {
        let mut reader = output(0, Follow::UntilExit);
        assert!(!reader.may_end() && !reader.is_over());
        reader.arrived(Position::at(0).event(exit())).unwrap();
        assert!(reader.may_end() && reader.is_over());
        assert!(output(0, Follow::No).may_end());
        assert!(!output(0, Follow::No).is_over());
    }
}
