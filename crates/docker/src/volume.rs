//! Workspaces whose directory the engine does not see: a copy in a volume of the engine's.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::create::{SHARED, SIDECAR, text};
use crate::engine::Facts;
use crate::manager::DockerManager;
use crate::options::{DockerOptions, Owner};
use crate::root::Root;

/// In the shared directory of a container: the workspace has been copied in, once for all.
const FILLED: &str = "filled";

/// Bytes of an archive that are passed on at once, and how many such pieces wait.
const PIECE: usize = 256 << 10;
const WAITING: usize = 8;

/// What a container needs before it starts: the sidecar, and directories that belong to the owner.
///
/// # Errors
/// What the operating system says of the sidecar.
pub(crate) fn archive(options: &DockerOptions, facts: &Facts, root: &Path) -> Result<Vec<u8>> {
    let path = &options.sidecar;
    let failed = |error: &io::Error| ToolError::from_io("copy", &path.clone().into(), error);
    let program = std::fs::read(path).map_err(|error| failed(&error))?;
    let owner = if facts.rootless { Owner { uid: 0, gid: 0 } } else { options.owner };
    let pack = || -> io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o755);
        header.set_size(program.len() as u64);
        archive.append_data(&mut header, SIDECAR.trim_start_matches('/'), &program[..])?;
        for (path, mode) in [(Path::new(SHARED), 0o700), (root, 0o755)] {
            directory(&mut archive, path, mode, owner)?;
        }
        archive.into_inner()
    };
    pack().map_err(|error| failed(&error))
}

fn directory(
    archive: &mut tar::Builder<Vec<u8>>,
    path: &Path,
    mode: u32,
    owner: Owner,
) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_mode(mode);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_size(0);
    let path = path.strip_prefix("/").unwrap_or(path);
    archive.append_data(&mut header, path, io::empty())
}

/// An archive that says that the workspace has been copied in.
fn marker(owner: Owner) -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(owner.uid.into());
    header.set_gid(owner.gid.into());
    header.set_size(0);
    let path = format!("{}/{FILLED}", SHARED.trim_start_matches('/'));
    archive.append_data(&mut header, path, io::empty())?;
    archive.into_inner()
}

impl DockerManager {
    /// Copies the workspace into the container's volume, if that has not been done.
    pub(crate) async fn fill(&self, root: &Root, container: &str) -> Result<Vec<String>> {
        if !self.engine.has_path(container, &format!("{SHARED}/{FILLED}")).await? {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let directory = openat(root.descriptor(), ".", flags, Mode::empty());
            let unread = |error: &io::Error| {
                ToolError::from_io("copy", &ByteString::from(root.path()), error)
            };
            let (archive, packing) = packed(directory.map_err(|error| unread(&error.into()))?);
            let filled = self.engine.fill(container, &text(root.path())?, archive).await;
            match packing.await {
                // That nobody took it is told better by who did not.
                Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Err(unread(&error));
                }
                _ => filled?,
            }
            let marker = marker(self.options.owner);
            let marker =
                marker.map_err(|error| ToolError::new(ErrorCode::Io, error.to_string()))?;
            self.engine.put(container, marker).await?;
        }
        Ok(vec!["the engine does not see the workspace's directory: the container works on a copy, and changes stay in it until they are downloaded".to_owned()])
    }
}

/// A directory as a stream, packed while it is read. Links stay what they are: the engine unpacks
/// beneath the container's root. Sockets, FIFOs and devices are left out: an archive has none, or
/// none that would work.
///
/// What goes wrong ends the stream, and is the second half's to tell.
fn packed(
    root: OwnedFd,
) -> (impl Stream<Item = io::Result<Bytes>> + Send + 'static, JoinHandle<io::Result<()>>) {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let packing = tokio::task::spawn_blocking(move || {
        let writer = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        let mut archive = tar::Builder::new(writer);
        let packed = append(&mut archive, root, Path::new(""))
            .and_then(|()| archive.into_inner())
            .and_then(|mut writer| io::Write::flush(&mut writer));
        if let Err(error) = &packed {
            let _ = sender.blocking_send(Err(io::Error::new(error.kind(), error.to_string())));
        }
        packed
    });
    let stream = unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    });
    (stream, packing)
}

type Archive = tar::Builder<io::BufWriter<Pieces>>;

/// Adds what a directory holds. Every step is one name in a directory that is open, so that nobody
/// leads it elsewhere by a link.
fn append(archive: &mut Archive, directory: OwnedFd, name: &Path) -> io::Result<()> {
    for entry in Dir::read_from(&directory)? {
        let entry = entry?;
        let entry = entry.file_name();
        if matches!(entry.to_bytes(), b"." | b"..") {
            continue;
        }
        let path = name.join(OsStr::from_bytes(entry.to_bytes()));
        let failed =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let about = match statat(&directory, entry, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) => about,
            // It went meanwhile.
            Err(Errno::NOENT) => continue,
            Err(error) => return Err(failed(error.into())),
        };
        let inner = |flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            openat(&directory, entry, OFlags::RDONLY | flags, Mode::empty())
                .map_err(|error| failed(error.into()))
        };
        let mut header = header(&about);
        match FileType::from_raw_mode(about.st_mode) {
            FileType::Directory => {
                header.set_entry_type(tar::EntryType::Directory);
                archive.append_data(&mut header, &path, io::empty())?;
                append(archive, inner(OFlags::DIRECTORY)?, &path)?;
            }
            FileType::Symlink => {
                header.set_entry_type(tar::EntryType::Symlink);
                let target = readlinkat(&directory, entry, Vec::new())
                    .map_err(|error| failed(error.into()))?;
                archive.append_link(&mut header, &path, OsStr::from_bytes(target.to_bytes()))?;
            }
            FileType::RegularFile => {
                let file = inner(OFlags::empty())?;
                let size = fstat(&file)?.st_size;
                let size = u64::try_from(size).unwrap_or_default();
                header.set_entry_type(tar::EntryType::Regular);
                header.set_size(size);
                // One that grows meanwhile must not run over into the next; one that shrinks ends in
                // zeros.
                let content = File::from(file).chain(io::repeat(0)).take(size);
                archive.append_data(&mut header, &path, content).map_err(failed)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn header(about: &Stat) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(about.st_mode & 0o7777);
    header.set_uid(about.st_uid.into());
    header.set_gid(about.st_gid.into());
    header.set_mtime(u64::try_from(about.st_mtime).unwrap_or_default());
    header.set_size(0);
    header
}

/// Passes on what is written.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl io::Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn what_cannot_be_read_ends_the_copy_and_is_named() {
        if rustix::process::geteuid().is_root() {
            return;
        }
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("closed"), "x").unwrap();
        let closed = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(home.path().join("closed"), closed).unwrap();
        let directory = File::open(home.path()).unwrap();
        let (archive, packing) = packed(directory.into());
        assert!(archive.any(async |piece| piece.is_err()).await);
        let error = packing.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().starts_with("closed: "), "{error}");
    }
}
