//! Giving a tar archive or one file out of the workspace.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Dir, Stat};
use rustix::io::Errno;
use stigmer_core::file::FileKind;
use stigmer_core::transfer::{Download, TransferFormat};
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError};
use tar::{Builder, EntryType, Header};
use tokio::sync::mpsc;

use crate::Root;
use crate::files::io_failed;
use crate::root::{Links, Spot, kind_of, open_child_directory, size_of};

/// Bytes of one piece of the stream: enough that system calls and messages cost little.
const CHUNK: usize = 256 << 10;
/// Pieces that may wait for the reader.
const WAITING: usize = 4;

/// What an archive is made of (`tar(5)`).
const BLOCK: usize = 512;

type Sender = mpsc::Sender<Result<Bytes>>;

enum Source {
    File(File, Stat),
    Directory(OwnedFd),
}

/// Gives a file or a tree out. What can be known at once fails here, the rest in the stream; the
/// work stops when the stream is dropped.
pub(crate) async fn download(root: Arc<Root>, request: Download) -> Result<ByteStream> {
    let relative = root.relative(&request.path)?;
    let format = request.format;
    let (sender, receiver) = mpsc::channel(WAITING);
    let (opened, opening) = tokio::sync::oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let source = match open(&root, &relative, format) {
            Ok(source) => source,
            Err(error) => {
                // Nobody waits any more: then nobody needs to know.
                let _ = opened.send(Err(error));
                return;
            }
        };
        if opened.send(Ok(())).is_err() {
            return;
        }
        if let Err(error) = send(&root, &relative, source, format, &sender) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    opening.await.unwrap_or_else(|_| {
        Err(ToolError::new(ErrorCode::Io, "the download broke off before it began"))
    })?;
    Ok(Box::pin(futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    })))
}

fn open(root: &Root, relative: &Path, format: TransferFormat) -> Result<Source> {
    let object = root.resolve(relative, Links::Follow)?;
    let is_directory = kind_of(&root.fstat(relative, &object)?) == FileKind::Directory;
    if is_directory && format == TransferFormat::Tar {
        let directory = open_child_directory(object.as_fd(), OsStr::new("."))
            .map_err(|errno| root.io_error("open", relative, errno))?;
        return Ok(Source::Directory(directory));
    }
    let file = root.open_file(relative)?;
    let stat = root.fstat(relative, &file)?;
    Ok(Source::File(file, stat))
}

fn send(
    root: &Root,
    relative: &Path,
    source: Source,
    format: TransferFormat,
    sender: &Sender,
) -> Result<()> {
    let mut outgoing = Outgoing { sender, buffer: Vec::new() };
    let done = match (format, source) {
        (TransferFormat::File, Source::File(file, _)) => {
            outgoing.take(&file, u64::MAX).map(drop).map_err(Fault::from)
        }
        (_, Source::File(file, stat)) => {
            let name = Path::new(relative.file_name().unwrap_or(OsStr::new("file")));
            let base = relative.parent().unwrap_or(relative);
            let mut packing = Packing { root, base, builder: Builder::new(&mut outgoing) };
            packing.file(name, file, &stat).and_then(|()| Ok(packing.builder.finish()?))
        }
        (_, Source::Directory(directory)) => {
            let mut packing =
                Packing { root, base: relative, builder: Builder::new(&mut outgoing) };
            packing.tree(directory).and_then(|()| Ok(packing.builder.finish()?))
        }
    };
    match done.and_then(|()| Ok(outgoing.flush()?)) {
        Ok(()) => Ok(()),
        Err(Fault::Tool(error)) => Err(error),
        Err(Fault::Io(error)) => Err(io_failed(root, "read", relative, &error)),
    }
}

/// Why packing stopped.
enum Fault {
    Tool(ToolError),
    Io(std::io::Error),
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}
impl From<ToolError> for Fault {
    fn from(error: ToolError) -> Self {
        Self::Tool(error)
    }
}

/// A directory that is being packed: its descriptor, its path in the archive, and the names in it
/// that are still to go, the next one last.
struct Level {
    directory: OwnedFd,
    path: PathBuf,
    names: Vec<OsString>,
}

struct Packing<'a, 's> {
    root: &'a Root,
    base: &'a Path,
    builder: Builder<&'a mut Outgoing<'s>>,
}

impl Packing<'_, '_> {
    /// Packs what is in a directory, each directory before its entries, names in order.
    fn tree(&mut self, directory: OwnedFd) -> Result<(), Fault> {
        let mut levels = vec![self.level(directory, PathBuf::new())?];
        while let Some(level) = levels.last_mut() {
            let Some(name) = level.names.pop() else {
                levels.pop();
                continue;
            };
            let path = level.path.join(&name);
            let spot = Spot { directory: level.directory.try_clone()?, name };
            if let Some(below) = self.entry(&spot, path)? {
                levels.push(below);
            }
        }
        Ok(())
    }

    fn level(&self, directory: OwnedFd, path: PathBuf) -> Result<Level, Fault> {
        let mut names = Vec::new();
        let fail = |errno| self.root.io_error("list", &self.base.join(&path), errno);
        for entry in Dir::read_from(&directory).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Level { directory, path, names })
    }

    /// Packs one name; what vanished meanwhile, and what is no file, is left out. A directory is
    /// handed back to be packed next.
    fn entry(&mut self, spot: &Spot, path: PathBuf) -> Result<Option<Level>, Fault> {
        let Spot { directory, name } = spot;
        let full = self.base.join(&path);
        let fail = |errno| Fault::from(self.root.io_error("read", &full, errno));
        let stat = match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(fail(errno)),
        };
        match kind_of(&stat) {
            FileKind::Directory => {
                let below = match open_child_directory(directory.as_fd(), name) {
                    Ok(below) => below,
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
                    Err(errno) => return Err(fail(errno)),
                };
                let mut header = header_of(EntryType::Directory, 0, &stat);
                self.builder.append_data(&mut header, path.join(""), std::io::empty())?;
                return Ok(Some(self.level(below, path)?));
            }
            FileKind::File => match self.root.open_at(&full, spot) {
                Ok(Some((file, stat))) => self.file(&path, file, &stat)?,
                Ok(None) => {}
                // No regular file any more.
                Err(error)
                    if matches!(
                        error.code,
                        ErrorCode::Busy | ErrorCode::IsDirectory | ErrorCode::NotAFile
                    ) => {}
                Err(error) => return Err(error.into()),
            },
            FileKind::Symlink => {
                let target = match rustix::fs::readlinkat(directory, name, Vec::new()) {
                    Ok(target) => target,
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                    Err(errno) => return Err(fail(errno)),
                };
                let mut header = header_of(EntryType::Symlink, 0, &stat);
                let target = Path::new(OsStr::from_bytes(target.to_bytes()));
                self.builder.append_link(&mut header, &path, target)?;
            }
            FileKind::Fifo | FileKind::Socket | FileKind::Device => {}
        }
        Ok(None)
    }

    fn file(&mut self, path: &Path, file: File, stat: &Stat) -> Result<(), Fault> {
        let size = size_of(stat);
        let mut header = header_of(EntryType::Regular, size, stat);
        // The content goes past the builder, which would copy it in small pieces. A file that grows
        // is cut. One that shrinks is an error: what is sent cannot be taken back, and zeros would
        // pass for its content.
        self.builder.append_data(&mut header, path, std::io::empty())?;
        let outgoing = self.builder.get_mut();
        let missing = size - outgoing.take(&file, size)?;
        if missing > 0 {
            return Err(shrank(&self.base.join(path), missing).into());
        }
        let over = usize::try_from(size % BLOCK as u64).unwrap_or_default();
        if over > 0 {
            outgoing.write_all(&[0; BLOCK][over..])?;
        }
        Ok(())
    }
}

fn shrank(path: &Path, missing: u64) -> ToolError {
    let message = format!("{}: shrank by {missing} bytes while it was read", path.display());
    ToolError::new(ErrorCode::Busy, message)
        .with_detail("path", stigmer_core::ByteString::from(path))
        .with_hint("repeat the download when nobody writes the file")
}

fn header_of(kind: EntryType, size: u64, stat: &Stat) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or_default());
    header
}

/// The stream's sending side.
struct Outgoing<'a> {
    sender: &'a Sender,
    buffer: Vec<u8>,
}

impl Outgoing<'_> {
    /// Sends a file from where it is, at most so many bytes of it; returns how many it had.
    fn take(&mut self, file: &File, most: u64) -> std::io::Result<u64> {
        let mut left = most;
        while left > 0 {
            self.make_room();
            let begin = self.buffer.len();
            // Nobody has to clear what the kernel fills.
            let count = match rustix::io::read(file, spare_capacity(&mut self.buffer)) {
                Ok(0) => break,
                Ok(count) => left.min(count as u64),
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(errno.into()),
            };
            self.buffer.truncate(begin + usize::try_from(count).unwrap_or(usize::MAX));
            left -= count;
            self.send_full()?;
        }
        Ok(most - left)
    }

    /// Exactly as much as fits, so that a piece never has to grow.
    fn make_room(&mut self) {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(CHUNK);
        }
    }

    fn send_full(&mut self) -> std::io::Result<()> {
        if self.buffer.len() >= CHUNK { self.flush() } else { Ok(()) }
    }
}

impl Write for Outgoing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.make_room();
        let count = bytes.len().min(CHUNK - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..count]);
        self.send_full()?;
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        let gone = |_| std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}

#[cfg(test)]
#[path = "download_tests.rs"]
mod tests;
