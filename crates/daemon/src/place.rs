//! Where a daemon keeps its things: `<STIGMER_HOME>/state/daemon/`.

use std::fs::DirBuilder;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use stigmer_core::{ErrorCode, FilePath, Result, ToolError};
use stigmer_engine::Configuration;

/// The longest path of a unix socket: `sun_path` has 108 bytes, and the last is its end mark
/// (`unix(7)`).
const MAX_SOCKET_PATH: usize = 107;

/// The directory of a daemon, which belongs to one `STIGMER_HOME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonPlace {
    directory: PathBuf,
}

impl DaemonPlace {
    /// The place that the settings name. Nothing is looked at.
    ///
    /// # Errors
    /// `bad_configuration` if no home is known.
    pub fn of(configuration: &Configuration) -> Result<Self> {
        Ok(Self { directory: configuration.state_directory()?.join("daemon") })
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Held by the daemon for its life: the truth on whether it runs.
    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    /// What the daemon says of itself.
    pub fn record(&self) -> PathBuf {
        self.directory.join("daemon.json")
    }

    /// Where it listens when nothing else is asked for.
    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Where it takes descriptors.
    pub fn descriptors(&self) -> PathBuf {
        self.directory.join("descriptors")
    }

    /// The token for TCP.
    pub fn token(&self) -> PathBuf {
        self.directory.join("token")
    }

    /// What it logs.
    pub fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Makes the directory, for its owner only.
    ///
    /// # Errors
    /// `permission_denied` for one that is somebody else's or open to others; what making it says.
    pub fn make(&self) -> Result<()> {
        let shown = FilePath::from(self.directory.as_path());
        let failed = |error: &std::io::Error| {
            ToolError::from_io("make the daemon's directory", &shown, error).with_hint(ELSEWHERE)
        };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(&self.directory).map_err(|e| failed(&e))?;
        let found = std::fs::symlink_metadata(&self.directory).map_err(|e| failed(&e))?;
        let ours = found.uid() == rustix::process::geteuid().as_raw();
        if !found.is_dir() || !ours || found.mode() & 0o077 != 0 {
            let message = format!(
                "{shown}: is no directory of yours alone: it must belong to you and have mode 0700"
            );
            return Err(ToolError::new(ErrorCode::PermissionDenied, message).with_hint(ELSEWHERE));
        }
        Ok(())
    }
}

const ELSEWHERE: &str = "STIGMER_HOME names another place for stigmer's state";

/// Refuses a path that the kernel would not take as a socket's.
pub(crate) fn check_socket_path(path: &Path) -> Result<()> {
    let length = path.as_os_str().as_bytes().len();
    if length <= MAX_SOCKET_PATH {
        return Ok(());
    }
    let message = format!(
        "{}: is too long for a unix socket: {length} bytes, and the limit is {MAX_SOCKET_PATH}",
        path.display()
    );
    Err(ToolError::new(ErrorCode::InvalidArgument, message)
        .with_detail("limit", MAX_SOCKET_PATH)
        .with_detail("size", length)
        .with_hint("set STIGMER_HOME to a directory with a shorter path"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_socket_path_may_have_as_many_bytes_as_the_kernel_takes() {
        let scratch = tempfile::tempdir().unwrap();
        let stem = scratch.path().as_os_str().as_bytes().len() + 1;
        for (length, good) in [(MAX_SOCKET_PATH, true), (MAX_SOCKET_PATH + 1, false)] {
            let path = scratch.path().join("s".repeat(length - stem));
            let bound = std::os::unix::net::UnixListener::bind(&path);
            assert_eq!(check_socket_path(&path).is_ok(), good, "{length}");
            assert_eq!(bound.is_ok(), good, "the kernel agrees on {length}");
        }
    }

    #[test]
    fn a_directory_that_is_open_to_others_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let place = DaemonPlace { directory: scratch.path().join("state/daemon") };
        place.make().unwrap();
        place.make().unwrap();
        let mode = std::fs::metadata(place.directory()).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
        std::fs::set_permissions(place.directory(), PermissionsExt::from_mode(0o750)).unwrap();
        assert_eq!(place.make().unwrap_err().code, ErrorCode::PermissionDenied);
    }
}
