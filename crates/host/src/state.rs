//! The directory in which stigmer keeps what outlives a program.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use stigmer_core::{FilePath, Result, ToolError};

/// Makes a directory of the state, and those above it, for its owner only. One that is there is
/// left as it is.
pub(crate) fn make_directory(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        ToolError::from_io("make stigmer's state directory", &FilePath::from(path), &error)
            .with_hint("STIGMER_HOME names another place for stigmer's state")
    })
}
