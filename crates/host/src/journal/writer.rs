//! Appending.

use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, getrlimit};
use stigmer_core::event::Event;

use super::segment::{self, Segment};
use super::{KEPT_SEGMENTS, MAX_RECORD, SEGMENT_LIMIT};

/// How often a full segment is left for the next one before an event is given up: once is usual,
/// more happens only while others write whole segments at the same moment.
const MAX_MOVES: usize = 16;

/// Appends to the journal of a state directory. Any number of these may exist, in any process.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    limit: u64,
    /// The segment that was appended to last.
    current: Mutex<Option<Segment>>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Appended {
    /// It is in the journal.
    Yes,
    /// The segment is full: it does not count.
    Full,
    /// The segment was removed under our hands.
    Gone,
}

impl Journal {
    /// The journal in a directory, which is made when something is appended.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self::with_limit(directory, SEGMENT_LIMIT)
    }

    pub(super) fn with_limit(directory: impl Into<PathBuf>, limit: u64) -> Self {
        Self { directory: directory.into(), limit, current: Mutex::default() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends an event. Never waits for another writer, only for the disk.
    ///
    /// # Errors
    /// What the file system says. The event is then not in the journal, and all others are whole.
    pub fn append(&self, event: &Event) -> io::Result<()> {
        let record = encode(event)?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..MAX_MOVES {
            let mut segment = match current.take() {
                Some(segment) => segment,
                None => self.newest()?,
            };
            match append(&mut segment, &record, self.limit)? {
                Appended::Yes => {
                    *current = Some(segment);
                    return Ok(());
                }
                Appended::Full => *current = self.after(&segment)?,
                Appended::Gone => {}
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "others fill the journal all the time"))
    }

    /// The segment to append to; makes the first one.
    fn newest(&self) -> io::Result<Segment> {
        for _ in 0..MAX_MOVES {
            let base = segment::list(&self.directory)?.last().copied();
            let found = match base {
                Some(base) => Segment::open_to_append(&self.directory, base)?,
                None => {
                    crate::state::make_directory(&self.directory).map_err(io::Error::other)?;
                    created(Segment::create(&self.directory, 0))?
                }
            };
            // Somebody was quicker to make or to remove it.
            if let Some(segment) = found {
                return Ok(segment);
            }
        }
        Err(io::Error::new(io::ErrorKind::ResourceBusy, "the journal changes all the time"))
    }

    /// Makes the segment after a full one, unless there is one; whoever does so removes the oldest.
    /// `None`: look again.
    fn after(&self, full: &Segment) -> io::Result<Option<Segment>> {
        let is_newest =
            |base| Ok::<_, io::Error>(segment::list(&self.directory)?.last() == Some(&base));
        if !is_newest(full.base)? {
            return Ok(None);
        }
        let end = match full.end(self.limit)? {
            Some(end) => end,
            // The record that reached the limit was cut short: this ends its line.
            None => {
                (&full.file).write_all(b"\n")?;
                full.end(self.limit)?.ok_or(io::ErrorKind::UnexpectedEof)?
            }
        };
        let Some(next) = created(Segment::create(&self.directory, full.base + end))? else {
            return Ok(None);
        };
        // Whoever sleeps between looking and making finds the journal gone on without it, and its
        // new segment behind the others, where nobody writes.
        if !is_newest(next.base)? {
            if next.state()?.size == 0 {
                let _ = std::fs::remove_file(segment::path(&self.directory, next.base));
            }
            return Ok(None);
        }
        let kept = segment::list(&self.directory)?;
        for base in kept.iter().rev().skip(KEPT_SEGMENTS) {
            let _ = std::fs::remove_file(segment::path(&self.directory, *base));
        }
        Ok(Some(next))
    }
}

/// Appends a record to a segment.
fn append(segment: &mut Segment, record: &[u8], limit: u64) -> io::Result<Appended> {
    let state = segment.state()?;
    if state.size >= limit {
        return Ok(Appended::Full);
    }
    if state.removed {
        return Ok(Appended::Gone);
    }
    // Past this limit of the caller's the kernel would send a signal that ends the program.
    let most = getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX);
    if state.size + (record.len() + MAX_RECORD) as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let written = segment.file.write(record)?;
    if written < record.len() {
        return Err(io::ErrorKind::StorageFull.into());
    }
    // After a write with O_APPEND the position is where that write ended, whoever else writes.
    let start = segment.file.stream_position()? - record.len() as u64;
    // A record whose first byte, a line end, is the one that ends the segment lies behind it.
    Ok(if start + 1 >= limit { Appended::Full } else { Appended::Yes })
}

fn created(result: io::Result<Segment>) -> io::Result<Option<Segment>> {
    match result {
        Ok(segment) => Ok(Some(segment)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error),
    }
}

fn encode(event: &Event) -> io::Result<Vec<u8>> {
    let mut record = vec![b'\n'];
    serde_json::to_writer(&mut record, event)?;
    record.push(b'\n');
    if record.len() > MAX_RECORD {
        let message =
            format!("an event of {} bytes is over the limit of {MAX_RECORD}", record.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    Ok(record)
}
