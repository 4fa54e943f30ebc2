//! The workspace's directory: opened once, and known again.
//!
//! An engine and everybody else take it by its path, and whoever can write above it (a sandbox of a
//! directory that holds it) can put another one there meanwhile. So what is proved and copied is what
//! was opened, and no link is followed to it.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};

/// Which directory it is, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Directory {
    device: u64,
    inode: u64,
}

impl fmt::Display for Directory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.device, self.inode)
    }
}

impl Directory {
    /// The one that has this path now.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        Self::of(&open(path)?)
    }

    fn of(descriptor: &OwnedFd) -> io::Result<Self> {
        let about = rustix::fs::fstat(descriptor)?;
        Ok(Self { device: about.st_dev, inode: about.st_ino })
    }
}

/// A workspace's directory.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    descriptor: OwnedFd,
    directory: Directory,
}

impl Root {
    /// Opens it.
    ///
    /// # Errors
    /// `not_found` if there is none; what the operating system says.
    pub(crate) fn open(path: &ByteString) -> Result<Self> {
        let opened = || -> io::Result<Self> {
            let descriptor = open(path.as_path())?;
            let directory = Directory::of(&descriptor)?;
            Ok(Self { path: path.as_path().to_owned(), descriptor, directory })
        };
        opened().map_err(|error| ToolError::from_io("open", path, &error))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn descriptor(&self) -> &OwnedFd {
        &self.descriptor
    }

    /// Another path of it, for as long as this lives.
    pub(crate) fn own_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.descriptor.as_raw_fd()).into()
    }

    pub(crate) fn directory(&self) -> Directory {
        self.directory
    }

    /// Makes sure that it still has its path.
    ///
    /// # Errors
    /// `unavailable` if another one has.
    pub(crate) fn check(&self) -> Result<()> {
        check(&self.path, self.directory)
    }
}

/// The detail `cause` of a workspace whose directory is another one.
pub(crate) const REPLACED: &str = "directory_replaced";

/// Makes sure that a path is that of a directory.
///
/// # Errors
/// `unavailable` if it is another's, or nobody's.
pub(crate) fn check(path: &Path, directory: Directory) -> Result<()> {
    if Directory::at(path).is_ok_and(|now| now == directory) {
        return Ok(());
    }
    let message = format!("{} is another directory now than the container has", path.display());
    Err(ToolError::new(ErrorCode::Unavailable, message)
        .with_detail("cause", REPLACED)
        .with_detail("path", ByteString::from(path))
        .with_hint("it was moved or made anew: the next command makes a container for the one that is there now"))
}

/// Opens a directory by a path in which no link is followed.
fn open(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut directory = rustix::fs::open("/", flags, Mode::empty())?;
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                directory = rustix::fs::openat(&directory, name, flags, Mode::empty())?;
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_directory_is_known_again_and_no_link_leads_to_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let path = home.join("work");
        std::fs::create_dir(&path).unwrap();
        let root = Root::open(&path.as_path().into()).unwrap();
        root.check().unwrap();
        assert_eq!(Directory::at(&path).unwrap(), root.directory());
        std::fs::rename(&path, home.join("moved")).unwrap();
        assert_eq!(root.check().unwrap_err().code, ErrorCode::Unavailable);
        std::fs::create_dir(&path).unwrap();
        assert_eq!(root.check().unwrap_err().details["cause"], REPLACED);
        std::fs::remove_dir(&path).unwrap();
        symlink(home.join("moved"), &path).unwrap();
        root.check().unwrap_err();
        Root::open(&path.as_path().into()).unwrap_err();
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(home.join("moved"), &path).unwrap();
        root.check().unwrap();
    }
}
