//! New content beside the old, until it takes the old one's name in one step.

use std::ffi::{OsStr, OsString};
use std::fs::File;

use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, RenameFlags, Stat, Uid};
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

    /// Takes over the permissions of the file that is to be replaced, and its owner if that is
    /// allowed. Not setuid and setgid: the kernel too takes them from a file that is written.
    pub(crate) fn take_over(&self, old: &Stat) -> Result<()> {
        let own = rustix::fs::fstat(&self.file)?;
        if (own.st_uid, own.st_gid) != (old.st_uid, old.st_gid) {
            let (owner, group) = (Uid::from_raw(old.st_uid), Gid::from_raw(old.st_gid));
            if rustix::fs::fchown(&self.file, Some(owner), Some(group)).is_err() {
                // Who is not root may still give it to another group of theirs. If not, the file
                // stays the writer's own, as with every editor that saves by renaming.
                let _ = rustix::fs::fchown(&self.file, None, Some(group));
            }
        }
        self.set_mode(old.st_mode)
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
            staged.take_over(&rustix::fs::stat(&path).unwrap()).unwrap();
            staged.replace().unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), b"new");
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o705);
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
