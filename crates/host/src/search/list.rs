//! Listing directories.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use stigmer_core::file::{DirectoryEntry, ListDirectory, Listing};
use stigmer_core::{Result, limits};

use super::smallest::Smallest;
use super::walk::{Rules, Walk};
use crate::Root;

type Entries = Smallest<Vec<u8>, DirectoryEntry>;

/// Lists a directory, sorted by the bytes of the path.
pub(crate) fn list_directory(root: &Root, request: ListDirectory) -> Result<Listing> {
    let directory = root.relative(&request.path)?;
    root.open_directory(&directory)?;
    let limit = request.limit.unwrap_or(limits::DEFAULT_LIST_ENTRIES);
    let entries = Entries::new(limit.min(limits::MAX_LIST_ENTRIES), limits::MAX_SEARCH_BYTES);
    let walk = Walk::new(root, Rules::new(request.ignore_rules));
    let depth = usize::try_from(request.depth.max(1)).unwrap_or(usize::MAX);

    let mut builder = walk.builder(&BTreeSet::from([directory.clone()]))?;
    builder.max_depth(Some(depth));
    // One thread: most listings are one directory, and the sequential walker reads even a huge one
    // without holding it in memory. What it cannot read it passes over; the directory itself is
    // listed by its parent.
    for entry in builder.build().flatten() {
        if let Some(relative) = walk.relative(entry.path()) {
            if entry.depth() > 0 {
                keep(root, &entries, relative);
            }
        }
    }
    // Directories that the walk had to leave out exist all the same.
    for (directory, _) in walk.unfit() {
        keep(root, &entries, &directory);
    }

    let (entries, truncated) = entries.finish_singles();
    Ok(Listing { entries: entries.into_iter().map(|(_, entry)| entry).collect(), truncated })
}

/// Keeps an entry if it is among the first, and if it is really there.
fn keep(root: &Root, entries: &Entries, relative: &Path) {
    let bytes = relative.as_os_str().as_bytes();
    if !entries.wants(bytes) {
        return;
    }
    let Ok(stat) = root.stat(relative) else { return };
    let entry = DirectoryEntry { path: bytes.into(), kind: stat.kind, size: stat.size };
    entries.insert(bytes.to_vec(), 1, bytes.len() + size_of::<DirectoryEntry>(), entry);
}
