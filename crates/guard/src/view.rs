//! The workspace lane's view of the file system, made of mounts in a namespace of its own.
//!
//! Everything here runs in the process that becomes the command: system calls, on names that
//! were prepared before.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, ftruncate, linkat, mkdirat, openat, openat2,
};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use crate::entry::{Step, at};
use crate::look::Kind;
use crate::masks::{Mount, What};
use crate::repository::{Held, Hold};
use crate::shown::{Shown, innermost};

/// `MOUNT_ATTR_RDONLY` and `MOUNT_ATTR_NOSUID` (`mount_setattr(2)`).
const READ_ONLY: u64 = 1;
const NO_SETUID: u64 = 2;

/// What covers directories and files in the private file system.
const EMPTY: &CStr = c"empty";
const VOID: &CStr = c"void";
const SHUT: &CStr = c"shut";

/// What a file says of itself that stands for a credential. Who looks whether it can be read (`access(2)`)
/// hears that it can, tries, is refused by Landlock, and that is named. `tar` does not open what is empty and
/// everybody's to read.
const LOOKS_READABLE: u32 = 0o400;

/// The same where Landlock allows everything: it is the mode that refuses, and nobody has capabilities.
const IS_SHUT: u32 = 0;

/// How long such a file is said to be: who sees an empty one need not open it.
const SHOWN_LENGTH: u64 = 1;

/// Where a mount comes from.
#[derive(Debug)]
enum Source {
    /// An empty directory.
    Empty,
    /// A file that Landlock refuses.
    Void,
    /// A file that nobody may open.
    Shut,
    /// The same, in place of somebody's socket, which may be gone at any time: then it needs no cover.
    NoSocket,
    /// A directory of the private file system.
    Own(CString),
    /// The same, and it stays writable.
    OwnWritable(CString),
    /// What was there.
    Kept,
    /// What was there, writable.
    Workspace,
}

/// A view, ready to be made.
#[derive(Debug)]
pub(crate) struct View {
    /// Directories and files of the private file system.
    directories: Vec<CString>,
    files: Vec<CString>,
    /// Names of files that stand for credentials, and what they are.
    stand_ins: Vec<(CString, &'static CStr)>,
    open_to_all: Vec<CString>,
    mounts: Vec<(CString, Source)>,
    workspace: CString,
    /// What the workspace was when the view was planned.
    identity: (u64, u64),
    held: Vec<(CString, Hold)>,
    /// The command's terminal, by the name that it has outside.
    terminal: Option<CString>,
    /// Where the private file system lies while the view is made.
    stage: CString,
}

fn text(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

impl View {
    /// Prepares the names for a list of mounts.
    pub(crate) fn new(
        mounts: &[Mount],
        shown: &[Shown],
        homes: &[PathBuf],
        workspace: &Path,
        held: &[Held],
        terminal: Option<&Path>,
        stage: &Path,
    ) -> io::Result<Self> {
        let status = rustix::fs::stat(workspace)?;
        let mut directories = Vec::new();
        let mut files = Vec::new();
        let mut open_to_all = Vec::new();
        let mut own: BTreeMap<usize, PathBuf> = BTreeMap::new();
        let is_parent = |index| mounts.iter().any(|mount| mount.within == Some(index));
        // A home directory that is hidden is there all the same: programs go to it.
        let made: Vec<(usize, &PathBuf)> = homes
            .iter()
            .filter_map(|home| {
                let over = (0..mounts.len()).filter(|index| home.starts_with(&mounts[*index].at));
                let over = over.max_by_key(|index| mounts[*index].at.components().count())?;
                let own = matches!(mounts[over].what, What::Cover(Kind::Directory) | What::Private);
                (own && *home != mounts[over].at).then_some((over, home))
            })
            .collect();
        let places = || mounts.iter().map(|mount| mount.at.as_path()).enumerate();
        let within = |one: &Shown| innermost(&one.directory, places());
        let shown = shown.iter().filter_map(|one| Some((within(one)?, one)));
        let covers = shown.filter(|(over, _)| mounts[*over].what == What::Cover(Kind::Directory));
        let shown: Vec<(usize, &Shown)> = covers.collect();
        // Landlock allows everything there.
        let open = |path: &Path| {
            let private =
                |mount: &Mount| mount.what == What::Private && path.starts_with(&mount.at);
            path.starts_with(workspace) || mounts.iter().any(private)
        };
        let mut sources = Vec::new();
        for (index, mount) in mounts.iter().enumerate() {
            if let Some(outer) = mount.within
                && let Some(base) = own.get(&outer)
            {
                let inner = mount.at.strip_prefix(&mounts[outer].at).unwrap_or(&mount.at);
                let file = matches!(mount.what, What::Kept(kind) | What::Cover(kind) if kind != Kind::Directory);
                let place = base.join(inner);
                make(&place, base, file, &mut directories, &mut files);
            }
            let name = |prefix| PathBuf::from(format!("{prefix}{index}"));
            let source = match &mount.what {
                What::Private => {
                    let name = name("private");
                    open_to_all.push(text(&name)?);
                    own.insert(index, name.clone());
                    Source::OwnWritable(text(&name)?)
                }
                What::Cover(Kind::Directory)
                    if is_parent(index)
                        || made.iter().any(|(over, _)| *over == index)
                        || shown.iter().any(|(over, _)| *over == index) =>
                {
                    let name = name("cover");
                    directories.push(name.clone());
                    own.insert(index, name.clone());
                    Source::Own(text(&name)?)
                }
                What::Cover(Kind::Directory) => Source::Empty,
                What::Cover(Kind::Other) => Source::NoSocket,
                What::Cover(_) if open(&mount.at) => Source::Shut,
                What::Cover(_) => Source::Void,
                What::Kept(_) => Source::Kept,
                What::Workspace => Source::Workspace,
            };
            sources.push((text(&mount.at)?, source));
        }
        for (over, home) in made {
            if let (Some(base), Ok(inner)) = (own.get(&over), home.strip_prefix(&mounts[over].at)) {
                make(&base.join(inner), base, false, &mut directories, &mut files);
            }
        }
        let mut stand_ins = Vec::new();
        for (over, one) in shown {
            let at = &mounts[over].at;
            let (Some(base), Ok(inner)) = (own.get(&over), one.directory.strip_prefix(at)) else {
                continue;
            };
            let (place, is) = (base.join(inner), if open(at) { SHUT } else { VOID });
            if place != *base {
                make(&place, base, false, &mut directories, &mut files);
            }
            for name in &one.files {
                stand_ins.push((text(&place.join(name))?, is));
            }
        }
        let texts =
            |paths: &[PathBuf]| paths.iter().map(|path| text(path)).collect::<io::Result<Vec<_>>>();
        Ok(Self {
            directories: texts(&directories)?,
            files: texts(&files)?,
            stand_ins,
            open_to_all,
            mounts: sources,
            workspace: text(workspace)?,
            identity: (status.st_dev, status.st_ino),
            held: held
                .iter()
                .map(|held| Ok((text(&held.path)?, held.hold)))
                .collect::<io::Result<_>>()?,
            terminal: terminal.map(text).transpose()?,
            stage: text(stage)?,
        })
    }

    /// Makes the view. This process must be the first of its namespaces. Says which step failed.
    pub(crate) fn make(&self, mounts: &Mounts) -> Step<()> {
        let step = |name: &'static str| move |error: io::Error| (name, error);
        // The workspace is copied while it is writable, the rest when it is not any more.
        let workspace = copy(CWD, &self.workspace).map_err(step("copy the workspace's mount"))?;
        let status =
            fstat(&workspace).map_err(io::Error::from).map_err(step("look at the workspace"))?;
        if (status.st_dev, status.st_ino) != self.identity {
            return Err(("find the workspace", io::Error::from_raw_os_error(libc::ESTALE)));
        }
        set(&workspace, NO_SETUID, libc::MS_PRIVATE)
            .map_err(step("change the workspace's mount"))?;
        set_path(c"/", READ_ONLY | NO_SETUID, libc::MS_PRIVATE)
            .map_err(step("make everything read-only"))?;
        let mut workspace = Some(workspace);
        let mut trees = Vec::with_capacity(self.mounts.len());
        for (at, source) in &self.mounts {
            trees.push(match source {
                Source::Kept => Some(copy(CWD, at).map_err(step("copy a mount"))?),
                Source::Workspace => workspace.take(),
                _ => None,
            });
        }
        let private = &mounts.private;
        self.place(private).map_err(step("fill a private file system"))?;
        let found = |name| exact(private, name).map_err(step("find a private directory"));
        let (empty, void, shut) = (found(EMPTY)?, found(VOID)?, found(SHUT)?);
        for ((_, source), tree) in self.mounts.iter().zip(trees.iter_mut()) {
            let own = match source {
                Source::Empty => copy_of(&empty),
                Source::Void | Source::NoSocket => copy_of(&void),
                Source::Shut => copy_of(&shut),
                Source::Own(name) | Source::OwnWritable(name) => copy(private, name),
                Source::Kept | Source::Workspace => continue,
            };
            let own = own.map_err(step("copy a private mount"))?;
            if matches!(source, Source::OwnWritable(_)) {
                allow_writing(&own).map_err(step("change a private mount"))?;
            }
            *tree = Some(own);
        }
        for ((at, source), tree) in self.mounts.iter().zip(trees.iter_mut()) {
            let Some(tree) = tree.take() else { continue };
            let target = match (exact(CWD, at), source) {
                (Err(error), Source::NoSocket) if error.kind() == io::ErrorKind::NotFound => {
                    continue;
                }
                (target, _) => target.map_err(step("find where to mount"))?,
            };
            attach(&tree, &target).map_err(step("mount"))?;
        }
        self.hold().map_err(step("hold the repository in place"))?;
        exact(CWD, c"/proc")
            .and_then(|target| attach(&mounts.proc, &target))
            .map_err(step("mount /proc"))?;
        self.name_terminal().map_err(step("name the terminal"))?;
        // Where there are no terminals there is no place for them.
        exact(CWD, c"/dev/pts")
            .map_or(Ok(()), |target| attach(&mounts.terminals, &target))
            .map_err(step("mount /dev/pts"))
    }

    /// Gives the command's terminal a name that `ttyname(3)` finds. Its own is one of the terminals of outside,
    /// which are not there; containers have theirs as `/dev/console`, too.
    fn name_terminal(&self) -> io::Result<()> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        match (exact(CWD, terminal), exact(CWD, c"/dev/console")) {
            (Ok(terminal), Ok(console)) => attach(&copy_of(&terminal)?, &console),
            // It has no name then.
            _ => Ok(()),
        }
    }

    /// Puts the private file system at the stage, where nobody sees it in the end, since the first private
    /// directory covers it, and fills it.
    fn place(&self, private: &OwnedFd) -> io::Result<()> {
        let stage = exact(CWD, &self.stage)?;
        attach(private, &stage)?;
        // What is made here has the modes that are said here.
        let umask = rustix::process::umask(Mode::empty());
        let filled = self.fill(private);
        rustix::process::umask(umask);
        filled?;
        // Copies of it are as it is. It has no devices, whatever is made in it.
        set(private, READ_ONLY, libc::MS_PRIVATE)
    }

    fn fill(&self, private: &OwnedFd) -> io::Result<()> {
        for directory in &self.open_to_all {
            mkdirat(private, directory, Mode::from_raw_mode(0o1777))?;
        }
        for directory in [EMPTY].into_iter().chain(self.directories.iter().map(CString::as_c_str)) {
            mkdirat(private, directory, Mode::from_raw_mode(0o755))?;
        }
        let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        for file in &self.files {
            openat(private, file, flags, Mode::from_raw_mode(0o444))?;
        }
        for (file, mode) in [(VOID, LOOKS_READABLE), (SHUT, IS_SHUT)] {
            let file = openat(private, file, flags, Mode::from_raw_mode(mode))?;
            ftruncate(&file, SHOWN_LENGTH)?;
        }
        // One file by many names takes a fraction of what many files take.
        for (name, is) in &self.stand_ins {
            linkat(private, *is, private, name, AtFlags::empty())?;
        }
        Ok(())
    }

    /// Holds parts of the workspace. They are found beneath it without following links: its content
    /// may change at any time.
    fn hold(&self) -> io::Result<()> {
        let workspace = exact(CWD, &self.workspace)?;
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        for (path, hold) in &self.held {
            let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let found = openat2(&workspace, path, flags, Mode::empty(), resolve)?;
            let tree = copy_of(&found)?;
            let attributes = match hold {
                Hold::InPlace => NO_SETUID,
                Hold::ReadOnly => READ_ONLY | NO_SETUID,
            };
            set(&tree, attributes, libc::MS_PRIVATE)?;
            attach(&tree, &found)?;
        }
        Ok(())
    }
}

/// Plans a place for a mount in a private directory, with all that leads to it.
fn make(
    place: &Path,
    base: &Path,
    file: bool,
    directories: &mut Vec<PathBuf>,
    files: &mut Vec<PathBuf>,
) {
    let mut above: Vec<&Path> =
        place.ancestors().skip(1).take_while(|path| *path != base).collect();
    above.reverse();
    for directory in above {
        if directory.starts_with(base) && !directories.iter().any(|known| known == directory) {
            directories.push(directory.to_owned());
        }
    }
    let list = if file { files } else { directories };
    if !list.iter().any(|known| known == place) {
        list.push(place.to_owned());
    }
}

/// Something by its real path: a link in it means that somebody has changed it.
fn exact(directory: impl std::os::fd::AsFd, path: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat2(directory, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS)?)
}

/// A copy of the mounts at a path, attached nowhere.
fn copy(directory: impl std::os::fd::AsFd, path: &CStr) -> io::Result<OwnedFd> {
    let found = exact(directory, path)?;
    copy_of(&found)
}

fn copy_of(found: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    Ok(open_tree(found, c"", flags)?)
}

fn attach(tree: &OwnedFd, target: &OwnedFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, c"", target, c"", flags)?)
}

fn set(tree: &OwnedFd, attributes: u64, propagation: libc::c_ulong) -> io::Result<()> {
    let attributes = [attributes, 0, propagation, 0];
    set_at(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH, attributes)
}

fn allow_writing(tree: &OwnedFd) -> io::Result<()> {
    set_at(tree.as_raw_fd(), c"", libc::AT_EMPTY_PATH, [0, READ_ONLY, 0, 0])
}

fn set_path(path: &CStr, attributes: u64, propagation: libc::c_ulong) -> io::Result<()> {
    set_at(libc::AT_FDCWD, path, 0, [attributes, 0, propagation, 0])
}

/// `mount_setattr(2)` on a mount and all beneath it. Attributes are `struct mount_attr`: set, clear,
/// propagation, user namespace.
fn set_at(
    directory: libc::c_int,
    path: &CStr,
    flags: libc::c_int,
    attributes: [u64; 4],
) -> io::Result<()> {
    /// `AT_RECURSIVE` (`linux/fcntl.h`).
    const RECURSIVE: libc::c_int = 0x8000;
    // SAFETY: the kernel reads the path and the attributes, which live until it returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            directory,
            path.as_ptr(),
            flags | RECURSIVE,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn mounted(
    kind: &CStr,
    options: &[(&CStr, &CStr)],
    attributes: MountAttrFlags,
) -> io::Result<OwnedFd> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value)?;
    }
    fsconfig_create(&context)?;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// New file systems, which are the same for every command, and take as long to make as all else of a view. They
/// are nowhere yet.
#[derive(Debug)]
pub(crate) struct Mounts {
    /// In memory, and of nobody else.
    private: OwnedFd,
    /// Of this process namespace.
    proc: OwnedFd,
    /// Nobody else's can be written to.
    terminals: OwnedFd,
}

impl Mounts {
    /// Makes them. This process is in its namespaces. Allocates nothing.
    pub(crate) fn make() -> Step<Self> {
        let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        let private = mounted(c"tmpfs", &[(c"mode", c"0755")], quiet);
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let options = [(c"mode", c"0620"), (c"ptmxmode", c"0666")];
        Ok(Self {
            private: at("make a private file system", private)?,
            proc: at("make /proc", fresh_proc())?,
            terminals: at("make /dev/pts", mounted(c"devpts", &options, attributes))?,
        })
    }
}

/// A `/proc` of this process namespace. Read-only: its knobs are the whole machine's, and user 0 could
/// turn them even without capabilities.
fn fresh_proc() -> io::Result<OwnedFd> {
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    mounted(c"proc", &[], attributes)
}

/// Whether this process, the first of its namespaces, may make a view.
pub(crate) fn attempt() -> io::Result<()> {
    set_path(c"/", READ_ONLY | NO_SETUID, libc::MS_PRIVATE)?;
    attach(&fresh_proc()?, &exact(CWD, c"/proc")?)
}
