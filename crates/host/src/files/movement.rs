//! Moving and renaming.

use std::path::Path;

use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;
use stigmer_core::file::{FileKind, MovePath};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::{WriteLocks, check_writable};
use crate::Root;
use crate::root::{Spot, kind_of};

/// Moves a path, in one step of the kernel.
///
/// Under the locks of both names: an edit that has read what goes, or what is replaced, would write
/// over what was moved.
pub(crate) fn move_path(root: &Root, locks: &WriteLocks, request: MovePath) -> Result<()> {
    let (from, to) = (root.relative(&request.from)?, root.relative(&request.to)?);
    if to != from && to.starts_with(&from) {
        return Err(into_itself(&from));
    }
    let whole = |name| ToolError::invalid_argument(name, "is the workspace itself");
    let source = root.spot(&from, false)?.ok_or_else(|| whole("from"))?;
    let target = root.spot(&to, false)?.ok_or_else(|| whole("to"))?;
    let _locks = locks.lock_both((&from, &source), (&to, &target))?;
    if request.replace {
        let stat = rustix::fs::statat(&target.directory, &target.name, AtFlags::SYMLINK_NOFOLLOW);
        // A link is replaced itself and not what it leads to.
        if stat.is_ok_and(|stat| kind_of(&stat) == FileKind::File) {
            check_writable(root, &to, &target)?;
        }
    }
    let moved = if request.replace {
        replace(&source, &target)
    } else {
        rename(&source, &target, RenameFlags::NOREPLACE)
    };
    match moved {
        Ok(()) => Ok(()),
        Err(Errno::INVAL) if !request.replace => without_flag(root, &from, &to, &source, &target),
        Err(errno) => Err(failed(root, &from, &to, errno)),
    }
}

fn rename(source: &Spot, target: &Spot, flags: RenameFlags) -> rustix::io::Result<()> {
    let (from, to) = (&source.directory, &target.directory);
    rustix::fs::renameat_with(from, &source.name, to, &target.name, flags)
}

fn replace(source: &Spot, target: &Spot) -> rustix::io::Result<()> {
    let look =
        |spot: &Spot| rustix::fs::statat(&spot.directory, &spot.name, AtFlags::SYMLINK_NOFOLLOW);
    let before = look(source)?;
    rename(source, target, RenameFlags::empty())?;
    // Between two names of one file the kernel's rename does nothing and says nothing. A path moved
    // onto itself must stay, which is the same name in the same directory.
    let parents = (rustix::fs::fstat(&source.directory)?, rustix::fs::fstat(&target.directory)?);
    let one_name = source.name == target.name
        && (parents.0.st_dev, parents.0.st_ino) == (parents.1.st_dev, parents.1.st_ino);
    if !one_name
        && look(source).is_ok_and(|now| (now.st_dev, now.st_ino) == (before.st_dev, before.st_ino))
    {
        rustix::fs::unlinkat(&source.directory, &source.name, AtFlags::empty())?;
    }
    Ok(())
}

/// `EINVAL` is a directory moved beneath itself through a link, or a file system that cannot rename
/// without replacing.
fn without_flag(root: &Root, from: &Path, to: &Path, source: &Spot, target: &Spot) -> Result<()> {
    let look =
        |spot: &Spot| rustix::fs::statat(&spot.directory, &spot.name, AtFlags::SYMLINK_NOFOLLOW);
    if look(target).is_ok() {
        return Err(ToolError::exists(&to.into()));
    }
    let kind = look(source).map(|stat| kind_of(&stat));
    let moved = if kind == Ok(FileKind::Directory) {
        // A directory replaces no file and no directory that has entries, whatever the race.
        rename(source, target, RenameFlags::empty())
    } else {
        let (here, there) = (&source.directory, &target.directory);
        rustix::fs::linkat(here, &source.name, there, &target.name, AtFlags::empty())
            .and_then(|()| rustix::fs::unlinkat(here, &source.name, AtFlags::empty()))
    };
    moved.map_err(|errno| failed(root, from, to, errno))
}

fn failed(root: &Root, from: &Path, to: &Path, errno: Errno) -> ToolError {
    match errno {
        Errno::INVAL => into_itself(from),
        Errno::EXIST | Errno::ISDIR | Errno::NOTDIR | Errno::NOTEMPTY => {
            root.io_error("move to", to, errno)
        }
        Errno::XDEV => {
            let message = format!(
                "{}: cannot move it to {}, which is on another file system",
                from.display(),
                to.display()
            );
            ToolError::new(ErrorCode::InvalidArgument, message)
                .with_detail("path", stigmer_core::ByteString::from(from))
                .with_hint("copy it there and then delete it here")
        }
        _ => root.io_error("move", from, errno),
    }
}

fn into_itself(from: &Path) -> ToolError {
    let reason = format!("{} cannot be moved into itself", from.display());
    ToolError::invalid_argument("to", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_moved_and_nothing_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let state = tempfile::tempdir().unwrap();
        let locks = WriteLocks::new(state.path());
        let at = |path: &str| folder.path().join(path);
        let go = |from: &str, to: &str, replace| {
            let request = MovePath { from: from.into(), to: to.into(), replace };
            move_path(&root, &locks, request).map_err(|error| error.code)
        };
        std::fs::create_dir_all(at("d/e")).unwrap();
        std::fs::write(at("a"), "a").unwrap();
        std::fs::write(at("b"), "b").unwrap();
        assert_eq!(go("a", "b", false), Err(ErrorCode::Exists));
        assert_eq!(go("a", "none/b", false), Err(ErrorCode::NotFound));
        assert_eq!(go("none", "c", false), Err(ErrorCode::NotFound));
        assert_eq!(go("a", "a", false), Err(ErrorCode::Exists));
        assert_eq!(go("a", "a", true), Ok(()));
        assert_eq!(go("a", "b", true), Ok(()));
        assert_eq!(std::fs::read(at("b")).unwrap(), b"a");
        assert_eq!(go("b", "d", true), Err(ErrorCode::IsDirectory));
        assert_eq!(go("d", "b", true), Err(ErrorCode::NotADirectory));
        assert_eq!(go("d", "d/e/f", false), Err(ErrorCode::InvalidArgument));
        std::os::unix::fs::symlink("d/e", at("link")).unwrap();
        assert_eq!(go("d", "link/f", false), Err(ErrorCode::InvalidArgument));
        assert_eq!(go("d", "link/f", true), Err(ErrorCode::InvalidArgument));
        assert_eq!(go("", "x", false), Err(ErrorCode::InvalidArgument));
        assert_eq!(go("b", "../x", false), Err(ErrorCode::OutsideWorkspace));
        assert_eq!(go("link", "moved", false), Ok(()), "the link itself");
        assert!(at("moved").is_symlink() && at("d/e").is_dir());
        assert_eq!(go("d", "new", false), Ok(()));
        assert!(at("new/e").is_dir());
    }

    #[test]
    fn one_of_two_names_of_a_file_can_replace_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        std::fs::write(folder.path().join("a"), "a").unwrap();
        std::fs::hard_link(folder.path().join("a"), folder.path().join("b")).unwrap();
        let request = MovePath { from: "a".into(), to: "b".into(), replace: true };
        let locks = WriteLocks::new(&folder.path().join("state"));
        move_path(&root, &locks, request).unwrap();
        assert!(!folder.path().join("a").exists() && folder.path().join("b").exists());
    }

    #[test]
    fn a_write_protected_file_is_not_replaced() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let locks = WriteLocks::new(&folder.path().join("state"));
        std::fs::write(folder.path().join("a"), "a").unwrap();
        let b = folder.path().join("b");
        std::fs::write(&b, "b").unwrap();
        std::fs::set_permissions(&b, PermissionsExt::from_mode(0o444)).unwrap();
        let request = MovePath { from: "a".into(), to: "b".into(), replace: true };
        let moved = move_path(&root, &locks, request);
        if rustix::process::geteuid().is_root() {
            assert!(moved.is_ok(), "root may");
            return;
        }
        assert_eq!(moved.unwrap_err().code, ErrorCode::PermissionDenied);
        assert_eq!(std::fs::read(b).unwrap(), b"b");
    }

    #[test]
    fn a_move_waits_for_the_writers_of_both_names() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let locks = WriteLocks::new(&folder.path().join("state"));
        for held in ["a", "b"] {
            std::fs::write(folder.path().join("a"), "a").unwrap();
            let spot = root.spot(Path::new(held), false).unwrap().unwrap();
            let lock = locks.lock(Path::new(held), &spot).unwrap();
            std::thread::scope(|scope| {
                let request = MovePath { from: "a".into(), to: "b".into(), replace: true };
                let moving = scope.spawn(|| move_path(&root, &locks, request));
                std::thread::sleep(std::time::Duration::from_millis(100));
                assert!(folder.path().join("a").exists(), "{held} is held");
                drop(lock);
                moving.join().unwrap().unwrap();
            });
            assert!(!folder.path().join("a").exists());
        }
    }
}
