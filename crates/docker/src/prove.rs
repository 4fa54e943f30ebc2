//! The proof that what a container has at the workspace's path is the workspace.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Mode, OFlags};
use stigmer_core::file::ReadFile;
use stigmer_core::{ByteString, ErrorCode, Result, ToolError, ToolExecutor};

use crate::executor::ContainerExecutor;
use crate::manager::DockerManager;
use crate::record::Files;
use crate::root::Root;

/// What the file begins with; hidden, and known to be ours if we die before it is removed.
const PREFIX: &str = ".stigmer-proof-";

/// A file that goes when it has served.
struct Proof<'a> {
    directory: &'a OwnedFd,
    name: &'a str,
}

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.directory, self.name, AtFlags::empty());
    }
}

/// Writes a number into the workspace and reads it back through the container. It is written into the
/// directory that was opened, whatever has its path by now.
///
/// # Errors
/// `not_found` if the container has something else there.
pub(crate) async fn prove(root: &Root, executor: &dyn ToolExecutor) -> Result<()> {
    let random = || {
        getrandom::u64().map_err(|error| {
            ToolError::new(ErrorCode::Io, format!("the system gives no random numbers: {error}"))
        })
    };
    let (name, secret) = (format!("{PREFIX}{:016x}", random()?), format!("{:016x}", random()?));
    let directory = root.descriptor();
    let path = ByteString::from(root.path().join(&name));
    let write = || -> io::Result<Proof<'_>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = rustix::fs::openat(directory, &name, flags, mode)?;
        let proof = Proof { directory, name: &name };
        File::from(file).write_all(secret.as_bytes())?;
        Ok(proof)
    };
    let _proof = write().map_err(|error| ToolError::from_io("write", &path, &error))?;
    let request = ReadFile { path: name.as_str().into(), first_line: None, last_line: None };
    let read = executor.read_file(request).await?;
    if read.content.as_bytes() == secret.as_bytes() {
        return Ok(());
    }
    Err(ToolError::not_found(&path))
}

impl DockerManager {
    /// Makes sure of the workspace's files in a container; returns what is to be noted of them.
    ///
    /// # Errors
    /// `not_found` if they should be mounted and are not.
    pub(crate) async fn prove_or_fill(
        &self,
        root: &Root,
        executor: &ContainerExecutor,
        container: &str,
        files: Files,
    ) -> Result<Vec<String>> {
        match files {
            Files::Mounted => prove(root, executor).await.map(|()| Vec::new()),
            Files::Copied => self.fill(root, container).await,
        }
    }
}
