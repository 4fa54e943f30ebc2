//! Searching: names and contents.

use serde::{Deserialize, Serialize};

use crate::{ByteString, FilePath};

/// Finds files by name.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SearchFiles {
    /// What to look for.
    pub query: String,
    /// How `query` is read.
    #[serde(default)]
    pub kind: QueryKind,
    /// Where to look; empty means the whole workspace.
    #[serde(default)]
    pub directories: Vec<FilePath>,
    /// Leave out what `.gitignore` and its like name, and hidden files, as ripgrep does.
    #[serde(default)]
    pub ignore_rules: bool,
    /// The most paths to return; see [`limits`](crate::limits).
    #[serde(default)]
    pub limit: Option<usize>,
}

/// How a [`SearchFiles`] query is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryKind {
    /// Characters in order, with gaps; the best match first.
    #[default]
    Fuzzy,
    /// A glob. Without `/` it is held against the file's name, else against its path from the
    /// workspace root; a leading `/` or `./` stands for that root.
    Glob,
}

/// What [`SearchFiles`] found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundFiles {
    /// Paths relative to the workspace root: fuzzy best first, glob sorted.
    pub paths: Vec<FilePath>,
    /// Whether there are more than the limit.
    pub truncated: bool,
    /// Directories that could not be looked into, each with the reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<ByteString>,
}

/// Finds lines by content, with ripgrep's engine and its rules on what to leave out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GrepSearch {
    /// A regular expression in ripgrep's syntax, or a literal.
    pub pattern: ByteString,
    /// Take the pattern as it stands.
    #[serde(default)]
    pub literal: bool,
    /// Upper and lower case.
    #[serde(default)]
    pub case: CaseRule,
    /// Files or directories to search; empty means the whole workspace.
    #[serde(default)]
    pub paths: Vec<FilePath>,
    /// Only files that one of these globs names, as with ripgrep's `--glob`: a named file is
    /// searched even if an ignore rule or a leading dot would leave it out.
    #[serde(default)]
    pub include: Vec<String>,
    /// No file that one of these globs names.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Search hidden files and those that ignore rules name, too.
    #[serde(default)]
    pub no_ignore: bool,
    /// Lines shown before each match.
    #[serde(default)]
    pub before: u32,
    /// Lines shown after each match.
    #[serde(default)]
    pub after: u32,
    /// The most matches in all, not for each file; see [`limits`](crate::limits). `usize::MAX` is
    /// without any limit, also of bytes: for callers in the same process who want what ripgrep
    /// finds.
    #[serde(default)]
    pub limit: Option<usize>,
}

/// Upper and lower case in a [`GrepSearch`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseRule {
    /// They differ.
    #[default]
    Sensitive,
    /// They are the same.
    Insensitive,
    /// They differ if the pattern has an upper-case letter.
    Smart,
}

/// One matching line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrepMatch {
    /// The file, relative to the workspace root.
    pub path: FilePath,
    /// The line's number, from 1.
    pub line: u64,
    /// Where the first match begins in the line, in bytes, from 1.
    pub column: u64,
    /// The line without its line feed. A carriage return before it is kept, as ripgrep does.
    pub text: ByteString,
    /// Lines before it, as asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<ByteString>,
    /// Lines after it, as asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ByteString>,
}

/// What [`GrepSearch`] found; no match is a success with none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrepMatches {
    /// The matches, sorted by path, then by line.
    pub matches: Vec<GrepMatch>,
    /// Whether there are more than the limit.
    pub truncated: bool,
    /// Files that match but hold a NUL byte, so that not all of their matching lines are shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binary: Vec<FilePath>,
    /// Files that could not be read, each with the reason; the others were searched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unreadable: Vec<ByteString>,
}
