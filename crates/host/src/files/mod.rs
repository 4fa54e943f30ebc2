//! Reading and changing files.
//!
//! One file per operation. All that changes a file's content goes through [`Staged`]: the new
//! content is written beside the old and takes its name in one step, so a reader, a crash or a full
//! disk never sees half of it, and another name of the same inode never sees any of it.

mod apply;
mod delete;
mod diff;
mod directory;
mod edit;
mod locks;
mod movement;
mod nearest;
mod read;
mod staged;
mod write;

use std::path::Path;

use rustix::io::Errno;
use sha2::{Digest, Sha256};
use stigmer_core::file::FileStat;
use stigmer_core::{FilePath, Result, ToolError};

pub(crate) use delete::delete_file;
pub(crate) use directory::make_directory;
pub(crate) use edit::edit_file;
pub(crate) use locks::WriteLocks;
pub(crate) use movement::move_path;
pub(crate) use read::read_file;
pub(crate) use staged::{Staged, temporary_name};
pub(crate) use write::{check_writable, write_file};

use crate::Root;

pub(crate) fn stat_file(root: &Root, path: &FilePath) -> Result<FileStat> {
    root.stat(&root.relative(path)?)
}

/// SHA-256 as lower-case hexadecimal.
fn sha256(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(hash: Sha256) -> String {
    format!("{:x}", hash.finalize())
}

/// An error of the standard library about a path.
pub(crate) fn io_failed(
    root: &Root,
    operation: &str,
    relative: &Path,
    error: &std::io::Error,
) -> ToolError {
    match error.raw_os_error() {
        Some(code) => root.io_error(operation, relative, Errno::from_raw_os_error(code)),
        None => ToolError::from_io(operation, &relative.into(), error),
    }
}
