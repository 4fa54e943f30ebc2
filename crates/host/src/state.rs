//! The directory in which stigmer keeps what outlives a program.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;

use stigmer_core::{ErrorCode, FilePath, Result, ToolError};

/// Makes a directory of the state, and those above it, for its owner only. One that is there is
/// left as it is.
///
/// # Errors
/// `permission_denied` for one that is somebody else's or that others may write to; what the file
/// system says.
pub fn make_directory(path: &Path) -> Result<()> {
    let whose = "it must belong to you and nobody else may write to it";
    if let Ok(found) =
        std::fs::metadata(path).as_ref().map(|found| (found.is_dir(), found.uid(), found.mode()))
    {
        let (is_directory, uid, mode) = found;
        if is_directory && uid == rustix::process::geteuid().as_raw() && mode & 0o022 == 0 {
            return Ok(());
        }
        if is_directory {
            let message = format!("{}: is not a state directory of yours: {whose}", path.display());
            return Err(ToolError::new(ErrorCode::PermissionDenied, message)
                .with_hint("STIGMER_HOME names another place for stigmer's state"));
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        ToolError::from_io("make stigmer's state directory", &FilePath::from(path), &error)
            .with_hint("STIGMER_HOME names another place for stigmer's state")
    })
}
