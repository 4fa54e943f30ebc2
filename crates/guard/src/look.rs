//! Looking at the file system, so that decisions can be tested without one.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, accessat, fstat, openat,
    openat2, readlink,
};
use rustix::io::Errno;

/// What something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
    Link,
    /// A device, socket or FIFO.
    Other,
}

impl From<FileType> for Kind {
    fn from(kind: FileType) -> Self {
        match kind {
            FileType::Directory => Self::Directory,
            FileType::RegularFile => Self::File,
            FileType::Symlink => Self::Link,
            _ => Self::Other,
        }
    }
}

/// A view of a file system.
pub(crate) trait Look {
    /// Where a path leads through all links, and what is there.
    fn real(&self, path: &Path) -> Option<(PathBuf, Kind)>;
    /// What a path is, without following a link at its end.
    fn kind(&self, path: &Path) -> Option<Kind>;
    /// The names in a directory, each with what it is.
    fn names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>>;
    /// Whether the caller may read it.
    fn may_read(&self, path: &Path) -> bool;
}

/// This machine's.
pub(crate) struct Machine;

impl Look for Machine {
    fn real(&self, path: &Path) -> Option<(PathBuf, Kind)> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let kind = |found: &OwnedFd| {
            fstat(found).ok().map(|status| FileType::from_raw_mode(status.st_mode).into())
        };
        // Most paths are real ones, and asking the kernel for the path of a descriptor is what takes long.
        let plain =
            path.is_absolute() && path.components().all(|part| part != Component::ParentDir);
        if plain {
            match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Ok(found) => return Some((path.components().collect(), kind(&found)?)),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return None,
                Err(_) => {}
            }
        }
        let found = openat(CWD, path, flags, Mode::empty()).ok()?;
        path_of(&found).and_then(|path| Some((path, kind(&found)?)))
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        let status = rustix::fs::lstat(path).ok()?;
        Some(FileType::from_raw_mode(status.st_mode).into())
    }

    fn names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = openat(CWD, path, flags, Mode::empty()).ok()?;
        let mut names = Vec::new();
        for entry in Dir::new(directory).ok()? {
            let entry = entry.ok()?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let status = rustix::fs::lstat(path.join(&name)).ok()?;
                    FileType::from_raw_mode(status.st_mode)
                }
                kind => kind,
            };
            names.push((name, kind.into()));
        }
        Some(names)
    }

    fn may_read(&self, path: &Path) -> bool {
        accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).is_ok()
    }
}

/// Where a descriptor leads.
pub(crate) fn path_of(descriptor: &OwnedFd) -> Option<PathBuf> {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    let path = PathBuf::from(OsString::from_vec(readlink(link, Vec::new()).ok()?.into_bytes()));
    path.is_absolute().then_some(path)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A file system of paths: those that end in `/` are directories, `a -> b` is a link.
    pub(crate) struct Fake {
        entries: BTreeMap<PathBuf, (Kind, Option<PathBuf>)>,
        unreadable: Vec<PathBuf>,
    }

    impl Fake {
        pub(crate) fn new(lines: &[&str]) -> Self {
            let mut entries = BTreeMap::from([("/".into(), (Kind::Directory, None))]);
            for line in lines {
                let (path, target) =
                    line.split_once(" -> ").map_or((*line, None), |(p, t)| (p, Some(t)));
                let kind = match target {
                    Some(_) => Kind::Link,
                    None if path.ends_with('/') => Kind::Directory,
                    None => Kind::File,
                };
                let path = PathBuf::from(path.trim_end_matches('/'));
                for parent in path.ancestors().skip(1) {
                    entries.entry(parent.to_owned()).or_insert((Kind::Directory, None));
                }
                entries.insert(path, (kind, target.map(PathBuf::from)));
            }
            Self { entries, unreadable: Vec::new() }
        }

        pub(crate) fn without(mut self, path: &str) -> Self {
            self.unreadable.push(path.into());
            self
        }
    }

    impl Look for Fake {
        fn real(&self, path: &Path) -> Option<(PathBuf, Kind)> {
            let mut real = PathBuf::from("/");
            for part in path.components().skip(1) {
                if part == std::path::Component::ParentDir {
                    real.pop();
                    continue;
                }
                real.push(part);
                if let Some((_, Some(target))) = self.entries.get(&real) {
                    real = self.real(&real.parent()?.join(target))?.0;
                }
            }
            let kind = self.entries.get(&real)?.0;
            Some((real, kind))
        }

        fn kind(&self, path: &Path) -> Option<Kind> {
            let (parent, _) = self.real(path.parent()?)?;
            Some(self.entries.get(&parent.join(path.file_name()?))?.0)
        }

        fn names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>> {
            (self.entries.get(path)?.0 == Kind::Directory).then(|| {
                let beneath = self.entries.iter().filter(|(entry, _)| entry.parent() == Some(path));
                beneath
                    .map(|(entry, (kind, _))| (entry.file_name().unwrap().into(), *kind))
                    .collect()
            })
        }

        fn may_read(&self, path: &Path) -> bool {
            !self.unreadable.iter().any(|hidden| hidden == path)
        }
    }
}
