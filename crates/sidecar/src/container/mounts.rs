//! What an engine makes for mounts is root's: the directories above them, and an empty volume. Commands
//! are to use both.
//!
//! A volume may be used by other containers at the same time, whose commands may put links into it. So
//! no link is followed, and everything is looked at and given away through one descriptor.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, chownat, fstat, openat};
use rustix::process::{Gid, Uid};

use crate::arguments::Init;

/// Something that the engine mounts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    pub(crate) target: PathBuf,
    /// Whether it is a volume of the engine's that can be written.
    pub(crate) is_volume: bool,
}

/// Gives the caller what was made for one mount.
///
/// # Errors
/// What the file system says.
pub(super) fn give(mounted: &Mounted, wanted: &Init) -> io::Result<()> {
    if wanted.uid == 0 {
        return Ok(());
    }
    let to = (Uid::from_raw(wanted.uid), Gid::from_raw(wanted.gid));
    if let Ok(below) = mounted.target.strip_prefix(&wanted.home) {
        give_above(below, wanted, to)?;
    }
    if mounted.is_volume {
        let top = descend(CWD, Path::new("/"), OFlags::RDONLY)?;
        let below = mounted.target.strip_prefix("/").unwrap_or(&mounted.target);
        let top = names(below).try_fold(top, |at, name| descend(at, name, OFlags::RDONLY))?;
        if fstat(&top)?.st_uid == 0 && is_empty(&top)? {
            chownat(top, c"", Some(to.0), Some(to.1), AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(())
}

/// Gives the directories between the home and a mount beneath it, as far as they are the container's
/// own: what lies in another mount is somebody's already.
fn give_above(below: &Path, wanted: &Init, to: (Uid, Gid)) -> io::Result<()> {
    let mut at = descend(CWD, &wanted.home, OFlags::PATH)?;
    let device = fstat(&at)?.st_dev;
    let mut path = wanted.home.clone();
    for name in below.parent().into_iter().flat_map(names) {
        path.push(name);
        at = descend(at, name, OFlags::PATH)?;
        let found = fstat(&at)?;
        if found.st_dev != device || wanted.mounts.iter().any(|mount| mount.target == path) {
            break;
        }
        if found.st_uid == 0 {
            chownat(&at, c"", Some(to.0), Some(to.1), AtFlags::EMPTY_PATH)?;
        }
    }
    Ok(())
}

fn names(path: &Path) -> impl Iterator<Item = &Path> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(Path::new(name)),
        _ => None,
    })
}

fn descend(from: impl std::os::fd::AsFd, name: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(from, name, flags, Mode::empty())?)
}

fn is_empty(directory: &OwnedFd) -> io::Result<bool> {
    for entry in Dir::read_from(directory)? {
        if ![c".", c".."].contains(&entry?.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}
