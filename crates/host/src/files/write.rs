//! Replacing and creating files.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{Access, AtFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use stigmer_core::file::{WriteFile, WriteSummary};
use stigmer_core::limits::MAX_WRITE_BYTES;
use stigmer_core::{ErrorCode, Result, ToolError};

use super::{Staged, WriteLocks, diff, hexadecimal, io_failed, sha256};
use crate::Root;
use crate::root::{Spot, size_of};

/// How often a change begins anew when somebody else changes the place at the same time.
const TRIES: usize = 8;

/// Replaces or creates a file.
pub(crate) fn write_file(
    root: &Root,
    locks: &WriteLocks,
    request: WriteFile,
) -> Result<WriteSummary> {
    let relative = root.relative(&request.path)?;
    let size = request.content.len() as u64;
    if size > MAX_WRITE_BYTES {
        return Err(too_large(&relative, size));
    }
    again(|| write_once(root, locks, &request, &relative))
}

fn write_once(
    root: &Root,
    locks: &WriteLocks,
    request: &WriteFile,
    relative: &Path,
) -> Result<WriteSummary> {
    let content = request.content.as_bytes();
    let expected = request.expected_sha256.as_deref();
    // Who expects content expects the file to be there: no parents are made for it.
    let spot = if request.create_only {
        root.spot(relative, expected.is_none())
    } else {
        root.final_spot(relative, expected.is_none())
    };
    let spot = match (spot, expected) {
        (Ok(Some(spot)), _) => spot,
        (Ok(None), _) => return Err(ToolError::is_directory(&relative.into())),
        (Err(error), Some(expected)) if error.code == ErrorCode::NotFound => {
            return Err(ToolError::stale(&relative.into(), expected, None));
        }
        (Err(error), _) => return Err(error),
    };
    let lock = locks.lock(relative, &spot)?;
    let place = Place { root, relative, spot: &spot };
    let old = if request.create_only {
        match rustix::fs::statat(&spot.directory, &spot.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => return Err(ToolError::exists(&relative.into())),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(root.io_error("look at", relative, errno)),
        }
    } else {
        place.read(expected.is_some())?
    };
    place.check_expected(expected, old.as_ref())?;
    place.put(content, old.as_ref(), request.create_only, expected.is_some())?;
    // The comparison needs no lock and may take longer than the write.
    drop(lock);
    let (lines_added, lines_removed) = match &old {
        Some(Old { content: Some(old), .. }) => diff::counts(old, content),
        Some(Old { lines, .. }) => (diff::count_lines(content), *lines),
        None => (diff::count_lines(content), 0),
    };
    let is_new_file = old.is_none();
    Ok(WriteSummary { is_new_file, lines_added, lines_removed, sha256: sha256(content) })
}

/// Repeats what failed with `busy` because somebody else changed the place meanwhile.
pub(super) fn again<T>(mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..TRIES {
        match work() {
            Err(error) if error.details.contains_key(CHANGED) => {}
            done => return done,
        }
    }
    work().map_err(|mut error| {
        error.details.remove(CHANGED);
        error
    })
}

/// Marks an error that [`again`] may cure; never seen by callers.
const CHANGED: &str = "changed_meanwhile";

/// Content that is too large to be compared.
pub(super) fn too_large(relative: &Path, size: u64) -> ToolError {
    ToolError::too_large(&relative.into(), size, MAX_WRITE_BYTES).with_hint("upload it as a stream")
}

/// What a file was before it is changed.
pub(super) struct Old {
    /// The content; `None` if it is larger than [`MAX_WRITE_BYTES`].
    pub(super) content: Option<Vec<u8>>,
    /// SHA-256, if it was asked for.
    sha256: Option<String>,
    lines: u64,
    stat: Stat,
    file: File,
}

/// A file's place, with its lock held.
pub(super) struct Place<'a> {
    pub(super) root: &'a Root,
    pub(super) relative: &'a Path,
    pub(super) spot: &'a Spot,
}

impl Place<'_> {
    /// Reads the file that is there, if any.
    pub(super) fn read(&self, hash: bool) -> Result<Option<Old>> {
        let opened = self.root.open_at(self.relative, self.spot);
        let Some((file, stat)) = opened.map_err(|error| match error.code {
            ErrorCode::Busy => error.with_detail(CHANGED, true),
            _ => error,
        })?
        else {
            return Ok(None);
        };
        check_writable(self.root, self.relative, self.spot)?;
        let mut old = Old { content: None, sha256: None, lines: 0, stat, file };
        let size = size_of(&stat);
        if size > MAX_WRITE_BYTES {
            old.stream(hash).map_err(|error| self.failed("read", &error))?;
            return Ok(Some(old));
        }
        let mut content = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
        (&old.file)
            .take(MAX_WRITE_BYTES + 1)
            .read_to_end(&mut content)
            .map_err(|error| self.failed("read", &error))?;
        if content.len() as u64 > MAX_WRITE_BYTES {
            return Err(self.changed("grew while it was read"));
        }
        old.sha256 = hash.then(|| sha256(&content));
        old.content = Some(content);
        Ok(Some(old))
    }

    /// Fails unless the file is the one the caller read.
    pub(super) fn check_expected(&self, expected: Option<&str>, old: Option<&Old>) -> Result<()> {
        let Some(expected) = expected else { return Ok(()) };
        let actual = old.and_then(|old| old.sha256.as_deref());
        if actual.is_some_and(|actual| actual.eq_ignore_ascii_case(expected)) {
            return Ok(());
        }
        Err(ToolError::stale(&self.relative.into(), expected, actual))
    }

    /// Puts new content in the file's place; with `unchanged` only if nobody has changed it since
    /// `old` was read.
    pub(super) fn put(
        &self,
        content: &[u8],
        old: Option<&Old>,
        create_only: bool,
        unchanged: bool,
    ) -> Result<()> {
        let fail = |errno: Errno| self.errno("write", errno);
        // Never wider than the old file, not even before the exact mode is set; what the group's bits
        // mean depends on its access list.
        let mode = old.map_or(0o666, |old| old.stat.st_mode & 0o700);
        let mut staged = Staged::new(self.spot, mode).map_err(fail)?;
        staged.file().write_all(content).map_err(|error| self.failed("write", &error))?;
        match old {
            None => match staged.create() {
                Err(Errno::EXIST) if create_only => Err(ToolError::exists(&self.relative.into())),
                Err(Errno::EXIST) => Err(self.changed("appeared while it was written")),
                created => created.map_err(fail),
            },
            Some(old) => {
                staged.take_over(&old.stat, Some(&old.file)).map_err(fail)?;
                let now = self.look()?;
                if !now.is_some_and(|now| {
                    if unchanged {
                        same_content(&now, &old.stat)
                    } else {
                        same_file(&now, &old.stat)
                    }
                }) {
                    return Err(self.changed("was changed while it was written"));
                }
                staged.replace().map_err(fail)
            }
        }
    }

    fn look(&self) -> Result<Option<Stat>> {
        let Spot { directory, name } = self.spot;
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.errno("look at", errno)),
        }
    }

    fn changed(&self, how: &str) -> ToolError {
        let path = self.relative;
        ToolError::new(ErrorCode::Busy, format!("{}: {how}", path.display()))
            .with_detail("path", stigmer_core::ByteString::from(path))
            .with_detail(CHANGED, true)
    }

    fn errno(&self, operation: &str, errno: Errno) -> ToolError {
        self.root.io_error(operation, self.relative, errno)
    }

    fn failed(&self, operation: &str, error: &std::io::Error) -> ToolError {
        io_failed(self.root, operation, self.relative, error)
    }
}

/// Fails if the regular file at a spot may not be written. Renaming needs no permission to write
/// the file that goes; a file without it was protected on purpose.
pub(crate) fn check_writable(root: &Root, relative: &Path, spot: &Spot) -> Result<()> {
    let Spot { directory, name } = spot;
    match rustix::fs::accessat(directory, name, Access::WRITE_OK, AtFlags::EACCESS) {
        Err(errno @ (Errno::ACCESS | Errno::ROFS | Errno::PERM)) => Err(root
            .io_error("write", relative, errno)
            .with_hint("the file is write-protected; change its mode first (`chmod u+w`)")),
        _ => Ok(()),
    }
}

impl Old {
    /// Size in bytes.
    pub(super) fn size(&self) -> u64 {
        size_of(&self.stat)
    }

    /// Counts and hashes a file that is too large to be held.
    fn stream(&mut self, hash: bool) -> std::io::Result<()> {
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; 128 << 10];
        let mut last = b'\n';
        loop {
            let count = (&self.file).read(&mut buffer)?;
            let chunk = &buffer[..count];
            let Some(end) = chunk.last() else { break };
            last = *end;
            self.lines += memchr::memchr_iter(b'\n', chunk).count() as u64;
            if hash {
                hasher.update(chunk);
            }
        }
        self.lines += u64::from(last != b'\n');
        self.sha256 = hash.then(|| hexadecimal(hasher));
        Ok(())
    }
}

fn same_file(now: &Stat, then: &Stat) -> bool {
    (now.st_dev, now.st_ino, now.st_mode, now.st_uid, now.st_gid)
        == (then.st_dev, then.st_ino, then.st_mode, then.st_uid, then.st_gid)
}

/// Whether nobody has touched the file, as far as the kernel's clock can tell. The time of the last
/// status change cannot be set back by programs.
fn same_content(now: &Stat, then: &Stat) -> bool {
    let stamp = |stat: &Stat| {
        (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec)
    };
    same_file(now, then) && stamp(now) == stamp(then)
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
