//! Namespaces of a command's own.

use std::ffi::CStr;
use std::io;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::probe::last_error;

/// Identities, mounts, processes, networks, and queues and memory with names.
pub(crate) const ALL: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC;

/// The caller in the namespace: the same numbers, so that files stay the caller's.
#[derive(Debug)]
pub(crate) struct Identity {
    user: Vec<u8>,
    group: Vec<u8>,
}

impl Identity {
    /// This process's.
    pub(crate) fn own() -> Self {
        let user = rustix::process::geteuid().as_raw();
        let group = rustix::process::getegid().as_raw();
        Self {
            user: format!("{user} {user} 1").into_bytes(),
            group: format!("{group} {group} 1").into_bytes(),
        }
    }

    /// Takes new namespaces, one for users among them, in which this process is who it was. Its children are
    /// in a new process namespace; it is not.
    pub(crate) fn enter(&self, namespaces: libc::c_int) -> io::Result<()> {
        // SAFETY: takes a number and touches no memory.
        if unsafe { libc::unshare(namespaces) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // Without the right to set groups nobody can leave one that forbids something
        // (`user_namespaces(7)`).
        write(c"/proc/self/setgroups", b"deny")?;
        write(c"/proc/self/uid_map", &self.user)?;
        write(c"/proc/self/gid_map", &self.group)
    }
}

fn write(path: &CStr, bytes: &[u8]) -> io::Result<()> {
    let file = openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, bytes)?;
    Ok(())
}

/// Switches the loopback interface of this network namespace on.
pub(crate) fn loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    use std::os::fd::AsRawFd;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all bits of the structure may be zero.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads the request behind the pointer, which lives until it returns.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// How many capabilities the kernel knows.
pub(crate) fn capabilities() -> libc::c_ulong {
    // The first that it does not know ends the list (`prctl(2)`).
    // SAFETY: takes numbers and touches no memory.
    let known =
        |at: &libc::c_ulong| unsafe { libc::prctl(libc::PR_CAPBSET_READ, *at, 0, 0, 0) } >= 0;
    (0..64).take_while(known).count() as libc::c_ulong
}

/// Takes from this process the ways to get capabilities again that it gives up, of so many.
pub(crate) fn forgo_capabilities(count: libc::c_ulong) -> io::Result<()> {
    // SECBIT_NOROOT, SECBIT_NO_SETUID_FIXUP, SECBIT_NO_CAP_AMBIENT_RAISE, each locked
    // (`capabilities(7)`): user 0 is nobody special.
    const NOTHING_SPECIAL: libc::c_ulong = 0b1100_1111;
    let set = |option, value: libc::c_ulong| {
        // SAFETY: takes numbers and touches no memory.
        match unsafe { libc::prctl(option, value, 0, 0, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    set(libc::PR_SET_SECUREBITS, NOTHING_SPECIAL)?;
    (0..count).try_for_each(|capability| set(libc::PR_CAPBSET_DROP, capability))
}

/// Takes the capabilities that this process has. Without new privileges it gets none again.
pub(crate) fn drop_held() -> io::Result<()> {
    // `struct __user_cap_header_struct` and two of `__user_cap_data_struct`, version 3.
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: the kernel reads both arrays, which live until it returns.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Why there are no namespaces for anybody, if that is set (`namespaces(7)`). They may be refused for other
/// reasons, which only a try finds.
pub(crate) fn switched_off() -> Option<String> {
    let most = std::fs::read("/proc/sys/user/max_user_namespaces").ok()?;
    (most.trim_ascii() == b"0").then(|| NOT_PERMITTED.to_owned())
}

const NOT_PERMITTED: &str = "user namespaces are not permitted (`user.max_user_namespaces`, \
                             `kernel.apparmor_restrict_unprivileged_userns`, a container)";

/// Tries whether this user may have namespaces with a `/proc` of their own, in a child.
pub(crate) fn attempt() -> Result<(), String> {
    let identity = Identity::own();
    // The child tells where it failed by its exit code; it makes system calls only, since the program
    // may have threads.
    // SAFETY: see above.
    let child = unsafe { libc::fork() };
    if child < 0 {
        return Err(last_error("fork"));
    }
    if child == 0 {
        let step = identity.enter(ALL).map_or(1, |()| 0);
        // SAFETY: a child of it is in the new process namespace, and may mount its `/proc`.
        let inner = if step == 0 { unsafe { libc::fork() } } else { -1 };
        let code = match (step, inner) {
            (1, _) => 1,
            (_, 0) => match (crate::view::attempt(), loopback_up()) {
                (Err(_), _) => 2,
                (_, Err(_)) => 3,
                _ => 0,
            },
            (_, inner) if inner > 0 => exit_code(inner),
            _ => 4,
        };
        // SAFETY: ends this process without running anything of the program's.
        unsafe { libc::_exit(code) };
    }
    match exit_code(child) {
        0 => Ok(()),
        1 => Err(NOT_PERMITTED.to_owned()),
        2 => Err(
            "mounts cannot be made read-only (Linux 5.12), or `/proc` cannot be mounted (parts of \
                  it are covered, as in a container)"
                .to_owned(),
        ),
        3 => Err("the loopback interface cannot be switched on".to_owned()),
        _ => Err("processes cannot be started in them".to_owned()),
    }
}

fn exit_code(child: libc::pid_t) -> libc::c_int {
    let mut status = 0;
    // SAFETY: the kernel writes a number behind the pointer.
    while unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return -1;
        }
    }
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { -1 }
}
