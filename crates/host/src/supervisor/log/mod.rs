//! A command's output on disk.
//!
//! One offset counts the bytes of both streams in the order in which they were read. The log is a
//! row of segment files in the process's directory, each named after the offset of its first byte
//! (`output.00000000000000ff`); a segment is a row of [`frame`]s. The first segment is kept for
//! ever; when the log would outgrow its cap the oldest of the others is removed, so that the
//! beginning and the end of the output survive and what lies between is a gap that readers report.
//!
//! There is one writer, the supervisor, and any number of readers in any process. Nothing is locked:
//! a segment only grows, the next one appears only when the last one is final, and a removed one
//! stays readable for whoever has it open.

pub mod frame;
mod reader;
mod writer;

pub use reader::LogReader;
pub use writer::LogWriter;

use std::path::PathBuf;

const PREFIX: &str = "output.";

/// A segment is an eighth of the cap, so that the kept beginning is an eighth and the kept end is
/// more than half; and at most this large, so that finding an offset in one stays quick.
const MAX_SEGMENT: u64 = 16 << 20;

/// The file name of the segment that begins at `offset`.
fn segment_name(offset: u64) -> PathBuf {
    PathBuf::from(format!("{PREFIX}{offset:016x}"))
}

/// The offset in a segment's file name.
fn segment_offset(name: &[u8]) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX.as_bytes())?;
    if digits.len() != 16 {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
