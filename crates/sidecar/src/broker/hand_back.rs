//! What root made in the workspace becomes the caller's.
//!
//! Others write to the workspace at the same time, and may want root to give them what is not
//! theirs. So everything is looked at and given away through one descriptor, no link is followed, no
//! other file system is entered, and a file with names elsewhere is left as it is.

use std::collections::HashMap;
use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, StatxFlags, chmod, chownat, fstat, openat,
    statx,
};
use rustix::process::{Gid, Resource, Rlimit, Uid, getrlimit, setrlimit};

use super::Owner;

/// Directories in directories that are held open, since each takes a descriptor. Of those beneath only
/// the last is; the others are found again by their children.
const MAX_OPEN: usize = 64;

/// Files with several names that are kept in mind.
const MAX_LINKED: usize = 1 << 16;

/// The kernel notes changes by a clock that is behind by up to this.
const CLOCK_TICK: Duration = Duration::from_millis(20);

/// The bits of a mode that make a program its owner's or its group's, and all but the file's type.
const SET_ID: u32 = 0o6000;
const PERMISSIONS: u32 = 0o7777;

/// Gives the owner whatever in the workspace is root's and changed since, or somebody else's and was
/// made since. What of others' only changed may be that of a user of this machine; it stays theirs, but
/// gives nobody their rights.
pub(super) fn hand_back(owner: &Owner, since: SystemTime) {
    if owner.uid == 0 {
        return;
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let Ok(root) = openat(CWD, &owner.root, flags, Mode::empty()) else { return };
    let Ok(stat) = fstat(&root) else { return };
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = setrlimit(Resource::Nofile, raised);
    let since = since.checked_sub(CLOCK_TICK).unwrap_or(UNIX_EPOCH);
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut walk = Walk {
        device: stat.st_dev,
        since: (since.as_secs(), since.subsec_nanos()),
        to: (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid)),
        linked: HashMap::new(),
    };
    walk.give(&root, &stat);
    walk.walk(root, &stat);
}

/// Takes its user's and group's rights from a file that stays theirs: outside the container it would
/// give them to whoever runs it. Giving a file away does so by itself.
fn keep_harmless(found: &OwnedFd, stat: &Stat) {
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_file && stat.st_mode & SET_ID != 0 {
        // Of a descriptor that only names a file the mode cannot be changed otherwise.
        let name = format!("/proc/self/fd/{}", found.as_raw_fd());
        let _ = chmod(name, Mode::from_raw_mode(stat.st_mode & !SET_ID & PERMISSIONS));
    }
}

struct Walk {
    device: u64,
    since: (u64, u32),
    to: (Uid, Gid),
    /// Files with several names: how many of them were seen.
    linked: HashMap<u64, libc::nlink_t>,
}

/// A directory on the way to where the walk is.
struct Level {
    /// Nothing if it is too deep to be held open.
    open: Option<Dir>,
    number: u64,
    /// Behind the entry that was read last.
    next: i64,
}

impl Level {
    fn new(open: Dir, stat: &Stat) -> Self {
        Self { open: Some(open), number: stat.st_ino, next: 0 }
    }

    /// Opens it again, by one of its own; nothing if that was moved meanwhile.
    fn open_by(&mut self, child: &Dir) -> Option<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = openat(child.fd().ok()?, c"..", flags, Mode::empty()).ok()?;
        if fstat(&parent).ok()?.st_ino != self.number {
            return None;
        }
        let mut parent = Dir::new(parent).ok()?;
        parent.seek(self.next).ok()?;
        self.open = Some(parent);
        Some(())
    }
}

impl Walk {
    fn walk(&mut self, root: OwnedFd, stat: &Stat) {
        let Ok(top) = Dir::new(root) else { return };
        let mut way = vec![Level::new(top, stat)];
        while let Some(level) = way.last_mut() {
            let Some(directory) = &mut level.open else {
                // The way back to it is lost.
                way.pop();
                continue;
            };
            let Some(Ok(entry)) = directory.read() else {
                let done = way.pop().and_then(|level| level.open);
                if let (Some(child), Some(above @ Level { open: None, .. })) =
                    (done, way.last_mut())
                {
                    let _ = above.open_by(&child);
                }
                continue;
            };
            level.next = entry.offset();
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let Ok(parent) = directory.fd() else { continue };
            let Some(below) = self.entry(parent, name) else { continue };
            if way.len() > MAX_OPEN {
                way.last_mut().into_iter().for_each(|level| level.open = None);
            }
            way.push(below);
        }
    }

    /// Gives one entry away; returns it for the walk if it is a directory.
    fn entry(&mut self, parent: impl AsFd, name: &CStr) -> Option<Level> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let found = openat(&parent, name, flags, Mode::empty()).ok()?;
        let stat = fstat(&found).ok()?;
        if stat.st_dev != self.device {
            return None;
        }
        self.give(&found, &stat);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return None;
        }
        // The same directory, opened for reading.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = Dir::new(openat(&found, c".", flags, Mode::empty()).ok()?).ok()?;
        Some(Level::new(open, &stat))
    }

    fn give(&mut self, found: &OwnedFd, stat: &Stat) {
        let changed = (
            u64::try_from(stat.st_ctime).unwrap_or_default(),
            u32::try_from(stat.st_ctime_nsec).unwrap_or_default(),
        );
        let (uid, gid) = (self.to.0.as_raw(), self.to.1.as_raw());
        if changed < self.since || (stat.st_uid, stat.st_gid) == (uid, gid) {
            return;
        }
        let is_roots = stat.st_uid == 0 || (stat.st_uid != uid && self.is_new(found));
        if !is_roots || !self.all_names_seen(stat) {
            return keep_harmless(found, stat);
        }
        let _ = chownat(found, c"", Some(self.to.0), Some(self.to.1), AtFlags::EMPTY_PATH);
    }

    /// Whether something was made since, as far as the file system can tell.
    fn is_new(&self, found: &OwnedFd) -> bool {
        let about = statx(found, c"", AtFlags::EMPTY_PATH, StatxFlags::BTIME);
        about.is_ok_and(|about| {
            let made = (about.stx_btime.tv_sec.cast_unsigned(), about.stx_btime.tv_nsec);
            about.stx_mask & StatxFlags::BTIME.bits() != 0 && made >= self.since
        })
    }

    /// Whether a file has no name outside the workspace: somebody may have linked to one of root's
    /// files to be given it.
    fn all_names_seen(&mut self, stat: &Stat) -> bool {
        let names = stat.st_nlink;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || names <= 1 {
            return true;
        }
        if self.linked.len() >= MAX_LINKED && !self.linked.contains_key(&stat.st_ino) {
            return false;
        }
        let seen = self.linked.entry(stat.st_ino).or_default();
        *seen += 1;
        *seen >= names
    }
}
