//! One file of the journal.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const PREFIX: &str = "events.";

/// Bytes that are looked through at a time for the end of a segment.
const STEP: usize = 4 << 10;

/// A segment, open.
#[derive(Debug)]
pub(super) struct Segment {
    /// The offset of its first byte.
    pub(super) base: u64,
    pub(super) file: File,
}

/// What a segment's file is like.
#[derive(Clone, Copy, Debug)]
pub(super) struct State {
    /// Bytes in it, those behind its end included.
    pub(super) size: u64,
    /// It has no name any more.
    pub(super) removed: bool,
}

impl Segment {
    /// Opens a segment for reading; `None` if it is not there.
    pub(super) fn open(directory: &Path, base: u64) -> io::Result<Option<Self>> {
        Self::open_with(File::options().read(true), directory, base)
    }

    /// Opens a segment for appending; `None` if it is not there.
    pub(super) fn open_to_append(directory: &Path, base: u64) -> io::Result<Option<Self>> {
        Self::open_with(File::options().read(true).append(true), directory, base)
    }

    /// Makes a segment. One that is there is an error.
    pub(super) fn create(directory: &Path, base: u64) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).append(true).create_new(true).mode(0o600);
        let file = options.open(path(directory, base))?;
        Ok(Self { base, file })
    }

    fn open_with(
        options: &mut std::fs::OpenOptions,
        directory: &Path,
        base: u64,
    ) -> io::Result<Option<Self>> {
        match options.custom_flags(libc::O_NOFOLLOW).open(path(directory, base)) {
            Ok(file) => Ok(Some(Self { base, file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn state(&self) -> io::Result<State> {
        let found = self.file.metadata()?;
        Ok(State { size: found.len(), removed: found.nlink() == 0 })
    }

    /// Where the segment ends, from its first byte, if it is full: behind the first line end that
    /// reaches the limit.
    pub(super) fn end(&self, limit: u64) -> io::Result<Option<u64>> {
        let mut at = limit - 1;
        let mut buffer = [0; STEP];
        loop {
            let count = self.file.read_at(&mut buffer, at)?;
            if count == 0 {
                return Ok(None);
            }
            if let Some(found) = memchr::memchr(b'\n', &buffer[..count]) {
                return Ok(Some(at + found as u64 + 1));
            }
            at += count as u64;
        }
    }
}

pub(super) fn path(directory: &Path, base: u64) -> PathBuf {
    directory.join(format!("{PREFIX}{base:016x}"))
}

/// The offsets at which the kept segments begin, in order; none if there is no journal.
pub(super) fn list(directory: &Path) -> io::Result<Vec<u64>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut bases: Vec<u64> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let digits = name.to_str()?.strip_prefix(PREFIX)?;
            let plain = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            (plain && digits.len() == 16).then(|| u64::from_str_radix(digits, 16).ok())?
        })
        .collect();
    bases.sort_unstable();
    Ok(bases)
}
