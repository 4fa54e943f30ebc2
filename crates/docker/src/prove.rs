//! The proof that what a container has at the workspace's path is the workspace.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use stigmer_core::file::ReadFile;
use stigmer_core::manager::Site;
use stigmer_core::{ByteString, ErrorCode, Result, ToolError, ToolExecutor};

use crate::executor::ContainerExecutor;
use crate::manager::DockerManager;
use crate::record::Files;

/// What the file begins with; hidden, and known to be ours if we die before it is removed.
const PREFIX: &str = ".stigmer-proof-";

/// A file that goes when it has served.
struct Proof<'a> {
    path: &'a Path,
}

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.path);
    }
}

/// Writes a number into the workspace and reads it back through the container.
///
/// # Errors
/// `not_found` if the container has something else there.
pub(crate) async fn prove(root: &Path, executor: &dyn ToolExecutor) -> Result<()> {
    let random = || {
        getrandom::u64().map_err(|error| {
            ToolError::new(ErrorCode::Io, format!("the system gives no random numbers: {error}"))
        })
    };
    let (name, secret) = (format!("{PREFIX}{:016x}", random()?), format!("{:016x}", random()?));
    let path = root.join(&name);
    let write = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o644).open(&path)?;
        file.write_all(secret.as_bytes())
    };
    write().map_err(|error| ToolError::from_io("write", &path.clone().into(), &error))?;
    let _proof = Proof { path: &path };
    let request = ReadFile { path: name.into(), first_line: None, last_line: None };
    let read = executor.read_file(request).await?;
    if read.content.as_bytes() == secret.as_bytes() {
        return Ok(());
    }
    Err(ToolError::not_found(&ByteString::from(path.as_path())))
}

impl DockerManager {
    /// Makes sure of the workspace's files in a container; returns what is to be noted of them.
    ///
    /// # Errors
    /// `not_found` if they should be mounted and are not.
    pub(crate) async fn prove_or_fill(
        &self,
        site: &Site,
        executor: &ContainerExecutor,
        container: &str,
        files: Files,
    ) -> Result<Vec<String>> {
        match files {
            Files::Mounted => prove(site.root.as_path(), executor).await.map(|()| Vec::new()),
            Files::Copied => self.fill(site, container).await,
        }
    }
}
