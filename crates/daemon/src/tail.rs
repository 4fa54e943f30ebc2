//! Reading the daemon's log.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify;
use stigmer_core::{Result, ToolError};

use crate::logging::old;
use crate::place::DaemonPlace;
use crate::record::shown;

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

/// A daemon's log, to be read while it is written.
#[derive(Debug)]
pub struct LogReader {
    path: PathBuf,
    file: Option<File>,
    changes: Option<rustix::fd::OwnedFd>,
}

impl LogReader {
    /// The log of this place. With `follow` it can be waited for.
    ///
    /// # Errors
    /// What watching it says.
    pub fn open(place: &DaemonPlace, follow: bool) -> Result<Self> {
        let path = place.log();
        let watch = || -> io::Result<rustix::fd::OwnedFd> {
            let changes = inotify::init(inotify::CreateFlags::CLOEXEC)?;
            let what = inotify::WatchFlags::MODIFY
                | inotify::WatchFlags::CREATE
                | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&changes, place.directory(), what)?;
            Ok(changes)
        };
        let failed = |error: io::Error| failed("watch", &path, &error);
        let changes = follow.then(watch).transpose().map_err(failed)?;
        Ok(Self { path, file: None, changes })
    }

    /// The last lines that there are, the old log's included.
    ///
    /// # Errors
    /// What reading says.
    pub fn last(&mut self, lines: usize) -> Result<Vec<u8>> {
        let mut text = match std::fs::read(old(&self.path)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed("read", &self.path, &error)),
        };
        self.reopen()?;
        self.copy(&mut text)?;
        let start = last_lines(&text, lines);
        text.drain(..start);
        Ok(text)
    }

    /// Writes out what has been logged since the last time, and waits for more.
    ///
    /// # Errors
    /// What reading says; the inner error is `to`'s.
    pub fn follow(&mut self, to: &mut impl Write) -> Result<io::Result<()>> {
        let Some(changes) = self.changes.take() else { return Ok(Ok(())) };
        // Room for the longest event (`inotify(7)`).
        let mut events = [0; 4096];
        loop {
            let mut text = Vec::new();
            self.copy(&mut text)?;
            if self.has_given_way() {
                self.copy(&mut text)?;
                self.reopen()?;
                self.copy(&mut text)?;
            }
            if let Err(error) = to.write_all(&text).and_then(|()| to.flush()) {
                return Ok(Err(error));
            }
            match rustix::io::read(&changes, &mut events) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(failed("watch", &self.path, &error.into())),
            }
        }
    }

    /// Whether the name belongs to another file now.
    fn has_given_way(&self) -> bool {
        let here =
            self.file.as_ref().and_then(|file| file.metadata().ok()).map(|found| found.ino());
        let there = std::fs::metadata(&self.path).ok().map(|found| found.ino());
        there.is_some() && here != there
    }

    fn reopen(&mut self) -> Result<()> {
        self.file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &self.path, &error)),
        };
        Ok(())
    }

    fn copy(&mut self, to: &mut Vec<u8>) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let mut piece = vec![0; PIECE];
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(count) => to.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", &self.path, &error)),
            }
        }
    }
}

/// Where the last lines begin.
fn last_lines(text: &[u8], lines: usize) -> usize {
    if lines == 0 {
        return text.len();
    }
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let ends = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    ends.map(|(index, _)| index + 1).nth(lines - 1).unwrap_or(0)
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> ToolError {
    let mut error = ToolError::from_io(operation, &shown(path), error);
    error.hint = None;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_counted_from_the_end() {
        for (text, lines, start) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\n\n\n", 2, "\n\n"),
            ("", 3, ""),
            ("a\n", 0, ""),
            ("", 0, ""),
        ] {
            assert_eq!(&text[last_lines(text.as_bytes(), lines)..], start, "{text:?} {lines}");
        }
    }
}
