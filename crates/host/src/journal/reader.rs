//! Reading and following.

use std::collections::VecDeque;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_core::Stream;
use futures_util::stream;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::{FilePath, Result, ToolError};

use super::segment::{self, Segment};
use super::{MAX_RECORD, SEGMENT_LIMIT};

/// Bytes that are read at a time: any record fits twice.
const CHUNK: usize = 2 * MAX_RECORD;

/// How often a follower looks for news: one system call each time.
const POLL: Duration = Duration::from_millis(100);

/// Reads the journal from an offset on.
#[derive(Debug)]
pub struct JournalReader {
    directory: PathBuf,
    limit: u64,
    offset: u64,
    segment: Option<Segment>,
    /// Where the segment ends, once that is known.
    end: Option<u64>,
    buffer: Vec<u8>,
}

impl JournalReader {
    /// Begins at an offset; `None` is the end. One that is no longer kept is answered with an
    /// `EventsLost` and what is kept.
    ///
    /// # Errors
    /// `invalid_argument` for an offset past the end; what the file system says.
    pub fn open(directory: impl Into<PathBuf>, since: Option<u64>) -> Result<Self> {
        Self::with_limit(directory, since, SEGMENT_LIMIT)
    }

    pub(super) fn with_limit(
        directory: impl Into<PathBuf>,
        since: Option<u64>,
        limit: u64,
    ) -> Result<Self> {
        let directory = directory.into();
        let end = end_of(&directory, limit).map_err(|error| failed(&directory, &error))?;
        if let Some(since) = since.filter(|since| *since > end) {
            let reason = format!("offset {since} is past the end of the events at {end}");
            return Err(ToolError::invalid_argument("since", reason)
                .with_detail("end", end)
                .with_hint("begin at the `next` of an event, or without an offset"));
        }
        let offset = since.unwrap_or(end);
        Ok(Self { directory, limit, offset, segment: None, end: None, buffer: Vec::new() })
    }

    /// The offset after what was read.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next events; none if there are none yet.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&mut self) -> Result<Vec<Event>> {
        self.next_events().map_err(|error| failed(&self.directory, &error))
    }

    fn next_events(&mut self) -> io::Result<Vec<Event>> {
        loop {
            let Some(segment) = &self.segment else {
                match self.find()? {
                    Found::Segment => continue,
                    Found::Lost(event) => return Ok(vec![*event]),
                    Found::Nothing => return Ok(Vec::new()),
                }
            };
            let state = segment.state()?;
            if self.end.is_none() && state.size >= self.limit {
                self.end = segment.end(self.limit)?;
            }
            let at = self.offset - segment.base;
            if self.end.is_some_and(|end| at >= end) {
                // The next segment begins here, if there is one yet.
                match segment::list(&self.directory)?.last() {
                    Some(newest) if *newest > segment.base => self.forget(),
                    _ => return Ok(Vec::new()),
                }
                continue;
            }
            // What lies behind the end does not count, and where the end is may not be known yet.
            let until = self.end.unwrap_or(state.size.min(self.limit));
            let left = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
            self.buffer.resize(left.min(CHUNK), 0);
            let count = read_at(segment, &mut self.buffer, at)?;
            let whole = memchr::memrchr(b'\n', &self.buffer[..count]).map_or(0, |last| last + 1);
            let events = parse(&self.buffer[..whole], self.offset);
            // Longer than any record: nothing of ours.
            let used = if whole == 0 && count == CHUNK { count } else { whole };
            self.offset += used as u64;
            if !events.is_empty() {
                return Ok(events);
            }
            if used == 0 {
                if state.removed && self.end.is_none() {
                    // Somebody cleared the journal away; what begins anew has other offsets.
                    return self.restart();
                }
                return Ok(Vec::new());
            }
        }
    }

    /// Opens the segment that the offset lies in.
    fn find(&mut self) -> io::Result<Found> {
        let bases = segment::list(&self.directory)?;
        let Some(oldest) = bases.first().copied() else { return Ok(Found::Nothing) };
        let Some(base) = bases.iter().rev().copied().find(|base| *base <= self.offset) else {
            self.offset = oldest;
            return Ok(Found::Lost(Box::new(lost(oldest))));
        };
        let Some(found) = Segment::open(&self.directory, base)? else {
            // It was removed just now: look again.
            return Ok(Found::Segment);
        };
        if let Some(end) = found.end(self.limit)? {
            let next = bases.iter().copied().find(|next| *next > base);
            // Behind a segment's end and before the next one nothing is kept.
            if let Some(next) = next.filter(|next| self.offset >= base + end && *next > self.offset)
            {
                self.offset = next;
                return Ok(Found::Lost(Box::new(lost(next))));
            }
            self.end = Some(end);
        }
        self.segment = Some(found);
        Ok(Found::Segment)
    }

    /// Goes on with a journal that was begun anew, if it was.
    fn restart(&mut self) -> io::Result<Vec<Event>> {
        let bases = segment::list(&self.directory)?;
        let Some(oldest) = bases.first().copied() else { return Ok(Vec::new()) };
        self.forget();
        self.offset = oldest;
        Ok(vec![lost(oldest)])
    }

    fn forget(&mut self) {
        self.segment = None;
        self.end = None;
    }
}

/// What looking for a segment came to.
enum Found {
    /// One was opened, or it is worth looking again.
    Segment,
    /// Events are gone.
    Lost(Box<Event>),
    /// There is none.
    Nothing,
}

/// The events from where a reader stands: those that there are, or also, for ever, those to come.
pub fn follow(reader: JournalReader, for_ever: bool) -> impl Stream<Item = Result<Event>> + Send {
    let begin = (Some(reader), VecDeque::new());
    stream::unfold(begin, move |(mut reader, mut queue)| async move {
        loop {
            if let Some(event) = queue.pop_front() {
                return Some((Ok(event), (reader, queue)));
            }
            match reader.as_mut()?.read() {
                Ok(events) if events.is_empty() && !for_ever => return None,
                Ok(events) if events.is_empty() => tokio::time::sleep(POLL).await,
                Ok(events) => queue.extend(events),
                Err(error) => return Some((Err(error), (None, queue))),
            }
        }
    })
}

/// Reads until the buffer is full or the file ends.
fn read_at(segment: &Segment, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match segment.file.read_at(&mut buffer[count..], at + count as u64) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// The events of whole lines that begin at an offset.
fn parse(lines: &[u8], offset: u64) -> Vec<Event> {
    let mut next = offset;
    let mut events = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        next += line.len() as u64;
        if let Ok(event) = serde_json::from_slice::<Event>(line) {
            events.push(Event { next, ..event });
        }
    }
    events
}

/// The offset after everything that is there.
fn end_of(directory: &Path, limit: u64) -> io::Result<u64> {
    let Some(base) = segment::list(directory)?.last().copied() else { return Ok(0) };
    let Some(newest) = Segment::open(directory, base)? else { return Ok(base) };
    let size = newest.state()?.size;
    Ok(base + newest.end(limit)?.unwrap_or(size))
}

fn lost(next: u64) -> Event {
    Event { next, ..super::event(FilePath::default(), EventKind::EventsLost) }
}

fn failed(directory: &Path, error: &io::Error) -> ToolError {
    ToolError::from_io("read the journal in", &directory.into(), error)
}
