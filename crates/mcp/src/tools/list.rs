//! `list`: what is in a directory.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::file::{DirectoryEntry, FileKind, ListDirectory};
use stigmer_core::{Result, ToolError};

use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;

/// The entries of one answer if nothing is said, and the most.
const ENTRIES: usize = 500;
const MAX_ENTRIES: usize = 5_000;

/// How deep a listing may look.
const MAX_DEPTH: u32 = 100;

/// What to list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// The directory, relative to the workspace or absolute beneath it. Default: the workspace.
    path: Option<String>,
    /// How many levels to show. Default: 1.
    #[schemars(range(min = 1, max = 100))]
    depth: Option<u32>,
    /// Show hidden files and what .gitignore names, too.
    #[serde(default)]
    no_ignore: bool,
    /// The most entries to return. Default: 500.
    #[schemars(range(min = 1, max = 5000))]
    limit: Option<usize>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

/// What is there.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// The entries, sorted by path.
    entries: Vec<Entry>,
    /// Whether there are more than the limit.
    truncated: bool,
    /// Directories that could not be looked into, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// An entry of a directory.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Entry {
    /// The path, relative to the workspace.
    path: String,
    /// What it is.
    kind: Kind,
    /// Its size in bytes.
    size: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
}

impl From<DirectoryEntry> for Entry {
    fn from(entry: DirectoryEntry) -> Self {
        let kind = match entry.kind {
            FileKind::File => Kind::File,
            FileKind::Directory => Kind::Directory,
            FileKind::Symlink => Kind::Symlink,
            FileKind::Fifo => Kind::Fifo,
            FileKind::Socket => Kind::Socket,
            FileKind::Device => Kind::Device,
        };
        Self { path: entry.path.to_string(), kind, size: entry.size }
    }
}

/// A limit that the schema allows.
pub(super) fn within(name: &str, value: Option<usize>, usual: usize, most: usize) -> Result<usize> {
    let value = value.unwrap_or(usual);
    if (1..=most).contains(&value) {
        return Ok(value);
    }
    Err(ToolError::invalid_argument(name, format!("{value} is not from 1 to {most}")))
}

/// What could not be read, as much of it as is worth reading.
pub(super) fn unreadable(all: Vec<stigmer_core::ByteString>) -> Vec<String> {
    all.into_iter().take(20).map(|path| path.to_string()).collect()
}

impl Operation for List {
    const NAME: &'static str = "list";
    const TITLE: &'static str = "List a directory";
    const DESCRIPTION: &'static str = "\
List a directory, one level or more, with kinds and sizes. Leaves out hidden files and what .gitignore \
names, unless `no_ignore`.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Listed;

    async fn call(self, call: Call) -> Result<Listed> {
        let limit = within("limit", self.limit, ENTRIES, MAX_ENTRIES)?;
        let depth = self.depth.unwrap_or(1);
        if !(1..=MAX_DEPTH).contains(&depth) {
            let reason = format!("{depth} is not from 1 to {MAX_DEPTH}");
            return Err(ToolError::invalid_argument("depth", reason));
        }
        let executor = call.executor(self.workspace.as_deref()).await?;
        let listing = executor
            .list_directory(ListDirectory {
                path: self.path.unwrap_or_default().into(),
                depth,
                ignore_rules: !self.no_ignore,
                limit: Some(limit),
            })
            .await?;
        Ok(Listed {
            entries: listing.entries.into_iter().map(Entry::from).collect(),
            truncated: listing.truncated,
            unreadable: unreadable(listing.unreadable),
        })
    }
}

impl Answer for Listed {
    fn text(&self) -> String {
        let mut text = String::new();
        for Entry { path, kind, size } in &self.entries {
            let line = match kind {
                Kind::File => format!("{path}  {size} bytes\n"),
                Kind::Directory => format!("{path}/\n"),
                Kind::Symlink => format!("{path}  symlink\n"),
                Kind::Fifo => format!("{path}  fifo\n"),
                Kind::Socket => format!("{path}  socket\n"),
                Kind::Device => format!("{path}  device\n"),
            };
            text.push_str(&line);
        }
        if self.entries.is_empty() {
            text.push_str("nothing\n");
        }
        if self.truncated {
            text.push_str("[there is more: list a directory beneath, or pass a larger limit]\n");
        }
        for reason in &self.unreadable {
            text.push_str(&format!("[not read: {reason}]\n"));
        }
        text
    }
}
