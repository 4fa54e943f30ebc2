//! Listing directories.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use stigmer_core::file::{DirectoryEntry, ListDirectory, Listing};
use stigmer_core::{Result, limits};

use super::smallest::Smallest;
use super::stop::Stop;
use super::unreadable::Unreadable;
use super::walk::{Rules, Walk};
use crate::Root;

type Entries = Smallest<Vec<u8>, DirectoryEntry>;

/// Lists a directory, sorted by the bytes of the path.
pub(crate) fn list_directory(root: &Root, request: ListDirectory, stop: &Stop) -> Result<Listing> {
    let directory = root.relative(&request.path)?;
    root.open_directory(&directory)?;
    let limit = request.limit.unwrap_or(limits::DEFAULT_LIST_ENTRIES);
    let entries = Entries::new(limit.min(limits::MAX_LIST_ENTRIES), limits::MAX_SEARCH_BYTES);
    let walk = Walk::new(root, Rules::new(request.ignore_rules));
    let depth = usize::try_from(request.depth.max(1)).unwrap_or(usize::MAX);

    let mut builder = walk.builder(&BTreeSet::from([directory.clone()]))?;
    builder.max_depth(Some(depth));
    // One thread: most listings are one directory, and the sequential walker reads even a huge one
    // without holding it in memory. A directory that cannot be read is listed by its parent.
    let unreadable = Unreadable::new();
    for entry in builder.build() {
        stop.check()?;
        match entry {
            Ok(entry) if entry.depth() == 0 => {}
            Ok(entry) => {
                if let Some(relative) = walk.relative(entry.path()) {
                    keep(root, &entries, relative);
                }
            }
            Err(error) => unreadable.insert_error(root, &walk, &error),
        }
    }
    // Directories that the walk had to leave out exist all the same; at the last level none of
    // their entries are missed.
    let levels = directory.components().count().saturating_add(depth);
    for (left_out, error) in walk.unfit() {
        keep(root, &entries, &left_out);
        if left_out.components().count() < levels {
            unreadable.insert(&left_out, &error.message);
        }
    }

    let (entries, truncated) = entries.finish_singles();
    let entries = entries.into_iter().map(|(_, entry)| entry).collect();
    Ok(Listing { entries, truncated, unreadable: unreadable.finish(None) })
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use stigmer_core::file::FileKind;
    use stigmer_core::{ErrorCode, FilePath};

    use super::super::stop::StopOnDrop;
    use super::*;

    fn list_directory(root: &Root, request: ListDirectory) -> Result<Listing> {
        super::list_directory(root, request, &Stop::default())
    }

    fn world(names: &[&str]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, *name).unwrap();
        }
        let root = Root::open(directory.path(), None).unwrap();
        (directory, root)
    }

    fn list(root: &Root, request: ListDirectory) -> (Vec<String>, bool) {
        let listing = list_directory(root, request).unwrap();
        let name = |entry: DirectoryEntry| entry.path.to_string_lossy().into_owned();
        (listing.entries.into_iter().map(name).collect(), listing.truncated)
    }

    #[test]
    fn lists_as_deep_as_asked_sorted_by_bytes() {
        let (_directory, root) = world(&["a/b/c", "a.txt", "a/x", "Z", ".hidden"]);
        let depth = |depth| ListDirectory { depth, ..ListDirectory::default() };
        assert_eq!(list(&root, depth(0)).0, [".hidden", "Z", "a", "a.txt"]);
        assert_eq!(list(&root, depth(1)).0, [".hidden", "Z", "a", "a.txt"]);
        assert_eq!(list(&root, depth(2)).0, [".hidden", "Z", "a", "a.txt", "a/b", "a/x"]);
        let all = [".hidden", "Z", "a", "a.txt", "a/b", "a/b/c", "a/x"];
        assert_eq!(list(&root, depth(u32::MAX)).0, all);
        let beneath = ListDirectory { path: "./a".into(), ..depth(9) };
        assert_eq!(list(&root, beneath).0, ["a/b", "a/b/c", "a/x"]);
    }

    #[test]
    fn the_limit_keeps_the_first_and_says_if_there_are_more() {
        let (_directory, root) = world(&["c", "a", "d/e", "b"]);
        let limit =
            |limit| ListDirectory { depth: 9, limit: Some(limit), ..ListDirectory::default() };
        assert_eq!(list(&root, limit(0)), (vec![], true));
        assert_eq!(list(&root, limit(2)), (vec!["a".into(), "b".into()], true));
        assert!(list(&root, limit(4)).1);
        assert!(!list(&root, limit(5)).1);
        assert!(!list(&root, limit(usize::MAX)).1);
    }

    #[test]
    fn a_listing_that_was_given_up_stops_at_the_next_entry() {
        let (_directory, root) = world(&["a"]);
        let stop = StopOnDrop::default().stop();
        assert!(super::list_directory(&root, ListDirectory::default(), &stop).is_err());
    }

    #[test]
    fn a_link_is_listed_and_not_followed() {
        let (directory, root) = world(&["d/f"]);
        symlink("d", directory.path().join("l")).unwrap();
        symlink("/etc", directory.path().join("out")).unwrap();
        let listing =
            list_directory(&root, ListDirectory { depth: 9, ..ListDirectory::default() }).unwrap();
        let kinds: Vec<_> = listing
            .entries
            .iter()
            .map(|entry| (entry.path.as_str().unwrap(), entry.kind))
            .collect();
        let (d, l) = (FileKind::Directory, FileKind::Symlink);
        assert_eq!(kinds, [("d", d), ("d/f", FileKind::File), ("l", l), ("out", l)]);
        assert_eq!(listing.entries[1].size, 3);
        // Named itself, it is followed as long as it stays beneath.
        let path = |path: &str| ListDirectory { path: path.into(), ..ListDirectory::default() };
        assert_eq!(list(&root, path("l")).0, ["l/f"]);
        let code = |name| list_directory(&root, path(name)).unwrap_err().code;
        assert_eq!(code("out"), ErrorCode::OutsideWorkspace);
        assert_eq!(code("d/f"), ErrorCode::NotADirectory);
        assert_eq!(code("nowhere"), ErrorCode::NotFound);
        assert_eq!(code("../x"), ErrorCode::OutsideWorkspace);
    }

    #[test]
    fn a_directory_whose_ignore_file_would_hang_is_listed_but_not_entered() {
        let (directory, root) = world(&["d/f", "e"]);
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        let fifo = |path: &str| {
            let kind = rustix::fs::FileType::Fifo;
            let path = directory.path().join(path);
            rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
        };
        fifo("d/.gitignore");
        let path = FilePath::default();
        let request = ListDirectory { path, depth: 9, ignore_rules: true, limit: None };
        assert_eq!(list(&root, request.clone()).0, ["d", "e"]);
        let unreadable = |depth| {
            let request = ListDirectory { depth, ..request.clone() };
            list_directory(&root, request).unwrap().unreadable
        };
        assert_eq!(unreadable(2), ["d/.gitignore: is a fifo, not a regular file".into()]);
        assert!(unreadable(1).is_empty(), "it would not have been entered");
        fifo(".ignore");
        let error = list_directory(&root, request.clone()).unwrap_err();
        assert_eq!((error.code, error.hint.is_some()), (ErrorCode::NotAFile, true));
        let all = ListDirectory { ignore_rules: false, ..request };
        assert_eq!(list(&root, all).0, [".ignore", "d", "d/.gitignore", "d/f", "e"]);
    }
}
