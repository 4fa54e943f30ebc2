//! A skill in memory: read from an archive, checked, and ready to be put anywhere.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use stigmer_core::{ErrorCode, Result, ToolError};
use tar::EntryType;

use crate::archive::{Entry, each_entry, too_large, wrong};
use crate::frontmatter;
use crate::limits::{MAX_DEPTH, MAX_ENTRIES, MAX_FILE_BYTES, MAX_PATH, MAX_SKILL_BYTES};

/// The file that makes a directory a skill (agentskills.io).
pub(crate) const SKILL_FILE: &str = "SKILL.md";

/// What the digest begins with: what it is of, and its version.
const DIGEST_OF: &[u8] = b"stigmer skill 1\n";

/// One file or link of a skill. Directories are where files are; empty ones are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    File {
        content: Bytes,
        executable: bool,
    },
    /// A link to another file or directory of the skill.
    Link {
        target: String,
    },
}

/// A whole skill that holds to every limit and leads nowhere else.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) description: String,
    /// By path, relative to the skill, in the order of their bytes.
    pub(crate) nodes: BTreeMap<String, Node>,
    /// Lower-case hexadecimal.
    pub(crate) digest: String,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Package {
    /// Reads a skill from a tar archive: `SKILL.md` at its top, or in its only directory.
    ///
    /// # Errors
    /// `outside_workspace` for an entry that leads out, `too_large` for one that passes a limit,
    /// `invalid_argument` for whatever else is no skill.
    pub(crate) fn read(archive: &Bytes) -> Result<Self> {
        let mut reading = Reading::default();
        each_entry(archive, |entry| reading.take(entry))?;
        let nodes = reading.nodes()?;
        let Some(Node::File { content, .. }) = nodes.get(SKILL_FILE) else {
            let reason = format!("has no file {SKILL_FILE} at its top or in its only directory");
            return Err(wrong(reason).with_hint("see agentskills.io for what a skill is made of"));
        };
        let frontmatter::Frontmatter { name, description } = frontmatter::read(content)?;
        let digest = digest(&nodes);
        let files = nodes.len() as u64;
        Ok(Self { name, description, nodes, digest, files, bytes: reading.bytes })
    }

    /// Whether an archive has all of this skill, unchanged. More files, such as those that its
    /// scripts leave, do not count.
    pub(crate) fn is_in(&self, archive: &Bytes) -> bool {
        let mut missing = self.nodes.len();
        let read = each_entry(archive, |entry| {
            let Ok(path) = std::str::from_utf8(&entry.name) else { return Ok(()) };
            let same = match self.nodes.get(path) {
                None => return Ok(()),
                Some(Node::File { content, executable }) => {
                    entry.kind.is_file()
                        && entry.content == content
                        && is_executable(entry.mode) == *executable
                }
                Some(Node::Link { target }) => {
                    entry.kind.is_symlink() && entry.target == target.as_bytes()
                }
            };
            missing -= usize::from(same);
            if same { Ok(()) } else { Err(wrong("is another")) }
        });
        read.is_ok() && missing == 0
    }
}

fn is_executable(mode: u32) -> bool {
    mode & 0o111 != 0
}

/// The digest over sorted paths, kinds, the executable bit and contents, each with its length before
/// it, so that no two skills have the same bytes.
fn digest(nodes: &BTreeMap<String, Node>) -> String {
    let mut hash = Sha256::new();
    hash.update(DIGEST_OF);
    for (path, node) in nodes {
        let (kind, content) = match node {
            Node::File { content, executable: false } => (b'f', &content[..]),
            Node::File { content, executable: true } => (b'x', &content[..]),
            Node::Link { target } => (b'l', target.as_bytes()),
        };
        hash.update([kind]);
        for part in [path.as_bytes(), content] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An entry leads out of the skill.
fn outside(name: &str, reason: &str) -> ToolError {
    ToolError::new(ErrorCode::OutsideWorkspace, format!("archive: its entry {name} {reason}"))
        .with_detail("path", name)
        .with_hint("a skill's entries have relative names without `..`, and links lead within it")
}

/// What was read so far.
#[derive(Default)]
struct Reading {
    /// Files and links; and directories, as `None`.
    nodes: BTreeMap<String, Option<Node>>,
    entries: usize,
    bytes: u64,
}

impl Reading {
    fn take(&mut self, entry: Entry) -> Result<()> {
        // What an archive says of itself as a whole is no entry (POSIX pax).
        if entry.kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(too_large("the number of its entries", MAX_ENTRIES));
        }
        let Some(path) = plain(&entry.name)? else {
            // The top itself.
            return if entry.kind.is_dir() {
                Ok(())
            } else {
                Err(wrong("has an entry without a name"))
            };
        };
        let node = match entry.kind {
            EntryType::Regular | EntryType::Continuous => {
                Some(Node::File { content: entry.content, executable: is_executable(entry.mode) })
            }
            EntryType::Directory => None,
            EntryType::Symlink => Some(Node::Link { target: text(&entry.target)?.to_owned() }),
            // Another name for a file that came before is a file like that.
            EntryType::Link => Some(self.original(&path, &entry.target)?),
            _ => {
                let kind = if entry.kind.is_fifo() { "FIFO" } else { "device" };
                let reason = format!("its entry {path} is a {kind} or of an unknown kind");
                return Err(wrong(reason).with_hint("a skill has files, directories and links"));
            }
        };
        if let Some(Node::File { content, .. }) = &node {
            let size = content.len() as u64;
            if size > MAX_FILE_BYTES {
                let limit = format!("{MAX_FILE_BYTES} bytes");
                return Err(too_large(&format!("the size of {path}, {size} bytes,"), limit));
            }
            self.bytes += size;
            if self.bytes > MAX_SKILL_BYTES {
                let limit = format!("{MAX_SKILL_BYTES} bytes");
                return Err(too_large("the size of its files", limit));
            }
        }
        match (self.nodes.get(&path), &node) {
            (None, _) | (Some(None), None) => self.nodes.insert(path, node),
            _ => return Err(wrong(format!("has {path} twice"))),
        };
        Ok(())
    }

    fn original(&self, path: &str, target: &[u8]) -> Result<Node> {
        let name = plain(target)?.unwrap_or_default();
        match self.nodes.get(&name) {
            Some(Some(node @ Node::File { .. })) => Ok(node.clone()),
            _ => Err(outside(path, "is a link to no file that comes before it")),
        }
    }

    /// The files and links relative to the skill, all of them checked together.
    fn nodes(&self) -> Result<BTreeMap<String, Node>> {
        let prefix = self.prefix();
        let within = |path: &String| path[prefix.len().min(path.len())..].to_owned();
        let mut nodes = BTreeMap::new();
        let mut directories: Vec<String> = Vec::new();
        for (path, node) in &self.nodes {
            let path = within(path);
            if path.split('/').count() > MAX_DEPTH {
                return Err(too_large(&format!("the depth of {path}"), MAX_DEPTH));
            }
            match node {
                Some(node) => drop(nodes.insert(path, node.clone())),
                None => directories.push(path),
            }
        }
        // An empty directory is not kept, so that a link to it would lead nowhere.
        directories.retain(|directory| has_below(&nodes, directory));
        for (path, node) in &nodes {
            for (end, _) in path.match_indices('/') {
                if nodes.contains_key(&path[..end]) {
                    return Err(outside(path, "lies beneath what is no directory"));
                }
            }
            let Node::Link { target } = node else { continue };
            let end = led_to(&nodes, path, target);
            let end = end.ok_or_else(|| outside(path, "is a link that leads out"))?;
            let file = matches!(nodes.get(&end), Some(Node::File { .. }));
            if !file && !has_below(&nodes, &end) {
                return Err(outside(
                    path,
                    "is a link to nothing in the archive, or to another link",
                ));
            }
        }
        Ok(nodes)
    }

    /// `x/` if `SKILL.md` is not at the top, but everything is in a directory x and it is there.
    fn prefix(&self) -> String {
        let first =
            self.nodes.keys().next().map_or("", |path| path.split('/').next().unwrap_or(""));
        let prefix = format!("{first}/");
        let all = self.nodes.keys().all(|path| path == first || path.starts_with(&prefix));
        let there = self.nodes.contains_key(&format!("{prefix}{SKILL_FILE}"));
        if all && there { prefix } else { String::new() }
    }
}

/// Whether something lies beneath this directory.
fn has_below(nodes: &BTreeMap<String, Node>, directory: &str) -> bool {
    let prefix = format!("{directory}/");
    let mut below = nodes.range::<str, _>((Bound::Included(prefix.as_str()), Bound::Unbounded));
    below.next().is_some_and(|(path, _)| path.starts_with(&prefix))
}

fn text(name: &[u8]) -> Result<&str> {
    if name.len() > MAX_PATH {
        return Err(too_large("the length of a name in the archive", MAX_PATH));
    }
    let shown = || String::from_utf8_lossy(name).into_owned();
    let text = std::str::from_utf8(name)
        .map_err(|_| wrong(format!("its name {} is no UTF-8", shown())))?;
    if text.chars().any(char::is_control) {
        return Err(wrong(format!("its name {} has control characters", shown().escape_debug())));
    }
    Ok(text)
}

/// An entry's name without `.` and doubled slashes; `None` for the top.
fn plain(name: &[u8]) -> Result<Option<String>> {
    let name = text(name)?;
    if name.starts_with('/') {
        return Err(outside(name, "has an absolute name"));
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
    if parts.contains(&"..") {
        return Err(outside(name, "leads out with `..`"));
    }
    Ok(Some(parts.join("/")).filter(|path| !path.is_empty()))
}

/// Where a link leads, relative to the skill; `None` if out of it, or through another link, where
/// `..` is not what it seems to be.
fn led_to(nodes: &BTreeMap<String, Node>, link: &str, target: &str) -> Option<String> {
    if target.is_empty() || target.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        if matches!(nodes.get(&parts.join("/")), Some(Node::Link { .. })) {
            return None;
        }
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
#[path = "package_tests.rs"]
mod tests;
