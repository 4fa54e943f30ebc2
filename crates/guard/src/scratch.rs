//! The private directory of the read-only lane.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, fstat, mkdir, openat, rmdir};

const PREFIX: &str = "stigmer-lane-";

/// How old a directory is that nobody holds because whoever made it was killed: to make and to hold it
/// takes a moment.
const ABANDONED: Duration = Duration::from_secs(60);

/// Entries beside it that are looked at for such ones.
const MOST_LOOKED_AT: usize = 256;

/// A directory that is gone when this is, held as long by a lock that ends with its process.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _held: OwnedFd,
}

impl Scratch {
    /// Makes one that only the caller may enter. `place` is a real path.
    pub(crate) fn make_in(place: &Path) -> io::Result<Self> {
        let path = place.join(format!("{PREFIX}{:016x}", random()?));
        mkdir(&path, Mode::RWXU)?;
        match hold(&path) {
            Ok(held) => Ok(Self { _held: held, path }),
            Err(error) => {
                let _ = rmdir(&path);
                Err(error.into())
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn hold(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = openat(CWD, path, flags, Mode::empty())?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// Removes what those have left that were killed.
fn sweep(place: &Path) {
    let Ok(entries) = std::fs::read_dir(place) else { return };
    for entry in entries.take(MOST_LOOKED_AT).flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let status = entry.metadata().ok();
        let age = status.and_then(|status| status.modified().ok()?.elapsed().ok());
        if age.is_none_or(|age| age < ABANDONED) {
            continue;
        }
        let path = entry.path();
        if let Ok(held) = hold(&path)
            && fstat(&held).is_ok_and(|found| found.st_uid == rustix::process::geteuid().as_raw())
        {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Most commands leave nothing in it.
        if rmdir(&self.path).is_err() {
            let _ = std::fs::remove_dir_all(&self.path);
        }
        if let Some(place) = self.path.parent() {
            sweep(place);
        }
    }
}

/// A random number, from the kernel.
pub(crate) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    // SAFETY: the kernel writes at most as many bytes behind the pointer as there are.
    match unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } {
        8 => Ok(u64::from_ne_bytes(bytes)),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_supervisor_has_left_is_removed_and_what_is_held_stays() {
        let place = tempfile::tempdir().unwrap();
        let past = std::time::SystemTime::now() - 2 * ABANDONED;
        let age = |path: &Path| std::fs::File::open(path).unwrap().set_modified(past).unwrap();
        let left = place.path().join(format!("{PREFIX}left"));
        let (new, other) = (place.path().join(format!("{PREFIX}new")), place.path().join("other"));
        for directory in [&left, &new, &other] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::write(left.join("file"), "").unwrap();
        let held = Scratch::make_in(place.path()).unwrap();
        [&left, &other, &held.path].into_iter().for_each(|path| age(path));
        drop(Scratch::make_in(place.path()).unwrap());
        assert_eq!(
            [&left, &new, &other, &held.path].map(|path| path.exists()),
            [false, true, true, true]
        );
    }

    #[test]
    fn a_private_directory_is_the_callers_alone_and_goes_with_what_is_in_it() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile::tempdir().unwrap();
        for content in [false, true] {
            let scratch = Scratch::make_in(place.path()).unwrap();
            let mode = std::fs::metadata(scratch.path()).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700);
            if content {
                std::fs::create_dir(scratch.path().join("d")).unwrap();
            }
            let path = scratch.path().to_owned();
            drop(scratch);
            assert!(!path.exists());
        }
        assert!(Scratch::make_in(&place.path().join("missing")).is_err());
    }
}
