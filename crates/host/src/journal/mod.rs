//! What happened, on disk: an append-only log of [`Event`]s at `<state>/journal/`.
//!
//! ```text
//! <state>/journal/
//!     events.<offset>   segments, named after the offset of their first byte (hexadecimal)
//! ```
//!
//! A record is one line of JSON, appended by a single `write(2)` with `O_APPEND` that begins with a
//! line end of its own: one that was cut short (a full disk) spoils no other. Readers pass over
//! whatever does not parse.
//!
//! Any number of processes write at once, and none ever waits for another: nothing is locked. A
//! segment ends where the first record ends that reaches [`SEGMENT_LIMIT`]. That is a fact of the
//! bytes, the same for everybody, so whoever finds a segment full knows the name of the next one.
//! The kernel tells a writer where its record went; one that came to lie behind the segment's end
//! does not count and is appended to the next. The newest [`KEPT_SEGMENTS`] are kept.
//!
//! Offsets count the bytes from the first segment on; the offset after a record is its event's
//! `next`, and a reader that begins there misses nothing and sees nothing twice. On file systems
//! where appending is not atomic (NFS) records of two machines may spoil each other.

mod reader;
mod segment;
mod writer;

pub use reader::{JournalReader, follow};
pub use writer::Journal;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use stigmer_core::FilePath;
use stigmer_core::event::{Event, EventKind};

/// The size at which a segment is full: some fifty thousand events. Every program that shares a
/// state directory must have the same.
pub const SEGMENT_LIMIT: u64 = 16 << 20;

/// How many segments are kept: what a reader can come back to is at least three of them.
pub const KEPT_SEGMENTS: usize = 4;

/// The longest record: two paths, each as long as a path may be and every byte of it escaped, and
/// the rest.
const MAX_RECORD: usize = 64 << 10;

/// The journal's directory beneath a state directory.
pub fn directory(state: &Path) -> PathBuf {
    state.join("journal")
}

/// An event of this moment, which belongs to no request.
pub fn event(workspace: FilePath, kind: EventKind) -> Event {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let at_ms = u64::try_from(now).unwrap_or(u64::MAX);
    Event { next: 0, at_ms, workspace, request_id: None, kind }
}

#[cfg(test)]
mod tests;
