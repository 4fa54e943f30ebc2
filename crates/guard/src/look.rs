//! Looking at the file system, so that decisions can be tested without one.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, accessat, fstat, openat,
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
    /// The names in a directory in their order, each with what it is.
    fn names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>>;
    /// The same, unless they are many.
    fn few_names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>> {
        self.names(path)
    }
    /// Some of the names in a directory, in their order: those that are found first.
    fn first_names(&self, path: &Path, most: usize) -> Vec<(OsString, Kind)> {
        let mut names = self.names(path).unwrap_or_default();
        names.truncate(most);
        names
    }
    /// Whether the caller may read it.
    fn may_read(&self, path: &Path) -> bool;
    /// Whether it is the caller's, by no other name if it is a file.
    fn is_own(&self, path: &Path) -> bool;
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
        self.read(path, usize::MAX).map(|(names, _)| names)
    }

    fn first_names(&self, path: &Path, most: usize) -> Vec<(OsString, Kind)> {
        self.read(path, most).map(|(names, _)| names).unwrap_or_default()
    }

    fn may_read(&self, path: &Path) -> bool {
        accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS).is_ok()
    }

    fn is_own(&self, path: &Path) -> bool {
        rustix::fs::lstat(path).is_ok_and(|status| {
            let directory = FileType::from_raw_mode(status.st_mode) == FileType::Directory;
            status.st_uid == rustix::process::geteuid().as_raw()
                && (directory || status.st_nlink == 1)
        })
    }
}

impl Machine {
    /// The names in a directory if there are no more than that.
    fn names_up_to(&self, path: &Path, most: usize) -> Option<Vec<(OsString, Kind)>> {
        self.read(path, most).and_then(|(names, all)| all.then_some(names))
    }

    /// The names in a directory, no more than that, and whether these are all.
    fn read(&self, path: &Path, most: usize) -> Option<(Vec<(OsString, Kind)>, bool)> {
        /// Enough for most directories; longer ones take another call.
        const BUFFER: usize = 8 << 10;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let directory = openat(CWD, path, flags, Mode::empty()).ok()?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut entries = RawDir::new(directory, &mut buffer);
        let mut names = Vec::new();
        let mut all = true;
        while let Some(entry) = entries.next() {
            let entry = entry.ok()?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == most {
                all = false;
                break;
            }
            let name = name.to_owned();
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let status = rustix::fs::lstat(path.join(&name)).ok()?;
                    FileType::from_raw_mode(status.st_mode)
                }
                kind => kind,
            };
            names.push((name, kind.into()));
        }
        names.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Some((names, all))
    }
}

/// What a name is in a list of names in their order.
pub(crate) fn find(names: &[(OsString, Kind)], name: &OsStr) -> Option<Kind> {
    let found = names.binary_search_by(|(known, _)| known.as_os_str().cmp(name)).ok()?;
    Some(names[found].1)
}

/// Links in links that are followed, as the kernel does (`path_resolution(7)`).
const MOST_LINKS: u8 = 40;

/// What a place is, and where it really is if that is not where it was asked for.
#[derive(Clone)]
struct Known {
    kind: Kind,
    real: Option<PathBuf>,
}

/// This machine's, each part of a path looked at once: what lies beneath one directory is asked for many
/// times while a lane is worked out.
pub(crate) struct Remembered {
    known: RefCell<HashMap<Box<[u8]>, Option<Known>>>,
    listed: Vec<(PathBuf, Vec<(OsString, Kind)>)>,
}

impl Default for Remembered {
    fn default() -> Self {
        /// As many places as are asked for; a table that grows touches twice the memory.
        const USUAL: usize = 220;
        Self { known: RefCell::new(HashMap::with_capacity(USUAL)), listed: Vec::new() }
    }
}

impl Remembered {
    /// Lists a directory, given by its real path, of which many names will be asked for, if it has no
    /// more than `most`: a long list takes longer than to ask.
    pub(crate) fn list(&mut self, path: &Path, most: usize) {
        if let Some(names) = Machine.names_up_to(path, most) {
            self.listed.push((path.to_owned(), names));
        }
    }

    /// What a name in a directory is, given by its real path.
    fn kind_in(&self, at: &Path, name: &OsStr, path: &Path) -> Option<Kind> {
        match self.listed.iter().find(|(listed, _)| listed == at) {
            Some((_, names)) => {
                names.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind)
            }
            None => Machine.kind(path),
        }
    }

    fn known(&self, path: &Path, links: u8) -> Option<Known> {
        let bytes = path.as_os_str().as_bytes();
        if let Some(known) = self.known.borrow().get(bytes) {
            return known.clone();
        }
        let known = self.found(path, links);
        // Behind many links a place may look as if it were not there; from elsewhere it may be.
        if known.is_some() || links == MOST_LINKS {
            self.known.borrow_mut().insert(bytes.into(), known.clone());
        }
        known
    }

    fn found(&self, path: &Path, links: u8) -> Option<Known> {
        let Some(parent) = path.parent() else {
            return Some(Known { kind: Kind::Directory, real: None });
        };
        let outer = self.known(parent, links)?;
        if outer.kind != Kind::Directory {
            return None;
        }
        let at = outer.real.as_deref().unwrap_or(parent);
        let Some(name) = path.file_name() else {
            // It ends in `..`.
            let above = at.parent().unwrap_or(at).to_owned();
            return Some(Known { kind: Kind::Directory, real: Some(above) });
        };
        let exact = outer.real.is_none() && is_plain(path);
        let real = if exact { path.to_owned() } else { at.join(name) };
        match self.kind_in(at, name, &real)? {
            Kind::Link => {
                let target = readlink(&real, Vec::new()).ok()?.into_bytes();
                let target = at.join(OsStr::from_bytes(&target));
                let known = self.known(&target, links.checked_sub(1)?)?;
                Some(Known { real: known.real.or(Some(target)), ..known })
            }
            kind => Some(Known { kind, real: (!exact).then_some(real) }),
        }
    }
}

/// Whether a path is written as a real one is: without `.`, empty parts and a slash at its end. (Whoever
/// looks at `..` has left it behind before.)
fn is_plain(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    let odd = |part: &[u8]| part.is_empty() || part == b".";
    bytes.first() == Some(&b'/') && !bytes[1..].split(|byte| *byte == b'/').any(odd)
}

impl Look for Remembered {
    fn real(&self, path: &Path) -> Option<(PathBuf, Kind)> {
        if !path.is_absolute() {
            return Machine.real(path);
        }
        let known = self.known(path, MOST_LINKS)?;
        Some((known.real.unwrap_or_else(|| path.to_owned()), known.kind))
    }

    fn kind(&self, path: &Path) -> Option<Kind> {
        match (path.parent(), path.file_name()) {
            (Some(at), Some(name)) => self.kind_in(at, name, path),
            _ => Machine.kind(path),
        }
    }

    fn names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>> {
        match self.listed.iter().find(|(listed, _)| listed == path) {
            Some((_, names)) => Some(names.clone()),
            None => Machine.names(path),
        }
    }

    fn few_names(&self, path: &Path) -> Option<Vec<(OsString, Kind)>> {
        Some(self.listed.iter().find(|(listed, _)| listed == path)?.1.clone())
    }

    fn first_names(&self, path: &Path, most: usize) -> Vec<(OsString, Kind)> {
        Machine.first_names(path, most)
    }

    fn may_read(&self, path: &Path) -> bool {
        Machine.may_read(path)
    }

    fn is_own(&self, path: &Path) -> bool {
        Machine.is_own(path)
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

    #[test]
    fn what_is_remembered_is_what_the_kernel_finds() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("a/b")).unwrap();
        std::fs::write(base.join("a/b/f"), "").unwrap();
        let link = |target: &str, at: &str| {
            std::os::unix::fs::symlink(target, base.join(at)).unwrap();
        };
        link("a", "up");
        link("../up/./b//", "a/back");
        link("..", "a/b/out");
        link("loop", "loop");
        link(base.join("a/b/f").to_str().unwrap(), "file");
        link("/", "root");
        link("missing", "nowhere");
        let mut look = Remembered::default();
        look.list("/".as_ref(), 256);
        look.list(&base.join("a"), 2);
        look.list(&base, 2);
        assert_eq!(look.listed.len(), 2, "the last is too long");
        for path in [
            "",
            "a",
            "a/",
            "a//b",
            "a/./b",
            "a/b/f",
            "a/b/../b/f",
            "up",
            "up/b/f",
            "up/back",
            "up/back/f",
            "up/back/..",
            "a/b/out",
            "a/b/out/b",
            "a/b/out/../a",
            "loop",
            "loop/x",
            "file",
            "file/x",
            "root",
            "root/..",
            "root/etc",
            "nowhere",
            "missing",
            "missing/..",
            "a/b/f/..",
            "../",
        ] {
            let path = base.join(path);
            assert_eq!(look.real(&path), Machine.real(&path), "{}", path.display());
            // From memory, too.
            assert_eq!(look.real(&path), Machine.real(&path), "{}", path.display());
        }
        for path in ["/", "/..", "//", "/bin", "/lib/", "/proc", "/no/such"] {
            assert_eq!(look.real(path.as_ref()), Machine.real(path.as_ref()), "{path}");
        }
    }

    #[test]
    fn a_place_that_is_too_far_behind_links_is_found_when_it_is_nearer() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        std::fs::write(base.join("0"), "").unwrap();
        for number in 1..60 {
            let [from, to] = [number - 1, number].map(|number| number.to_string());
            std::os::unix::fs::symlink(from, base.join(to)).unwrap();
        }
        let look = Remembered::default();
        assert_eq!(look.real(&base.join("59")), None);
        assert_eq!(look.real(&base.join("39")).unwrap().0, base.join("0"));
    }

    /// A file system of paths: those that end in `/` are directories, `a -> b` is a link.
    pub(crate) struct Fake {
        entries: BTreeMap<PathBuf, (Kind, Option<PathBuf>)>,
        unreadable: Vec<PathBuf>,
        others: Vec<PathBuf>,
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
            Self { entries, unreadable: Vec::new(), others: Vec::new() }
        }

        pub(crate) fn without(mut self, path: &str) -> Self {
            self.unreadable.push(path.into());
            self
        }

        pub(crate) fn of_another(mut self, path: &str) -> Self {
            self.others.push(path.into());
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

        fn is_own(&self, path: &Path) -> bool {
            !self.others.iter().any(|other| other == path)
        }
    }
}
