//! New content beside the old, until it takes the old one's name in one step.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags};
use rustix::io::{Errno, Result};

use crate::root::{Spot, proc_path, proc_works};

/// A file that has no name yet, or a temporary one that goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    spot: &'a Spot,
    file: File,
    temporary: Option<OsString>,
}

impl<'a> Staged<'a> {
    /// Makes an empty file in the spot's directory, with `mode` as the process's umask allows.
    ///
    /// Without a name where the file system can (`O_TMPFILE`): then a kill leaves nothing behind.
    pub(crate) fn new(spot: &'a Spot, mode: u32) -> Result<Self> {
        let mode = Mode::from_raw_mode(mode);
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        if proc_works() {
            match rustix::fs::openat(&spot.directory, ".", flags | OFlags::TMPFILE, mode) {
                Ok(file) => return Ok(Self { spot, file: file.into(), temporary: None }),
                // How file systems and kernels without it say so.
                Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
        }
        let flags = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let name = temporary_name();
        let file = rustix::fs::openat(&spot.directory, &name, flags, mode)?;
        Ok(Self { spot, file: file.into(), temporary: Some(name) })
    }

    /// The file, to be written.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Takes over the permissions of the file that is to be replaced, its access list and its
    /// users' attributes, and its owner if that is allowed. Not setuid and setgid: the kernel too
    /// takes them from a file that is written.
    ///
    /// `source` is the old file, if it can be opened. Beside an access list the group's bits are the
    /// list's mask and not the group's own: without the list they are not given.
    pub(crate) fn take_over(&self, old: &Stat, source: Option<&File>) -> Result<()> {
        let own = rustix::fs::fstat(&self.file)?;
        if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid) {
            let (owner, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            if rustix::fs::fchown(&self.file, Some(owner), Some(group)).is_err() {
                // Who is not root may still give it to another group of theirs. If not, the file
                // stays the writer's own, as with every editor that saves by renaming.
                let _ = rustix::fs::fchown(&self.file, None, Some(group));
            }
        }
        let listed = source.is_some_and(|source| copy_access_list(source, &self.file).is_ok());
        if let Some(source) = source {
            copy_users_attributes(source, &self.file);
        }
        self.set_mode(if listed { old.st_mode } else { old.st_mode & !0o070 })
    }

    /// Sets the permission bits, whatever the umask.
    pub(crate) fn set_mode(&self, mode: u32) -> Result<()> {
        rustix::fs::fchmod(&self.file, Mode::from_raw_mode(mode & 0o777))
    }

    /// Takes the spot's name if nothing has it, else fails with `EXIST`.
    pub(crate) fn create(&mut self) -> Result<()> {
        let Spot { directory, name } = self.spot;
        let Some(temporary) = &self.temporary else { return self.link_as(name) };
        let kept = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(directory, temporary, directory, name, kept) {
            Ok(()) => self.temporary = None,
            // A file system that cannot rename so can usually link; the old name goes on drop.
            Err(Errno::INVAL | Errno::NOSYS) => {
                rustix::fs::linkat(directory, temporary, directory, name, AtFlags::empty())?;
            }
            Err(errno) => return Err(errno),
        }
        Ok(())
    }

    /// Takes the spot's name from whatever has it, a directory excepted. A link is replaced itself.
    pub(crate) fn replace(&mut self) -> Result<()> {
        if self.temporary.is_none() {
            let name = temporary_name();
            self.link_as(&name)?;
            self.temporary = Some(name);
        }
        if let Some(temporary) = &self.temporary {
            let directory = &self.spot.directory;
            rustix::fs::renameat(directory, temporary, directory, &self.spot.name)?;
            self.temporary = None;
        }
        Ok(())
    }

    /// Takes the spot's name whether something has it or not. What is new is not renamed into its
    /// place, so that a watch can tell it from what was replaced.
    pub(crate) fn put(&mut self) -> Result<()> {
        match self.create() {
            Err(Errno::EXIST) => self.replace(),
            created => created,
        }
    }

    fn link_as(&self, name: &OsStr) -> Result<()> {
        let follow = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(CWD, proc_path(&self.file), &self.spot.directory, name, follow)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // If it cannot be removed now, nobody is left who could.
            let _ = rustix::fs::unlinkat(&self.spot.directory, name, AtFlags::empty());
        }
    }
}

const ACCESS_LIST: &str = "system.posix_acl_access";

/// The most that Linux allows for an attribute's value and for the list of their names.
const ATTRIBUTE_BYTES: usize = 64 << 10;

/// Gives a file the access list of another, or none if that has none: a new file may have one from
/// its directory.
fn copy_access_list(from: &File, to: &File) -> Result<()> {
    let mut list = vec![0; ATTRIBUTE_BYTES];
    let done = match rustix::fs::fgetxattr(from, ACCESS_LIST, &mut list[..]) {
        Ok(length) => {
            rustix::fs::fsetxattr(to, ACCESS_LIST, &list[..length], XattrFlags::empty())?;
            return Ok(());
        }
        Err(Errno::NODATA) => rustix::fs::fremovexattr(to, ACCESS_LIST),
        Err(errno) => Err(errno),
    };
    match done {
        // Nothing to take over, or a file system without access lists.
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        done => done,
    }
}

/// Copies what can be copied: a file system need not take them, and nobody's access hangs on them.
fn copy_users_attributes(from: &File, to: &File) {
    let mut names = vec![0; ATTRIBUTE_BYTES];
    let Ok(length) = rustix::fs::flistxattr(from, &mut names[..]) else { return };
    for name in names[..length].split(|byte| *byte == 0) {
        if !name.starts_with(b"user.") {
            continue;
        }
        let (name, mut value) = (OsStr::from_bytes(name), vec![0; ATTRIBUTE_BYTES]);
        if let Ok(length) = rustix::fs::fgetxattr(from, name, &mut value[..]) {
            let _ = rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty());
        }
    }
}

/// A name that nobody has: 16 random hexadecimal digits, hidden, and telling whose it is.
pub(crate) fn temporary_name() -> OsString {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut random = [0; 8];
    // Without randomness the process id and a counter must do; names are made with O_EXCL anyway.
    if getrandom::fill(&mut random).is_err() {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        random = (u64::from(std::process::id()) << 32 | count).to_le_bytes();
    }
    format!(".stigmer-{:016x}.tmp", u64::from_le_bytes(random)).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    /// Both ways: without a name, and with a temporary one.
    fn both(work: impl Fn(&Path, &Spot, Staged<'_>)) {
        for named in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let root = Root::open(folder.path(), None).unwrap();
            let spot = root.spot(Path::new("f"), false).unwrap().unwrap();
            let mut staged = Staged::new(&spot, 0o666).unwrap();
            if named {
                let name = temporary_name();
                let file = File::options()
                    .write(true)
                    .create_new(true)
                    .open(folder.path().join(&name))
                    .unwrap();
                staged = Staged { spot: &spot, file, temporary: Some(name) };
            }
            staged.file().write_all(b"new").unwrap();
            work(folder.path(), &spot, staged);
            let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
            assert!(left.len() <= 1, "{left:?}");
        }
    }

    #[test]
    fn a_new_file_appears_whole_and_never_replaces() {
        both(|folder, spot, mut staged| {
            staged.create().unwrap();
            drop(staged);
            assert_eq!(std::fs::read(folder.join("f")).unwrap(), b"new");
            assert_eq!(Staged::new(spot, 0o666).unwrap().create(), Err(Errno::EXIST));
        });
    }

    #[test]
    fn a_file_is_replaced_with_its_mode() {
        both(|folder, _, mut staged| {
            let path = folder.join("f");
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o705)).unwrap();
            let old = File::open(&path).unwrap();
            staged.take_over(&rustix::fs::fstat(&old).unwrap(), Some(&old)).unwrap();
            staged.replace().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o705);
        });
    }

    /// Owner rw, user 12345 r, the group nothing, mask r, others nothing.
    fn access_list() -> Vec<u8> {
        let none = u32::MAX;
        let entries: [(u16, u16, u32); 5] =
            [(1, 6, none), (2, 4, 12345), (4, 0, none), (16, 4, none), (32, 0, none)];
        let mut list = 2_u32.to_le_bytes().to_vec();
        for (tag, permissions, id) in entries {
            list.extend(tag.to_le_bytes());
            list.extend(permissions.to_le_bytes());
            list.extend(id.to_le_bytes());
        }
        list
    }

    #[test]
    fn access_lists_and_users_attributes_are_kept() {
        both(|folder, _, mut staged| {
            let path = folder.join("f");
            let old = File::create(&path).unwrap();
            let set = |name: &str, value: &[u8]| {
                rustix::fs::fsetxattr(&old, name, value, XattrFlags::empty())
            };
            let (list, attribute) = (set(ACCESS_LIST, &access_list()), set("user.note", b"kept"));
            let stat = rustix::fs::fstat(&old).unwrap();
            staged.take_over(&stat, Some(&old)).unwrap();
            staged.replace().unwrap();
            let new = File::open(&path).unwrap();
            let get = |name: &str| {
                let mut value = vec![0; 1000];
                let length = rustix::fs::fgetxattr(&new, name, &mut value[..]).unwrap();
                value.truncate(length);
                value
            };
            // Not every file system has them.
            if list.is_ok() {
                assert_eq!(get(ACCESS_LIST), access_list());
                assert_eq!(new.metadata().unwrap().permissions().mode() & 0o777, 0o640);
            }
            if attribute.is_ok() {
                assert_eq!(get("user.note"), b"kept");
            }
        });
    }

    #[test]
    fn the_group_gets_nothing_when_the_access_list_is_not_known() {
        both(|folder, _, mut staged| {
            let path = folder.join("f");
            std::fs::write(&path, "old").unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o664)).unwrap();
            staged.take_over(&rustix::fs::stat(&path).unwrap(), None).unwrap();
            staged.replace().unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o604);
        });
    }

    #[test]
    fn nothing_is_left_of_what_is_given_up() {
        both(|folder, _, staged| {
            drop(staged);
            assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
        });
    }
}
