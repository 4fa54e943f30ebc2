//! Landlock's rules (`landlock(7)`).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, Ruleset, RulesetAttr, Scope,
};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};

use crate::look::Kind;
use crate::roots::{Right, Root};

/// The interface that knows truncation: without it what may be opened for reading could be emptied.
pub(crate) const LEAST: u32 = 3;

/// The interface that keeps signals and abstract sockets within a command.
pub(crate) const SCOPED: u32 = 6;

fn interface(version: u32) -> ABI {
    match version {
        ..=3 => ABI::V3,
        4 => ABI::V4,
        5 => ABI::V5,
        _ => ABI::V6,
    }
}

/// Rules that have no places yet: nothing is allowed. A descriptor, which outlives a fork.
pub(crate) fn begin(version: u32) -> Result<OwnedFd, String> {
    let abi = interface(version);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi));
    let ruleset = match ruleset {
        Ok(ruleset) if version >= SCOPED => ruleset.scope(Scope::from_all(abi)),
        other => other,
    };
    let rules = ruleset.and_then(Ruleset::create).map_err(|error| error.to_string())?;
    Option::<OwnedFd>::from(rules).ok_or_else(|| "Landlock makes no rules".to_owned())
}

fn access(right: Right, kind: Kind, version: u32) -> BitFlags<AccessFs> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let access = match right {
        Right::List => AccessFs::ReadDir.into(),
        Right::Read => read,
        Right::Execute => read | AccessFs::Execute,
        Right::Scratch => AccessFs::from_all(interface(version)) & !AccessFs::Execute,
        Right::Write => AccessFs::from_all(interface(version)),
    };
    if kind == Kind::Directory { access } else { access & AccessFs::from_file(interface(version)) }
}

/// Allows a place. One that is gone meanwhile is left out.
pub(crate) fn allow(rules: &OwnedFd, root: &Root, version: u32) -> Result<(), String> {
    let access = access(root.right, root.kind, version);
    // It was a real path. A link in it means that somebody has changed it.
    allow_access(rules, &root.path, ResolveFlags::NO_SYMLINKS, access)
}

/// Allows a device to be used.
pub(crate) fn allow_device(rules: &OwnedFd, path: &Path, version: u32) -> Result<(), String> {
    let mut access = AccessFs::ReadFile | AccessFs::WriteFile;
    if version >= 5 {
        access |= AccessFs::IoctlDev;
    }
    // It may be a link (`/dev/ptmx`), and nobody else's.
    allow_access(rules, path, ResolveFlags::empty(), access)
}

fn allow_access(
    rules: &OwnedFd,
    path: &Path,
    resolve: ResolveFlags,
    access: BitFlags<AccessFs>,
) -> Result<(), String> {
    if access.is_empty() {
        return Ok(());
    }
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let Ok(place) = openat2(CWD, path, flags, Mode::empty(), resolve) else { return Ok(()) };
    add(rules, &place, access.bits()).map_err(|error| format!("{}: {error}", path.display()))
}

/// Adds a place to rules, also in the process that becomes the command: no allocation, no error in words.
pub(crate) fn add(rules: &OwnedFd, place: &OwnedFd, rights: u64) -> io::Result<()> {
    /// `struct landlock_path_beneath_attr`.
    #[repr(C, packed)]
    struct Attribute {
        allowed_access: u64,
        parent_fd: i32,
    }
    const PATH_BENEATH: libc::c_int = 1;
    let attribute = Attribute { allowed_access: rights, parent_fd: place.as_raw_fd() };
    // SAFETY: the kernel reads the attribute behind the pointer, which lives until it returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            rules.as_raw_fd(),
            PATH_BENEATH,
            &raw const attribute,
            0,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The bits of a right on a directory.
pub(crate) fn bits(right: Right, version: u32) -> u64 {
    access(right, Kind::Directory, version).bits()
}

/// The bits for a directory of terminals.
pub(crate) fn terminal_bits(version: u32) -> u64 {
    let access = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir;
    (if version >= 5 { access | AccessFs::IoctlDev } else { access }).bits()
}

/// Puts rules on this process, for good.
pub(crate) fn restrict(rules: &OwnedFd) -> io::Result<()> {
    // SAFETY: takes two numbers and touches no memory.
    match unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
