//! What a command writes.

use stigmer_core::process::{Follow, GapReason, OutputEvent, OutputKind, ReadOutput};
use stigmer_core::{ByteString, ProcessId};

use super::bytes::{bytes, field};
use super::{Fault, known, known_or_none, pairs, process_id, required};
use crate::wire;
use crate::wire::output_event::Event;

pairs! {
    Follow = wire::Follow { No UntilExit UntilClosed }
    OutputKind = wire::OutputKind { Stdout Stderr Terminal }
    GapReason = wire::GapReason { OverCap DiskFull }
}

/// The request to read a command's output.
pub fn output_request(id: &ProcessId, read: ReadOutput) -> wire::OutputRequest {
    wire::OutputRequest {
        workspace: String::new(),
        id: id.as_str().to_owned(),
        since: read.since,
        follow: wire::Follow::from(read.follow).into(),
        hold: read.hold,
    }
}
impl TryFrom<wire::OutputRequest> for (ProcessId, ReadOutput) {
    type Error = Fault;
    fn try_from(request: wire::OutputRequest) -> Result<Self, Fault> {
        let follow = known_or_none::<wire::Follow, _>("follow", request.follow)?;
        let (since, follow, hold) = (request.since, follow.unwrap_or_default(), request.hold);
        Ok((process_id("id", &request.id)?, ReadOutput { since, follow, hold }))
    }
}

/// How far a reader of output has come: what makes an event of the core's one of the wire's.
#[derive(Clone, Copy, Debug)]
pub struct Position(u64);

impl Position {
    /// A reader that begins here.
    pub fn at(since: u64) -> Self {
        Self(since)
    }

    /// The event, and where a reader goes on that has received it.
    ///
    /// Output and gaps end where they end. The end of a command has no length: it leaves the reader
    /// where it is, which is never past a byte that it has not received. Whoever resumes there is
    /// told of the end once more, and of what was written after it. (`exit.output_bytes` would not
    /// do: what follows until the output is closed may have passed it by then, and would be repeated;
    /// a lost command's is 0.)
    pub fn event(&mut self, event: OutputEvent) -> wire::OutputEvent {
        let event = match event {
            OutputEvent::Output { offset, stream, bytes } => {
                self.reach(offset, bytes.len() as u64);
                let stream = wire::OutputKind::from(stream).into();
                Event::Output(wire::Output { offset, stream, bytes: field(bytes) })
            }
            OutputEvent::Gap { offset, length, reason } => {
                self.reach(offset, length);
                let reason = wire::GapReason::from(reason).into();
                Event::Gap(wire::Gap { offset, length, reason })
            }
            OutputEvent::Exit(exit) => Event::Exit(exit.into()),
        };
        wire::OutputEvent { next: self.0, event: Some(event) }
    }

    fn reach(&mut self, offset: u64, length: u64) {
        self.0 = self.0.max(offset.saturating_add(length));
    }
}

impl TryFrom<wire::OutputEvent> for OutputEvent {
    type Error = Fault;
    fn try_from(event: wire::OutputEvent) -> Result<Self, Fault> {
        match event.event.ok_or_else(|| Fault::missing("event"))? {
            Event::Output(output) => {
                let stream = known::<wire::OutputKind, _>("output.stream", output.stream)?;
                let bytes = bytes(output.bytes);
                ends("output.offset", output.offset, bytes.len() as u64)?;
                Ok(Self::Output { offset: output.offset, stream, bytes })
            }
            Event::Gap(gap) => {
                ends("gap.offset", gap.offset, gap.length)?;
                let reason = known::<wire::GapReason, _>("gap.reason", gap.reason)?;
                Ok(Self::Gap { offset: gap.offset, length: gap.length, reason })
            }
            Event::Exit(exit) => Ok(Self::Exit(required("exit", Some(exit))?)),
        }
    }
}

/// Whoever adds the two must get a number.
fn ends(field: &str, offset: u64, length: u64) -> Result<(), Fault> {
    match offset.checked_add(length) {
        Some(_) => Ok(()),
        None => Err(Fault::new(field, format!("{offset} and a length of {length} have no end"))),
    }
}

/// The most bytes of a character that its first byte announces.
const MOST_CONTINUED: usize = 3;

/// Splits output that is text but for a character cut at its beginning or its end.
///
/// A command's output is read in pieces that end anywhere. Where a piece is not UTF-8 only because
/// of that, the cut bytes become events of their own, so that whoever reads JSON gets the rest as
/// text. What is no text, or all of it, stays as it is.
pub fn split_characters(event: OutputEvent) -> Vec<OutputEvent> {
    let OutputEvent::Output { offset, stream, bytes } = &event else { return vec![event] };
    let all = bytes.as_bytes();
    let Some((begin, end)) = text_within(all).filter(|(begin, end)| end - begin < all.len()) else {
        return vec![event];
    };
    let piece = |from: usize, to: usize| OutputEvent::Output {
        offset: offset.saturating_add(from as u64),
        stream: *stream,
        bytes: ByteString::from(&all[from..to]),
    };
    [(0, begin), (begin, end), (end, all.len())]
        .into_iter()
        .filter(|(from, to)| from < to)
        .map(|(from, to)| piece(from, to))
        .collect()
}

/// Where text begins and ends in bytes that are nothing else; `None` if they are.
fn text_within(all: &[u8]) -> Option<(usize, usize)> {
    let continues = |byte: &&u8| (0x80..0xc0).contains(*byte);
    let begin = all.iter().take(MOST_CONTINUED).take_while(continues).count();
    let end = match std::str::from_utf8(&all[begin..]) {
        Ok(_) => all.len(),
        // No length: the character lacks bytes, and is not merely wrong.
        Err(error) if error.error_len().is_none() => begin + error.valid_up_to(),
        Err(_) => return None,
    };
    (begin < end).then_some((begin, end))
}
