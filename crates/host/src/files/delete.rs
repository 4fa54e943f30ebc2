//! Deleting.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, RawDir};
use rustix::io::Errno;
use stigmer_core::file::{DeleteFile, DeleteSummary};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::{WriteLocks, temporary_name};
use crate::Root;
use crate::root::{Spot, open_child_directory};

/// How many directories are held open at once. What lies deeper is first moved up: a process has
/// 1,024 descriptors by default, and a tree can be deeper than that.
const DEEPEST: usize = 64;

/// How often a directory that somebody fills while it is deleted is emptied anew.
const PASSES: usize = 64;

/// Deletes a path; a link itself, never what it leads to.
pub(crate) fn delete_file(
    root: &Root,
    locks: &WriteLocks,
    request: DeleteFile,
) -> Result<DeleteSummary> {
    let relative = root.relative(&request.path)?;
    let deleted = DeleteSummary { was_already_deleted: false };
    let spot = match root.spot(&relative, false) {
        Ok(Some(spot)) => spot,
        Ok(None) => return Err(ToolError::invalid_argument("path", "is the workspace itself")),
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::NotADirectory) => {
            return Ok(DeleteSummary { was_already_deleted: true });
        }
        Err(error) => return Err(error),
    };
    // An edit that has read the file would bring it back. A full disk may have no room for the lock,
    // and deleting is what helps.
    let lock = match locks.lock(&relative, &spot) {
        Err(error) if error.code == ErrorCode::DiskFull => None,
        lock => Some(lock?),
    };
    let removed = remove_leaf(spot.directory.as_fd(), &spot.name);
    // A tree may take longer than a writer of another file waits.
    drop(lock);
    match removed {
        Ok(()) => Ok(deleted),
        Err(Errno::NOENT) => Ok(DeleteSummary { was_already_deleted: true }),
        Err(Errno::NOTEMPTY | Errno::EXIST) if request.recursive => {
            Tree { root, top: None }.remove(&spot, &relative)?;
            Ok(deleted)
        }
        // POSIX allows both for a directory with entries.
        Err(Errno::EXIST) => Err(ToolError::directory_not_empty(&relative.into())),
        Err(errno) => Err(root.io_error("delete", &relative, errno)),
    }
}

/// Removes a name, unless it is a directory with entries (`NOTEMPTY`).
fn remove_leaf(directory: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        // Linux says ISDIR; POSIX, and some file systems, PERM.
        Err(error @ (Errno::ISDIR | Errno::PERM)) => {
            match rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR) {
                Err(Errno::NOTDIR) => Err(error),
                removed => removed,
            }
        }
        removed => removed,
    }
}

struct Tree<'a> {
    root: &'a Root,
    /// The directory that is deleted, to which what lies too deep is moved.
    top: Option<OwnedFd>,
}

impl Tree<'_> {
    fn remove(mut self, spot: &Spot, relative: &Path) -> Result<()> {
        let fail = |errno| self.root.io_error("delete", relative, errno);
        match open_child_directory(spot.directory.as_fd(), &spot.name) {
            Ok(directory) => self.top = Some(directory),
            Err(Errno::NOENT) => return Ok(()),
            // Swapped for a link or a file meanwhile: that goes, not what it leads to.
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return remove_leaf(spot.directory.as_fd(), &spot.name).or_else(gone).map_err(fail);
            }
            Err(errno) => return Err(fail(errno)),
        }
        self.remove_directory(spot.directory.as_fd(), &spot.name, relative, 0)
    }

    fn remove_directory(
        &self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: &Path,
        depth: usize,
    ) -> Result<()> {
        let fail = |errno| self.root.io_error("delete", path, errno);
        for _ in 0..PASSES {
            match open_child_directory(parent, name) {
                Ok(directory) => self.empty(&directory, path, depth)?,
                Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(fail(errno)),
            }
            match remove_leaf(parent, name).or_else(gone) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {}
                removed => return removed.map_err(fail),
            }
        }
        Err(ToolError::directory_not_empty(&path.into())
            .with_hint("something keeps putting files there; stop it, then delete again"))
    }

    /// Removes what is in a directory. May miss what comes while it looks.
    fn empty(&self, directory: &OwnedFd, path: &Path, depth: usize) -> Result<()> {
        let mut buffer = [MaybeUninit::uninit(); 8 << 10];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut full: Vec<OsString> = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT) => break,
                Err(errno) => return Err(self.root.io_error("list", path, errno)),
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            // Spares a call that must fail for a directory.
            let removed = if entry.file_type() == FileType::Directory {
                rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
            } else {
                remove_leaf(directory.as_fd(), name)
            };
            match removed.or_else(gone) {
                Ok(()) => {}
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => full.push(name.to_owned()),
                Err(errno) => {
                    return Err(self.root.io_error("delete", &path.join(name), errno));
                }
            }
            // The names that wait are held in memory; they need not be all of a directory's.
            if full.len() >= 1024 {
                break;
            }
        }
        for name in full {
            let below: PathBuf = path.join(&name);
            if depth < DEEPEST {
                self.remove_directory(directory.as_fd(), &name, &below, depth + 1)?;
            } else if let Some(top) = &self.top {
                rustix::fs::renameat(directory, &name, top, temporary_name())
                    .or_else(gone)
                    .map_err(|errno| self.root.io_error("delete", &below, errno))?;
            }
        }
        Ok(())
    }
}

/// Somebody else deleted it: that is what was wanted.
fn gone(errno: Errno) -> rustix::io::Result<()> {
    if errno == Errno::NOENT { Ok(()) } else { Err(errno) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn workspace() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("w")).unwrap();
        let root = Root::open(&folder.path().join("w"), None).unwrap();
        (folder, root)
    }

    fn delete(root: &Root, path: &str, recursive: bool) -> Result<bool, ErrorCode> {
        let state = tempfile::tempdir().unwrap();
        let locks = WriteLocks::new(state.path());
        delete_file(root, &locks, DeleteFile { path: path.into(), recursive })
            .map(|summary| summary.was_already_deleted)
            .map_err(|error| error.code)
    }

    #[test]
    fn files_links_and_trees_go_and_nothing_else() {
        let (folder, root) = workspace();
        std::fs::create_dir_all(folder.path().join("out/keep")).unwrap();
        std::fs::write(folder.path().join("out/secret"), "").unwrap();
        let w = root.path();
        std::fs::create_dir_all(w.join("d/e/f")).unwrap();
        for n in 0..3000 {
            std::fs::create_dir_all(w.join(format!("d/{n}/x"))).unwrap();
        }
        std::fs::write(w.join("d/e/g\n"), "").unwrap();
        symlink("../../out", w.join("d/e/link")).unwrap();
        symlink("../out", w.join("link")).unwrap();
        assert_eq!(delete(&root, "d", false), Err(ErrorCode::DirectoryNotEmpty));
        assert_eq!(delete(&root, "d/e/f", false), Ok(false), "an empty directory");
        assert_eq!(delete(&root, "d", true), Ok(false));
        assert_eq!(delete(&root, "d", true), Ok(true));
        assert_eq!(delete(&root, "d/e", true), Ok(true));
        assert_eq!(delete(&root, "link/secret", true), Err(ErrorCode::OutsideWorkspace));
        assert_eq!(delete(&root, "link", true), Ok(false));
        assert_eq!(delete(&root, "", true), Err(ErrorCode::InvalidArgument));
        assert_eq!(delete(&root, "../out", true), Err(ErrorCode::OutsideWorkspace));
        assert!(
            folder.path().join("out/secret").exists() && folder.path().join("out/keep").exists()
        );
        assert_eq!(std::fs::read_dir(w).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_is_written_is_waited_for() {
        let (folder, root) = workspace();
        let locks = WriteLocks::new(&folder.path().join("state"));
        std::fs::write(root.path().join("f"), "").unwrap();
        let spot = root.spot(Path::new("f"), false).unwrap().unwrap();
        let lock = locks.lock(Path::new("f"), &spot).unwrap();
        std::thread::scope(|scope| {
            let request = DeleteFile { path: "f".into(), recursive: false };
            let deleting = scope.spawn(|| delete_file(&root, &locks, request));
            std::thread::sleep(std::time::Duration::from_millis(100));
            assert!(root.path().join("f").exists());
            drop(lock);
            deleting.join().unwrap().unwrap();
        });
        assert!(!root.path().join("f").exists());
    }

    #[test]
    fn a_tree_deeper_than_the_limit_of_descriptors_goes() {
        let (_folder, root) = workspace();
        let mut directory = root.make_directories(Path::new("d")).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&directory, "d", rustix::fs::Mode::RWXU).unwrap();
            directory = open_child_directory(directory.as_fd(), OsStr::new("d")).unwrap();
        }
        assert_eq!(delete(&root, "d", true), Ok(false));
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_may_not_be_read_is_named() {
        let (folder, root) = workspace();
        let locks = WriteLocks::new(&folder.path().join("state"));
        let closed = root.path().join("d/closed");
        std::fs::create_dir_all(closed.join("x")).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o0)).unwrap();
        let done = delete_file(&root, &locks, DeleteFile { path: "d".into(), recursive: true });
        if rustix::process::geteuid().is_root() {
            assert!(done.is_ok(), "root may");
            return;
        }
        let error = done.unwrap_err();
        assert_eq!(error.code, ErrorCode::PermissionDenied);
        assert_eq!(error.details["path"], "d/closed");
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    }

    #[test]
    fn a_tree_that_others_change_goes_too() {
        let (_folder, root) = workspace();
        let fill = || {
            for n in 0..200 {
                // It fails when the other thread was quicker; that is the point.
                let _ = std::fs::create_dir_all(root.path().join(format!("d/{}/x", n % 7)));
                let _ = std::fs::write(root.path().join(format!("d/{}/y", n % 5)), "");
            }
        };
        fill();
        std::thread::scope(|scope| {
            let filling = scope.spawn(fill);
            while !filling.is_finished() {
                let done = delete(&root, "d", true);
                assert!(matches!(done, Ok(_) | Err(ErrorCode::DirectoryNotEmpty)), "{done:?}");
            }
        });
        delete(&root, "d", true).unwrap();
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
