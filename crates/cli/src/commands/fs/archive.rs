//! Local trees as tar archives, both ways, in threads of their own: the `tar` crate blocks.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use stigmer_core::{ByteStream, ErrorCode, ToolError};
use tar::{Archive, Builder, EntryType, Header, HeaderMode};
use tokio::sync::mpsc;

use crate::context::io as failed;

/// Bytes handed over at once: what goes into one message.
pub(super) const PIECE: usize = 256 << 10;

/// Pieces that may wait on their way: a mebibyte between a fast side and a slow one.
const WAITING: usize = 4;

/// What an archive is made of (`tar(5)`).
const BLOCK: usize = 512;

/// An archive of what a directory holds, its entries named relative to it. Sockets, FIFOs and
/// devices are left out.
pub(crate) fn build(directory: PathBuf) -> ByteStream {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        let mut builder = Builder::new(Sending { sender: sender.clone(), piece: Vec::new() });
        builder.follow_symlinks(false);
        let built = append(&mut builder, &directory, Path::new(""))
            .and_then(|()| builder.into_inner())
            .and_then(|mut sending| sending.flush());
        if let Err(error) = built {
            let error = failed("read", &directory.to_string_lossy(), &error);
            // Nobody is told if nobody listens any more.
            let _ = sender.blocking_send(Err(error));
        }
    });
    Box::pin(stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    }))
}

fn append(builder: &mut Builder<Sending>, directory: &Path, name: &Path) -> io::Result<()> {
    let entries: io::Result<Vec<fs::DirEntry>> = fs::read_dir(directory)?.collect();
    let mut entries = entries?;
    // The order of a directory is chance; archives of the same tree shall be the same.
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            builder.append_dir(&name, &path)?;
            append(builder, &path, &name)?;
        } else if kind.is_symlink() {
            builder.append_path_with_name(&path, &name)?;
        } else if kind.is_file() {
            append_file(builder, &path, &name)?;
        }
    }
    Ok(())
}

/// Adds a file as large as it is now: one that grows meanwhile must not run over into the next
/// entry, and one that shrinks is an error.
fn append_file(builder: &mut Builder<Sending>, path: &Path, name: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let mut header = Header::new_gnu();
    header.set_metadata_in_mode(&metadata, HeaderMode::Complete);
    // The content goes past the builder, which would copy it in small pieces.
    builder.append_data(&mut header, name, io::empty())?;
    let sending = builder.get_mut();
    if sending.take(&file, metadata.len())? < metadata.len() {
        return Err(io::Error::other(format!("{} shrank while it was read", path.display())));
    }
    let over = usize::try_from(metadata.len() % BLOCK as u64).unwrap_or_default();
    if over > 0 {
        sending.write_all(&[0; BLOCK][over..])?;
    }
    Ok(())
}

/// Gathers what is written into pieces and sends them.
struct Sending {
    sender: mpsc::Sender<Result<Bytes, ToolError>>,
    piece: Vec<u8>,
}

impl Sending {
    /// Sends a file, at most so many bytes of it; returns how many it had.
    fn take(&mut self, mut file: &File, most: u64) -> io::Result<u64> {
        let mut left = most;
        while left > 0 {
            let begin = self.piece.len();
            let room = u64::try_from(PIECE - begin).unwrap_or(u64::MAX).min(left);
            self.piece.resize(begin + usize::try_from(room).unwrap_or(PIECE), 0);
            let read = file.read(&mut self.piece[begin..]);
            let count = read.as_ref().copied().unwrap_or_default();
            self.piece.truncate(begin + count);
            match read {
                Ok(0) => break,
                Ok(count) => left -= count as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if self.piece.len() == PIECE {
                self.flush()?;
            }
        }
        Ok(most - left)
    }
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&bytes[..length]);
        if self.piece.len() == PIECE {
            self.flush()?;
        }
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Unpacks an archive beneath a directory, which is made if missing. The archive may come from a
/// hostile place: what points outside, and what is no file, directory or link, is refused.
///
/// Returns the number of files and of their bytes.
pub(super) async fn extract(
    mut content: ByteStream,
    directory: &Path,
) -> Result<(u64, u64), ToolError> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let target = directory.to_owned();
    let unpacking = tokio::task::spawn_blocking(move || {
        unpack(Receiving { receiver, piece: Bytes::new() }, &target)
    });
    let mut broken = None;
    while let Some(piece) = content.next().await {
        let piece = piece.unwrap_or_else(|error| {
            broken = Some(error);
            Bytes::new()
        });
        if broken.is_some() || sender.send(piece).await.is_err() {
            break;
        }
    }
    drop(sender);
    let unpacked = unpacking.await;
    if let Some(error) = broken {
        return Err(error);
    }
    unpacked.unwrap_or_else(|error| {
        Err(ToolError::new(ErrorCode::Io, format!("unpacking broke off: {error}")))
    })
}

fn unpack(content: Receiving, directory: &Path) -> Result<(u64, u64), ToolError> {
    let failed = |error: &io::Error| failed("unpack to", &directory.to_string_lossy(), error);
    fs::create_dir_all(directory).map_err(|error| failed(&error))?;
    let directory = directory.canonicalize().map_err(|error| failed(&error))?;
    let mut archive = Archive::new(content);
    let (mut files, mut bytes) = (0, 0);
    // Directories last, the deepest first: one that is read-only must receive its files before.
    let mut directories = Vec::new();
    for entry in archive.entries().map_err(|error| failed(&error))? {
        let mut entry = entry.map_err(|error| failed(&error))?;
        match entry.header().entry_type() {
            EntryType::Directory => {
                directories.push(entry);
                continue;
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                files += 1;
                bytes += entry.size();
            }
            EntryType::Link | EntryType::Symlink => {}
            EntryType::XGlobalHeader => continue,
            other => return Err(refused(&entry.path_bytes(), &format!("is a {other:?}"))),
        }
        if !entry.unpack_in(&directory).map_err(|error| failed(&error))? {
            return Err(refused(&entry.path_bytes(), "leads outside"));
        }
    }
    directories.sort_by(|left, right| right.path_bytes().cmp(&left.path_bytes()));
    for mut entry in directories {
        if !entry.unpack_in(&directory).map_err(|error| failed(&error))? {
            return Err(refused(&entry.path_bytes(), "leads outside"));
        }
    }
    Ok((files, bytes))
}

fn refused(path: &[u8], why: &str) -> ToolError {
    let path = String::from_utf8_lossy(path);
    ToolError::new(ErrorCode::OutsideWorkspace, format!("the archive's entry {path} {why}"))
        .with_hint("what came before it was unpacked; `fs download REMOTE -` shows the archive")
}

/// What was sent, as a reader.
struct Receiving {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Receiving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn pieces(bytes: Vec<u8>) -> ByteStream {
        let pieces: Vec<_> =
            bytes.chunks(1000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        Box::pin(stream::iter(pieces))
    }

    #[test]
    fn a_tree_survives_the_journey() {
        let scratch = tempfile::tempdir().unwrap();
        let (from, to) = (scratch.path().join("from"), scratch.path().join("to"));
        fs::create_dir_all(from.join("a/empty")).unwrap();
        fs::write(from.join("a/large"), vec![7; 3 * PIECE + 1]).unwrap();
        fs::write(from.join("script"), "#!").unwrap();
        fs::set_permissions(from.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(from.join("a/late"), "x").unwrap();
        fs::set_permissions(from.join("a"), fs::Permissions::from_mode(0o555)).unwrap();
        std::os::unix::fs::symlink("script", from.join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let long = "n".repeat(200);
        fs::write(from.join(&long), "long").unwrap();

        let (files, bytes) = run(extract(build(from.clone()), &to)).unwrap();
        assert_eq!((files, bytes), (4, 3 * PIECE as u64 + 1 + 2 + 1 + 4));
        assert_eq!(fs::read(to.join("a/large")).unwrap().len(), 3 * PIECE + 1);
        assert_eq!(fs::read_to_string(to.join(&long)).unwrap(), "long");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("script"));
        let mode = |name: &str| fs::metadata(to.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode("script"), mode("a")), (0o755, 0o555));
        assert!(to.join("a/empty").is_dir() && !to.join("socket").exists());
        // So that the scratch directory can be removed by a user who is not root.
        for tree in [&from, &to] {
            fs::set_permissions(tree.join("a"), fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_in_the_stream() {
        let mut stream = build(PathBuf::from("/nonexistent"));
        let error = run(async { stream.next().await }).unwrap().unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound);
    }

    fn hostile(entries: &[(EntryType, &str, &str)]) -> ByteStream {
        let mut builder = Builder::new(Vec::new());
        for (kind, name, link) in entries {
            let mut header = Header::new_gnu();
            // Past the checks of the tar crate, as an attacker would.
            header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            header.set_size(0);
            if !link.is_empty() {
                header.set_link_name_literal(link).unwrap();
            }
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        }
        pieces(builder.into_inner().unwrap())
    }

    #[test]
    fn a_hostile_archive_reaches_nothing_outside() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let link = outside.to_str().unwrap();
        let cases: &[&[(EntryType, &str, &str)]] = &[
            &[(EntryType::Regular, "../evil", "")],
            &[(EntryType::Regular, "a/../../evil", "")],
            &[(EntryType::Directory, "../evil", "")],
            &[(EntryType::Symlink, "l", link), (EntryType::Regular, "l/evil", "")],
            &[(EntryType::Symlink, "l", link), (EntryType::Directory, "l/evil", "")],
            &[(EntryType::Fifo, "f", "")],
            &[(EntryType::Char, "c", "")],
        ];
        for case in cases {
            let to = scratch.path().join("to");
            assert!(run(extract(hostile(case), &to)).is_err(), "{case:?}");
            assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "{case:?}");
            assert!(!scratch.path().join("evil").exists(), "{case:?}");
            fs::remove_dir_all(&to).unwrap();
        }
    }

    #[test]
    fn a_stream_that_breaks_off_is_its_own_error() {
        let scratch = tempfile::tempdir().unwrap();
        let broken = ToolError::new(ErrorCode::Busy, "broken");
        let content: ByteStream = Box::pin(stream::iter([Err(broken.clone())]));
        assert_eq!(run(extract(content, &scratch.path().join("to"))).unwrap_err(), broken);
        // Cut in the middle of a file.
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(5000);
        builder.append_data(&mut header, "f", io::repeat(1).take(5000)).unwrap();
        let mut bytes = builder.into_inner().unwrap();
        bytes.truncate(2000);
        assert!(run(extract(pieces(bytes), &scratch.path().join("to"))).is_err());
    }
}
