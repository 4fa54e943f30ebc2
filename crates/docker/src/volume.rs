//! Workspaces whose directory the engine does not see: a copy in a volume of the engine's.

use std::io;
use std::path::Path;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use stigmer_core::{ErrorCode, Result, ToolError};
use tokio::sync::mpsc;

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
            self.engine.fill(container, &text(root.path())?, packed(&root.own_path())).await?;
            let marker = marker(self.options.owner);
            let marker =
                marker.map_err(|error| ToolError::new(ErrorCode::Io, error.to_string()))?;
            self.engine.put(container, marker).await?;
        }
        Ok(vec!["the engine does not see the workspace's directory: the container works on a copy, and changes stay in it until they are downloaded".to_owned()])
    }
}

/// A directory as a stream, packed while it is read. Links stay what they are: the engine unpacks
/// beneath the container's root.
fn packed(root: &Path) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel::<io::Result<Bytes>>(WAITING);
    let root = root.to_owned();
    tokio::task::spawn_blocking(move || {
        let writer = io::BufWriter::with_capacity(PIECE, Pieces(sender.clone()));
        let mut archive = tar::Builder::new(writer);
        archive.follow_symlinks(false);
        let packed = archive
            .append_dir_all("", &root)
            .and_then(|()| archive.into_inner())
            .and_then(|mut writer| io::Write::flush(&mut writer));
        if let Err(error) = packed {
            let _ = sender.blocking_send(Err(error));
        }
    });
    unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    })
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
