//! Following a path component by component, without ever asking the kernel to follow a link.

use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC};
use rustix::io::Errno;
use stigmer_core::file::FileKind;
use stigmer_core::limits::MAX_SYMLINKS;

use super::{kind_of, owned, path};

/// What becomes of a link at a path's end; links before the end are always followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Links {
    /// It is followed.
    Follow,
    /// It is what the path names.
    KeepLast,
}

/// Why a path cannot be followed.
#[derive(Debug)]
pub(super) enum ResolveError {
    /// It leads out of the root, or through a magic link.
    Outside,
    /// More than [`MAX_SYMLINKS`] links, most likely a circle.
    TooManyLinks,
    /// The kernel says so.
    Io(Errno),
}

impl From<Errno> for ResolveError {
    fn from(errno: Errno) -> Self {
        Self::Io(errno)
    }
}

/// Where a path ends.
#[derive(Debug)]
pub(crate) enum End {
    /// In a directory that was passed through: the root itself, or one reached by `..`.
    Directory(OwnedFd),
    /// At a name.
    Entry {
        /// The directory that holds the name, opened with `O_PATH`.
        directory: OwnedFd,
        /// One component.
        name: OsString,
        /// What has the name, opened with `O_PATH`; `None` if nothing has.
        object: Option<OwnedFd>,
    },
}

/// A walk beneath a root.
///
/// Every directory that was entered stays open on a stack, so `..` goes back to where the walk came
/// from and never asks the kernel for a parent: a directory that is moved meanwhile cannot lead
/// above the root.
pub(super) struct Walk<'a> {
    base: BorrowedFd<'a>,
    names: [Option<&'a Path>; 2],
    stack: Vec<OwnedFd>,
    /// The components still to go, the next one last.
    pending: Vec<OsString>,
    links: usize,
    make_directories: bool,
}

const LOOK: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl<'a> Walk<'a> {
    /// A walk from `base`, of which `names` are the absolute paths.
    pub(super) fn new(base: BorrowedFd<'a>, names: [Option<&'a Path>; 2]) -> Self {
        let (stack, pending) = (Vec::new(), Vec::new());
        Self { base, names, stack, pending, links: 0, make_directories: false }
    }

    /// Makes the directories that are missing on the way.
    pub(super) fn making_directories(mut self) -> Self {
        self.make_directories = true;
        self
    }

    /// Walks to whatever is at the end.
    pub(super) fn object_at(self, path: &Path, links: Links) -> Result<OwnedFd, ResolveError> {
        match self.end_of(path, links)? {
            End::Directory(object) | End::Entry { object: Some(object), .. } => Ok(object),
            End::Entry { object: None, .. } => Err(Errno::NOENT.into()),
        }
    }

    /// Walks to a directory, making it if the walk makes directories.
    pub(super) fn directory_at(mut self, path: &Path) -> Result<OwnedFd, ResolveError> {
        self.push(path);
        while let Some(name) = self.pending.pop() {
            self.enter(name)?;
        }
        self.into_top()
    }

    /// Walks to the end of a path, which may be missing.
    pub(super) fn end_of(mut self, path: &Path, links: Links) -> Result<End, ResolveError> {
        self.push(path);
        while let Some(name) = self.pending.pop() {
            if !self.pending.is_empty() || name == ".." {
                self.enter(name)?;
                continue;
            }
            let object = match self.look(&name) {
                Ok(object) => object,
                Err(Errno::NOENT) => {
                    return Ok(End::Entry { directory: self.into_top()?, name, object: None });
                }
                Err(errno) => return Err(errno.into()),
            };
            let is_link = kind_of(&rustix::fs::fstat(&object)?) == FileKind::Symlink;
            if !is_link || links == Links::KeepLast {
                return Ok(End::Entry { directory: self.into_top()?, name, object: Some(object) });
            }
            self.follow(&object)?;
        }
        Ok(End::Directory(self.into_top()?))
    }

    /// See [`Root::link_leads_out`](super::Root::link_leads_out).
    pub(super) fn link_leads_out(mut self, parent: &Path, target: &Path) -> bool {
        if target.is_absolute() {
            let Some(rest) = path::beneath(target, self.names) else { return true };
            self.push(rest);
        } else {
            self.push(target);
            self.push(parent);
        }
        // How deep the text goes beneath the last directory that exists.
        let mut missing = 0_usize;
        while let Some(name) = self.pending.pop() {
            if missing > 0 {
                missing = if name == ".." { missing - 1 } else { missing + 1 };
                continue;
            }
            match self.enter(name) {
                Ok(()) => {}
                Err(ResolveError::Outside) => return true,
                Err(_) => missing = 1,
            }
        }
        false
    }

    fn top(&self) -> BorrowedFd<'_> {
        self.stack.last().map_or(self.base, AsFd::as_fd)
    }

    fn into_top(mut self) -> Result<OwnedFd, ResolveError> {
        match self.stack.pop() {
            Some(directory) => Ok(directory),
            None => Ok(rustix::io::fcntl_dupfd_cloexec(self.base, 0)?),
        }
    }

    /// Puts a path's components before those that are still to go.
    fn push(&mut self, path: &Path) {
        let names = path.components().rev().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
        });
        self.pending.extend(names);
    }

    fn look(&self, name: &OsString) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat(self.top(), name, LOOK, Mode::empty())
    }

    /// Goes into a directory, or follows a link that should lead to one.
    fn enter(&mut self, name: OsString) -> Result<(), ResolveError> {
        if name == ".." {
            return self.stack.pop().map(drop).ok_or(ResolveError::Outside);
        }
        let object = match self.look(&name) {
            Err(Errno::NOENT) if self.make_directories => {
                match rustix::fs::mkdirat(self.top(), &name, Mode::from_raw_mode(0o777)) {
                    // Somebody else was quicker.
                    Ok(()) | Err(Errno::EXIST) => self.look(&name)?,
                    Err(errno) => return Err(errno.into()),
                }
            }
            object => object?,
        };
        match kind_of(&rustix::fs::fstat(&object)?) {
            FileKind::Directory => {
                self.stack.push(object);
                Ok(())
            }
            FileKind::Symlink => self.follow(&object),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// Puts a link's text in its place.
    fn follow(&mut self, link: &OwnedFd) -> Result<(), ResolveError> {
        self.links += 1;
        if self.links > MAX_SYMLINKS {
            return Err(ResolveError::TooManyLinks);
        }
        let target = owned(rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes());
        let on_proc = rustix::fs::fstatfs(link)?.f_type == PROC_SUPER_MAGIC;
        if on_proc && is_magic(&target) {
            return Err(ResolveError::Outside);
        }
        if target.is_absolute() {
            let rest = path::beneath(&target, self.names).ok_or(ResolveError::Outside)?.to_owned();
            self.stack.clear();
            self.push(&rest);
        } else {
            self.push(&target);
        }
        Ok(())
    }
}

/// Whether a link in procfs is a magic one, which leads to an object and not to its text. Their
/// texts are absolute (`/proc/self/root`, `cwd`, `exe`, `fd/3`) or name an object (`pipe:[123]`);
/// those of the ordinary links (`self`, `mounts`) are relative.
fn is_magic(target: &Path) -> bool {
    target.is_absolute() || target.as_os_str().as_encoded_bytes().contains(&b':')
}
