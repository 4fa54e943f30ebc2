//! Files: reading, writing, editing, listing.

use serde::{Deserialize, Serialize};

use crate::{ByteString, FilePath};

/// Reads a file, whole or a range of its lines.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReadFile {
    /// The file.
    pub path: FilePath,
    /// First line wanted, counted from 1.
    #[serde(default)]
    pub first_line: Option<u64>,
    /// Last line wanted, counted from 1, inclusive. Past the end means the end.
    #[serde(default)]
    pub last_line: Option<u64>,
}

/// What [`ReadFile`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// The lines asked for, with their line ends.
    pub content: ByteString,
    /// Whether `content` is text (`utf-8`) or not (`base64`).
    pub encoding: Encoding,
    /// How many lines the whole file has.
    pub total_lines: u64,
    /// First line in `content`, from 1; 0 when there is none.
    pub start_line: u64,
    /// Last line in `content`; 0 when there is none.
    pub end_line: u64,
    /// The line to ask for next, if there is more.
    pub next_line: Option<u64>,
    /// Size of the whole file in bytes.
    pub size: u64,
    /// SHA-256 of the whole file, lower-case hexadecimal.
    pub sha256: String,
}

/// How content is carried where only text can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As it is.
    #[serde(rename = "utf-8")]
    Utf8,
    /// Encoded, because it is no UTF-8.
    #[serde(rename = "base64")]
    Base64,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// A block or character device.
    Device,
}

impl FileKind {
    /// The name for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Directory => "directory",
            Self::Symlink => "symlink",
            Self::Fifo => "fifo",
            Self::Socket => "socket",
            Self::Device => "device",
        }
    }
}

/// What is known of a path. A symbolic link is described itself, not what it leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// The path, relative to the workspace root.
    pub path: FilePath,
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
    /// Time of the last change of content, milliseconds since 1970.
    pub modified_ms: i64,
    /// Permission bits, as in `chmod`.
    pub mode: u32,
    /// Where a symbolic link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symlink_target: Option<ByteString>,
}

/// Replaces a file's content, atomically: a reader or a crash sees the old content or the new.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct WriteFile {
    /// The file. Missing parent directories are created. A symbolic link keeps its place: what it
    /// leads to is replaced.
    pub path: FilePath,
    /// The new content.
    pub content: ByteString,
    /// Write only if the file has this SHA-256 now.
    #[serde(default)]
    pub expected_sha256: Option<String>,
    /// Write only if nothing is there.
    #[serde(default)]
    pub create_only: bool,
}

/// What [`WriteFile`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteSummary {
    /// Whether there was no file before.
    pub is_new_file: bool,
    /// Lines in the new content that the old did not have.
    pub lines_added: u64,
    /// Lines in the old content that the new does not have.
    pub lines_removed: u64,
    /// SHA-256 of the new content, lower-case hexadecimal.
    pub sha256: String,
}

/// One replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The text to replace; it must occur exactly once unless `replace_all`.
    pub old: ByteString,
    /// What takes its place.
    pub new: ByteString,
    /// Replace every occurrence.
    #[serde(default)]
    pub replace_all: bool,
}

/// Applies replacements to a file, each on the result of the one before it; all or none.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct EditFile {
    /// The file.
    pub path: FilePath,
    /// The replacements, in order.
    pub edits: Vec<Edit>,
    /// Edit only if the file has this SHA-256 now.
    #[serde(default)]
    pub expected_sha256: Option<String>,
}

/// What [`EditFile`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditSummary {
    /// How many places each edit replaced.
    pub occurrences: Vec<u64>,
    /// Lines added in all.
    pub lines_added: u64,
    /// Lines removed in all.
    pub lines_removed: u64,
    /// The whole change as a unified diff; bytes that are no UTF-8 are shown as U+FFFD.
    pub diff: String,
    /// SHA-256 of the new content, lower-case hexadecimal.
    pub sha256: String,
}

/// Deletes a path. A symbolic link is deleted itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct DeleteFile {
    /// What to delete.
    pub path: FilePath,
    /// Delete a directory with all its content.
    #[serde(default)]
    pub recursive: bool,
}

/// What [`DeleteFile`] did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteSummary {
    /// There was nothing to delete; that is a success.
    pub was_already_deleted: bool,
}

/// Moves or renames a path. A symbolic link is moved itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MovePath {
    /// From here.
    pub from: FilePath,
    /// To here; the parent directory must exist, the path itself must not unless `replace`.
    pub to: FilePath,
    /// Replace a file that is there.
    #[serde(default)]
    pub replace: bool,
}

/// Makes a directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct MakeDirectory {
    /// The directory.
    pub path: FilePath,
    /// Make missing parents too, and be content if the directory exists.
    #[serde(default)]
    pub parents: bool,
}

/// Lists a directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ListDirectory {
    /// The directory; empty means the workspace root.
    #[serde(default)]
    pub path: FilePath,
    /// How many levels deep; 1 lists the directory's own entries. 0 counts as 1.
    #[serde(default)]
    pub depth: u32,
    /// Leave out what `.gitignore` and its like name, and hidden files, as ripgrep does.
    #[serde(default)]
    pub ignore_rules: bool,
    /// The most entries to return; see [`limits`](crate::limits).
    #[serde(default)]
    pub limit: Option<usize>,
}

/// One entry of a [`Listing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryEntry {
    /// The path, relative to the workspace root.
    pub path: FilePath,
    /// What it is.
    pub kind: FileKind,
    /// Size in bytes.
    pub size: u64,
}

/// What [`ListDirectory`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// The entries, sorted by path.
    pub entries: Vec<DirectoryEntry>,
    /// Whether there are more than the limit.
    pub truncated: bool,
    /// Directories that could not be looked into, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<ByteString>,
}
