//! The private directory of the read-only lane.

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, mkdir, rmdir};

/// A directory that is gone when this is.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// Makes one that only the caller may enter. `place` is a real path.
    pub(crate) fn make_in(place: &Path) -> io::Result<Self> {
        let path = place.join(format!("stigmer-lane-{:016x}", random()?));
        mkdir(&path, Mode::RWXU)?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Most commands leave nothing in it.
        if rmdir(&self.0).is_err() {
            let _ = std::fs::remove_dir_all(&self.0);
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
