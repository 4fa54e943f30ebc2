//! The workspace's root, and the only way to reach what lies beneath it.

mod path;
mod walk;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use stigmer_core::file::{FileKind, FileStat};
use stigmer_core::{ByteString, ErrorCode, FilePath, Result, ToolError, limits};

pub(crate) use walk::{End, Links};
use walk::{ResolveError, Walk};

/// How often openat2 is asked again when a rename elsewhere made it give up (`EAGAIN`); after that
/// the walk, which cannot be disturbed that way, takes over.
const OPENAT2_TRIES: usize = 16;

/// How a path is followed beneath the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resolver {
    /// By the kernel: `openat2(2)` with `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`.
    Openat2,
    /// Component by component, each opened without following links; for kernels without openat2.
    Walk,
}

/// The root directory of a workspace, held open.
///
/// Nothing here ever hands the kernel a path that it could follow out of the root: a path is
/// resolved to a descriptor, and work is done on the descriptor.
#[derive(Debug)]
pub struct Root {
    path: PathBuf,
    /// The path by which the root was opened, if it is another name for `path`.
    alias: Option<PathBuf>,
    directory: OwnedFd,
    resolver: Resolver,
    /// What no operation may change.
    held: Option<Held>,
}

/// Says of a path relative to the root, and without links, whether it is held: nothing there is created,
/// replaced, renamed or deleted, nor given another name.
pub type Held = fn(&Path) -> bool;

/// A name in a directory that is held open: what is created, replaced, renamed or deleted.
#[derive(Debug)]
pub(crate) struct Spot {
    /// The directory, opened with `O_PATH`.
    pub(crate) directory: OwnedFd,
    /// One component, never empty, `.` or `..`.
    pub(crate) name: OsString,
}

impl Root {
    /// Opens a workspace's root; `resolver` `None` takes the best that the kernel has.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `permission_denied`; `not_available` when openat2 is asked
    /// for and the kernel lacks it.
    pub fn open(path: &Path, resolver: Option<Resolver>) -> Result<Self> {
        let named = ByteString::from(path);
        let fail = |error: std::io::Error| ToolError::from_io("open the workspace", &named, &error);
        let canonical = std::fs::canonicalize(path).map_err(fail)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&canonical, flags, Mode::empty())
            .map_err(|errno| fail(errno.into()))?;
        let alias = std::path::absolute(path).ok().filter(|given| *given != canonical);
        let available = openat2_works(directory.as_fd());
        let resolver = match resolver {
            Some(Resolver::Openat2) if !available => {
                return Err(ToolError::not_available("openat2 on this kernel"));
            }
            Some(resolver) => resolver,
            None if available => Resolver::Openat2,
            None => Resolver::Walk,
        };
        Ok(Self { path: canonical, alias, directory, resolver, held: None })
    }

    /// The same, of which a part may not be changed.
    #[must_use]
    pub fn holding(self, held: Held) -> Self {
        Self { held: Some(held), ..self }
    }

    /// The root's absolute path, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a path leads to this directory, and this directory still has its name.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        let (Ok(there), Ok(here)) = (rustix::fs::stat(path), rustix::fs::fstat(&self.directory))
        else {
            return false;
        };
        let link = format!("/proc/self/fd/{}", self.directory.as_raw_fd());
        // The inode's number cannot be given to another one while the directory is held open.
        (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
            && std::fs::read_link(link).is_ok_and(|name| name == self.path)
    }

    /// A caller's path as a path relative to the root, without `.`, `..` and doubled `/`; empty for
    /// the root itself. Purely of the text: no link is followed.
    ///
    /// # Errors
    /// `outside_workspace`, `invalid_argument` (a NUL byte, too long).
    pub fn relative(&self, path: &FilePath) -> Result<PathBuf> {
        if path.as_bytes().contains(&0) {
            return Err(ToolError::invalid_argument("path", "has a NUL byte"));
        }
        if path.len() > limits::MAX_PATH_BYTES {
            let most = limits::MAX_PATH_BYTES;
            let reason = format!("has {} bytes, more than the limit of {most}", path.len());
            return Err(ToolError::invalid_argument("path", reason));
        }
        path::relative(path.as_path(), self.names())
            .ok_or_else(|| ToolError::outside_workspace(path, &self.path.as_path().into()))
    }

    /// Opens a regular file beneath the root for reading; links that stay beneath are followed.
    ///
    /// # Errors
    /// `not_found`, `is_directory`, `not_a_file`, `outside_workspace`, `permission_denied`.
    pub fn open_file(&self, relative: &Path) -> Result<File> {
        // Looked at before it is opened: opening a FIFO or a device for reading has effects.
        let object = self.resolve(relative, Links::Follow)?;
        let stat = self.fstat(relative, &object)?;
        regular(relative, &stat)?;
        let file = self.reopen(relative, &object, &stat, || self.last_place(relative))?;
        Ok(File::from(file))
    }

    /// Opens a file that a listing has just called a regular one, in one step where the kernel
    /// allows it: a search that opens thousands is a tenth quicker. Whoever puts a FIFO or a device
    /// in its place meanwhile sees it opened, not read.
    ///
    /// # Errors
    /// Those of [`Root::open_file`].
    pub(crate) fn open_listed_file(&self, relative: &Path) -> Result<File> {
        if self.resolver == Resolver::Openat2 {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
            if let Ok(file) = openat2(self.base(), relative.as_os_str(), flags) {
                regular(relative, &self.fstat(relative, &file)?)?;
                return Ok(File::from(file));
            }
        }
        // Whatever stood in the way, the careful way tells what it is.
        self.open_file(relative)
    }

    /// Opens a directory beneath the root; links that stay beneath are followed.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `outside_workspace`, `permission_denied`.
    pub fn open_directory(&self, relative: &Path) -> Result<OwnedFd> {
        let object = self.resolve(relative, Links::Follow)?;
        open_child_directory(object.as_fd(), OsStr::new("."))
            .map_err(|errno| self.io_error("open", relative, errno))
    }

    /// Describes a path beneath the root; a link at its end is described itself.
    ///
    /// # Errors
    /// `not_found`, `outside_workspace`.
    pub fn stat(&self, relative: &Path) -> Result<FileStat> {
        let object = self.resolve(relative, Links::KeepLast)?;
        let stat = self.fstat(relative, &object)?;
        let kind = kind_of(&stat);
        let symlink_target = match kind {
            FileKind::Symlink => Some(
                rustix::fs::readlinkat(&object, "", Vec::new())
                    .map_err(|errno| self.io_error("read the link", relative, errno))?
                    .into_bytes()
                    .into(),
            ),
            _ => None,
        };
        Ok(FileStat {
            path: relative.into(),
            kind,
            size: size_of(&stat),
            modified_ms: modified_ms(&stat),
            mode: stat.st_mode & 0o7777,
            symlink_target,
        })
    }

    /// Opens what is at a path with `O_PATH`, whatever it is.
    pub(crate) fn resolve(&self, relative: &Path, links: Links) -> Result<OwnedFd> {
        self.try_resolve(relative, links).map_err(|error| self.resolve_error(relative, error))
    }

    /// The directory that holds a path, its links followed, and the path's last name, which may be
    /// a link or missing; `None` for the root itself.
    pub(crate) fn spot(&self, relative: &Path, make_parents: bool) -> Result<Option<Spot>> {
        let (Some(parent), Some(name)) = (relative.parent(), relative.file_name()) else {
            return Ok(None);
        };
        // By its text first, so that no parents are made of what is held.
        if self.held.is_some_and(|held| held(relative)) {
            return Err(self.is_held(relative, relative));
        }
        let directory = match self.try_resolve(parent, Links::Follow) {
            Err(ResolveError::Io(Errno::NOENT)) if make_parents => {
                let walk = Walk::new(self.base(), self.names()).making_directories();
                walk.directory_at(parent).map_err(|error| self.resolve_error(parent, error))?
            }
            directory => directory.map_err(|error| self.resolve_error(parent, error))?,
        };
        let stat = self.fstat(parent, &directory)?;
        if kind_of(&stat) != FileKind::Directory {
            return Err(ToolError::not_a_directory(&parent.into()));
        }
        self.unless_held(relative, Spot { directory, name: name.to_owned() }).map(Some)
    }

    /// The spot where a path ends after the links at its end: where a file that replaces what the
    /// path leads to must be put. `None` if that is no name in a directory (the root, or `..`).
    pub(crate) fn final_spot(&self, relative: &Path, make_parents: bool) -> Result<Option<Spot>> {
        let Some(spot) = self.spot(relative, make_parents)? else { return Ok(None) };
        match rustix::fs::statat(&spot.directory, &spot.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if kind_of(&stat) == FileKind::Symlink => {}
            Ok(_) | Err(Errno::NOENT) => return Ok(Some(spot)),
            Err(errno) => return Err(self.io_error("look at", relative, errno)),
        }
        let mut walk = Walk::new(self.base(), self.names());
        if make_parents {
            walk = walk.making_directories();
        }
        match walk.end_of(relative, Links::Follow) {
            Ok(End::Entry { directory, name, .. }) => {
                self.unless_held(relative, Spot { directory, name }).map(Some)
            }
            Ok(End::Directory(_)) => Ok(None),
            Err(error) => Err(self.resolve_error(relative, error)),
        }
    }

    /// Opens a directory with `O_PATH`, making it and its parents where they are missing.
    pub(crate) fn make_directories(&self, relative: &Path) -> Result<OwnedFd> {
        if self.held.is_some_and(|held| held(relative)) {
            return Err(self.is_held(relative, relative));
        }
        let walk = Walk::new(self.base(), self.names()).making_directories();
        let made = walk.directory_at(relative);
        let made = made.map_err(|error| self.resolve_error(relative, error))?;
        self.check_held(relative, &made, OsStr::new(""))?;
        Ok(made)
    }

    fn unless_held(&self, relative: &Path, spot: Spot) -> Result<Spot> {
        self.check_held(relative, &spot.directory, &spot.name)?;
        Ok(spot)
    }

    /// Refuses a name in a directory that is held, wherever links on the way have led. The directory is
    /// open already: whoever changes a link now changes nothing.
    fn check_held(&self, relative: &Path, directory: &OwnedFd, name: &OsStr) -> Result<()> {
        let Some(held) = self.held else { return Ok(()) };
        let path = |descriptor: &OwnedFd| std::fs::read_link(proc_path(descriptor));
        let place = path(&self.directory).and_then(|root| {
            let directory = path(directory)?;
            let inner = directory.strip_prefix(root).map_err(std::io::Error::other)?;
            Ok(if name.is_empty() { inner.to_owned() } else { inner.join(name) })
        });
        match place {
            Ok(place) if held(&place) => Err(self.is_held(relative, &place)),
            Ok(_) => Ok(()),
            // Where it is cannot be told, so that it could be anywhere.
            Err(error) => Err(ToolError::from_io("find again", &relative.into(), &error)),
        }
    }

    fn is_held(&self, relative: &Path, place: &Path) -> ToolError {
        let leads = match relative == place {
            true => String::new(),
            false => format!(" leads to {}, which", place.display()),
        };
        let message = format!(
            "{}{leads} cannot be changed in auto mode: other programs run or obey what is there",
            relative.display()
        );
        ToolError::new(ErrorCode::PermissionDenied, message)
            .with_detail("path", ByteString::from(relative))
            .with_hint("change it yourself, or with `--mode local`, which is not confined")
    }

    /// Whether a link with the text `target`, made in the directory `parent`, would lead out. What
    /// is missing on the way is judged by its text.
    pub(crate) fn link_leads_out(&self, parent: &Path, target: &Path) -> bool {
        Walk::new(self.base(), self.names()).link_leads_out(parent, target)
    }

    pub(crate) fn base(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// An error of the operating system about a path.
    pub(crate) fn io_error(&self, operation: &str, relative: &Path, errno: Errno) -> ToolError {
        let path = ByteString::from(relative);
        match errno {
            Errno::NAMETOOLONG => {
                ToolError::invalid_argument("path", format!("{path}: a name in it is too long"))
            }
            Errno::MFILE | Errno::NFILE => ToolError::new(
                ErrorCode::OutOfResources,
                format!("{path}: cannot {operation}: out of file descriptors"),
            )
            .with_hint("raise the limit of open files (`ulimit -n`)"),
            _ => ToolError::from_io(operation, &path, &errno.into()),
        }
    }

    pub(crate) fn outside(&self, relative: &Path) -> ToolError {
        ToolError::outside_workspace(&relative.into(), &self.path.as_path().into())
    }

    /// The absolute paths that name the root.
    fn names(&self) -> [Option<&Path>; 2] {
        [Some(&self.path), self.alias.as_deref()]
    }

    fn try_resolve(&self, relative: &Path, links: Links) -> Result<OwnedFd, ResolveError> {
        if self.resolver == Resolver::Openat2 {
            let text = if relative.as_os_str().is_empty() {
                OsStr::new(".")
            } else {
                relative.as_os_str()
            };
            let mut flags = OFlags::PATH | OFlags::CLOEXEC;
            if links == Links::KeepLast {
                flags |= OFlags::NOFOLLOW;
            }
            for _ in 0..OPENAT2_TRIES {
                match openat2(self.base(), text, flags) {
                    Ok(object) => return Ok(object),
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    // An absolute link that leads back beneath the root is refused by the kernel
                    // and allowed by us; the walk tells it from one that leads out.
                    Err(Errno::XDEV | Errno::LOOP) => break,
                    Err(errno) => return Err(ResolveError::Io(errno)),
                }
            }
        }
        Walk::new(self.base(), self.names()).object_at(relative, links)
    }

    fn resolve_error(&self, relative: &Path, error: ResolveError) -> ToolError {
        match error {
            ResolveError::Outside => self.outside(relative),
            ResolveError::TooManyLinks => ToolError::invalid_argument(
                "path",
                format!(
                    "{} leads through more than {} symbolic links",
                    relative.display(),
                    limits::MAX_SYMLINKS
                ),
            ),
            ResolveError::Io(errno) => self.io_error("open", relative, errno),
        }
    }

    pub(crate) fn fstat(&self, relative: &Path, object: impl AsFd) -> Result<Stat> {
        rustix::fs::fstat(object).map_err(|errno| self.io_error("look at", relative, errno))
    }

    /// Opens the regular file that has a spot's name for reading, with what was known of it when it
    /// was opened; `None` if nothing has the name.
    ///
    /// # Errors
    /// `busy` if the name is a link: it was none when the spot was found.
    pub(crate) fn open_at(&self, relative: &Path, spot: &Spot) -> Result<Option<(File, Stat)>> {
        let look = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let object = match rustix::fs::openat(&spot.directory, &spot.name, look, Mode::empty()) {
            Ok(object) => object,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.io_error("open", relative, errno)),
        };
        let stat = self.fstat(relative, &object)?;
        if kind_of(&stat) == FileKind::Symlink {
            return Err(replaced_meanwhile(relative));
        }
        regular(relative, &stat)?;
        let file = self.reopen(relative, &object, &stat, || {
            let directory = spot.directory.try_clone().map_err(|_| Errno::MFILE)?;
            Ok((directory, spot.name.clone()))
        })?;
        let stat = self.fstat(relative, &file)?;
        Ok(Some((File::from(file), stat)))
    }

    /// Opens for reading the very file that `object` (an `O_PATH` descriptor) stands for; `place`
    /// says where it has a name, for machines without `/proc`.
    fn reopen(
        &self,
        relative: &Path,
        object: &OwnedFd,
        stat: &Stat,
        place: impl FnOnce() -> Result<(OwnedFd, OsString), ResolveError>,
    ) -> Result<OwnedFd> {
        let fail = |errno| self.io_error("open", relative, errno);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if proc_works() {
            return rustix::fs::open(proc_path(object), flags, Mode::empty()).map_err(fail);
        }
        let (directory, name) = place().map_err(|error| self.resolve_error(relative, error))?;
        let file = rustix::fs::openat(&directory, &name, flags | OFlags::NOFOLLOW, Mode::empty())
            .map_err(fail)?;
        let now = self.fstat(relative, &file)?;
        if (now.st_dev, now.st_ino) != (stat.st_dev, stat.st_ino) {
            return Err(replaced_meanwhile(relative));
        }
        Ok(file)
    }

    /// The name at which a walk ends.
    fn last_place(&self, relative: &Path) -> Result<(OwnedFd, OsString), ResolveError> {
        match Walk::new(self.base(), self.names()).end_of(relative, Links::Follow)? {
            End::Entry { directory, name, .. } => Ok((directory, name)),
            End::Directory(_) => Err(Errno::ISDIR.into()),
        }
    }
}

fn replaced_meanwhile(relative: &Path) -> ToolError {
    let message = format!("{}: was replaced while it was opened", relative.display());
    ToolError::new(ErrorCode::Busy, message)
}

/// Opens one directory in another for reading; never a link.
pub(crate) fn open_child_directory(
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty())
}

/// A name for an open descriptor that `open` and `linkat` can follow.
pub(crate) fn proc_path(object: &impl AsRawFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", object.as_raw_fd()))
}

/// Whether `/proc/self/fd` is there; a bare chroot or a minimal container may lack it.
pub(crate) fn proc_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        rustix::fs::statfs("/proc/self/fd")
            .is_ok_and(|found| found.f_type == rustix::fs::PROC_SUPER_MAGIC)
    })
}

/// What a file is.
pub(crate) fn kind_of(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => FileKind::Directory,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => FileKind::Device,
        _ => FileKind::File,
    }
}

pub(crate) fn size_of(stat: &Stat) -> u64 {
    u64::try_from(stat.st_size).unwrap_or_default()
}

fn modified_ms(stat: &Stat) -> i64 {
    let thousandths = i64::try_from(stat.st_mtime_nsec).unwrap_or_default() / 1_000_000;
    stat.st_mtime.saturating_mul(1000).saturating_add(thousandths)
}

/// Refuses what is no regular file.
pub(crate) fn regular(relative: &Path, stat: &Stat) -> Result<()> {
    match kind_of(stat) {
        FileKind::File => Ok(()),
        FileKind::Directory => Err(ToolError::is_directory(&relative.into())),
        kind => Err(ToolError::not_a_file(&relative.into(), kind.name())),
    }
}

fn openat2(base: BorrowedFd<'_>, text: &OsStr, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(base, text, flags, Mode::empty(), beneath)
}

/// Whether the kernel has openat2 and no seccomp filter forbids it.
fn openat2_works(base: BorrowedFd<'_>) -> bool {
    openat2(base, OsStr::new("."), OFlags::PATH | OFlags::CLOEXEC).is_ok()
}

/// The components of a link's text as owned names, `.` left out.
pub(crate) fn owned(text: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(text))
}

#[cfg(test)]
mod tests;
