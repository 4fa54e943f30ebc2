//! Moving trees in and out, and watching them change.

use serde::{Deserialize, Serialize};

use crate::FilePath;

/// What a stream of bytes is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferFormat {
    /// A tar archive of what is at, or goes beneath, the path.
    #[default]
    Tar,
    /// The content of one file.
    File,
}

/// Puts files into the workspace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Upload {
    /// For a tar archive the directory that receives its entries (made if missing), else the file.
    pub path: FilePath,
    /// What the stream is.
    #[serde(default)]
    pub format: TransferFormat,
    /// Permission bits for a single file that is not there yet, as the umask allows; the entries of
    /// an archive have their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

/// What [`Upload`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadSummary {
    /// Files written.
    pub files: u64,
    /// Directories made or already there.
    pub directories: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Bytes of content.
    pub bytes: u64,
}

/// Takes files out of the workspace.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Download {
    /// A file, or a directory (tar only; its entries are named relative to it). A single file in a
    /// tar archive has its own name.
    pub path: FilePath,
    /// What the stream shall be.
    #[serde(default)]
    pub format: TransferFormat,
}

/// Watches directories for changes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// The directories, each with all beneath it; empty means the whole workspace.
    #[serde(default)]
    pub directories: Vec<FilePath>,
    /// Leave out what `.gitignore` and its like name, and hidden files.
    #[serde(default)]
    pub ignore_rules: bool,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// What changed, relative to the workspace root; empty for [`ChangeKind::Rescan`].
    pub path: FilePath,
    /// How.
    pub kind: ChangeKind,
}

/// How a path changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// It is there and was not (also the new name of a renamed path).
    Created,
    /// Its content, or its permissions, changed.
    Modified,
    /// It is gone (also the old name of a renamed path).
    Removed,
    /// Changes were lost: the watched directories must be read anew.
    Rescan,
}
