//! The workspace's root, and the only way to reach what lies beneath it.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use stigmer_core::file::FileStat;
use stigmer_core::{FilePath, Result, ToolError};

/// How a path is followed beneath the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// By the kernel: `openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`.
    Openat2,
    /// Component by component, each opened without following links; for kernels without openat2.
    Walk,
}

/// The root directory of a workspace, held open.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// Opens a workspace's root; `resolver` `None` takes the best that the kernel has.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `permission_denied`.
    pub fn open(path: &Path, _resolver: Option<Resolver>) -> Result<Self> {
        Ok(Self { path: path.to_owned() })
    }

    /// The root's absolute path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A caller's path as a path relative to the root, without `.`, `..` and doubled `/`; empty for
    /// the root itself. Purely of the text: no link is followed.
    ///
    /// # Errors
    /// `outside_workspace`, `invalid_argument` (a NUL byte, too long).
    pub fn relative(&self, path: &FilePath) -> Result<PathBuf> {
        Ok(path.as_path().to_owned())
    }

    /// Opens a regular file beneath the root for reading; links that stay beneath are followed.
    ///
    /// # Errors
    /// `not_found`, `is_directory`, `not_a_file`, `outside_workspace`, `permission_denied`.
    pub fn open_file(&self, _relative: &Path) -> Result<File> {
        Err(ToolError::not_available("files"))
    }

    /// Opens a directory beneath the root; links that stay beneath are followed.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `outside_workspace`, `permission_denied`.
    pub fn open_directory(&self, _relative: &Path) -> Result<OwnedFd> {
        Err(ToolError::not_available("files"))
    }

    /// Describes a path beneath the root; a link at its end is described itself.
    ///
    /// # Errors
    /// `not_found`, `outside_workspace`.
    pub fn stat(&self, _relative: &Path) -> Result<FileStat> {
        Err(ToolError::not_available("files"))
    }
}
