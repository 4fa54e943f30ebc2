//! Makes the world, in namespaces that `unshare` made. Runs once, before anything else.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};
use rustix::thread::{CapabilitySet, CapabilitySets};

use crate::{HOME, PROJECT};

/// The places where anybody may write, or where this world's caller lives. All of them are in memory, and
/// looked at before and after each command.
pub(crate) const WATCHED: &[&str] = &["/home", "/tmp", "/var/tmp", "/dev/shm", "/run"];

/// Where the world keeps what is its own: not watched.
const OWN: &str = "/mnt";

/// The workspace as it was made.
const TEMPLATE: &str = "/mnt/template";

/// Where the read-only lane's private directories are made. Nobody else writes there.
pub(crate) const PRIVATE: &str = "/mnt/private";

/// A directory for the caller's sockets, as a login makes it.
pub(crate) const RUNTIME: &str = "/run/user/1000";

/// Mounts, files and tools. Returns the value of `PATH`.
pub(crate) fn make() -> io::Result<String> {
    // A file system in memory notes every time that a file is read, if it is asked to.
    let flags = MountFlags::STRICTATIME | MountFlags::NOSUID | MountFlags::NODEV;
    let memory = |at: &str, mode: &std::ffi::CStr| mount("oracle", at, "tmpfs", flags, mode);
    let rust = std::env::var_os(crate::world::RUST).map(PathBuf::from);
    let rust = rust.filter(|path| path.join("bin/cargo").exists());
    let rustup = rust.as_ref().map(|path| path.join("rustup")).filter(|path| path.exists());
    memory(OWN, c"mode=755")?;
    // Before the places are hidden in which these may lie.
    if let Some(rust) = &rust {
        fs::create_dir("/mnt/rust")?;
        mount_bind(rust, "/mnt/rust")?;
    }
    if let Some(rustup) = &rustup {
        fs::write("/mnt/rustup", "")?;
        mount_bind(rustup, "/mnt/rustup")?;
    }
    fs::create_dir(PRIVATE)?;
    read_only()?;
    for place in WATCHED {
        memory(
            place,
            if *place == "/home" || *place == "/run" { c"mode=755" } else { c"mode=1777" },
        )?;
    }
    fs::create_dir_all(RUNTIME)?;
    fs::set_permissions(RUNTIME, PermissionsExt::from_mode(0o700))?;
    let script = Command::new("bash")
        .args(["-c", include_str!("../fixture/home")])
        .env_clear()
        .envs([("HOME", HOME), ("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")])
        .stdin(Stdio::null())
        .output()?;
    if !script.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&script.stderr).into_owned()));
    }
    let mut path = String::new();
    bind_tools(&mut path)?;
    path.push_str("/usr/local/bin:/usr/bin:/bin");
    // A copy is what there is after each command, too: directories list what is in them in its order.
    let moved = Command::new("mv").args([PROJECT, TEMPLATE]).status()?;
    if !moved.success() {
        return Err(io::Error::other("the workspace cannot be moved"));
    }
    copy_project()?;
    loopback_up()?;
    Ok(path)
}

/// Makes the workspace as it was made, where there is none.
pub(crate) fn copy_project() -> io::Result<()> {
    let copied = Command::new("cp").args(["-a", TEMPLATE, PROJECT]).status()?;
    if copied.success() { Ok(()) } else { Err(io::Error::other("the workspace cannot be copied")) }
}

/// Makes everything that is mounted read-only.
fn read_only() -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    for line in mounts.lines() {
        let at = line.split(' ').nth(1).unwrap_or("/");
        // Processes write their own settings beneath `/proc`, and no others.
        if at == OWN || at.starts_with("/proc") || at.contains('\\') {
            continue;
        }
        let Ok(status) = rustix::fs::statvfs(at) else { continue };
        let mut flags = MountFlags::BIND | MountFlags::RDONLY;
        for (has, keep) in [
            (rustix::fs::StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
            (rustix::fs::StatVfsMountFlags::NODEV, MountFlags::NODEV),
            (rustix::fs::StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        ] {
            if status.f_flag.contains(has) {
                flags |= keep;
            }
        }
        let made = mount_remount(at, flags, c"");
        // Others hold nothing that this user may write.
        if at == "/" {
            made?;
        }
    }
    Ok(())
}

/// Binds what is too large to be copied to where its tool has it.
fn bind_tools(path: &mut String) -> io::Result<()> {
    let home = Path::new(HOME);
    let only = |directory: PathBuf| -> io::Result<PathBuf> {
        let mut entries = fs::read_dir(&directory)?;
        entries
            .next()
            .ok_or_else(|| io::Error::other(directory.display().to_string()))?
            .map(|e| e.path())
    };
    let bind = |from: &Path, to: &Path| -> io::Result<()> {
        mount_bind(from, to)?;
        // Keeps the flags that the source's mount has.
        let _ = mount_remount(to, MountFlags::BIND | MountFlags::RDONLY, c"");
        Ok(())
    };
    let python = only(home.join(".pyenv/versions"))?.join("lib");
    for entry in fs::read_dir(&python)? {
        let entry = entry?;
        bind(&Path::new("/usr/lib").join(entry.file_name()), &entry.path())?;
    }
    path.push_str("/home/ada/.pyenv/shims:/home/ada/.pyenv/bin:");
    if home.join(".nvm").exists() {
        let version = only(home.join(".nvm/versions/node"))?;
        let node = ["/usr/local/bin/node", "/usr/bin/node"].into_iter().map(Path::new);
        let node = node.into_iter().find(|path| path.exists());
        bind(
            &fs::canonicalize(node.unwrap_or(Path::new("/usr/bin/node")))?,
            &version.join("bin/node"),
        )?;
        path.push_str(&format!("{}/bin:", version.display()));
    }
    if Path::new("/mnt/rust").exists() {
        bind(Path::new("/mnt/rust"), &only(home.join(".rustup/toolchains"))?)?;
        if Path::new("/mnt/rustup").exists() {
            bind(Path::new("/mnt/rustup"), &home.join(".cargo/bin/rustup"))?;
        }
        path.push_str("/home/ada/.cargo/bin:");
    }
    Ok(())
}

/// Switches the world's loopback interface on (`netdevice(7)`).
fn loopback_up() -> io::Result<()> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: all zeroes is a value of this structure, which holds numbers only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(libc::IFF_UP).unwrap();
    // SAFETY: the kernel reads the structure behind the pointer, which lives through the call.
    let done = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS,
            &raw const request,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives up what only the making of the world needed: who runs commands is nobody special, as a
/// supervisor is.
pub(crate) fn give_up_capabilities() -> io::Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set()?;
    rustix::thread::set_capabilities(None, none)?;
    Ok(())
}
