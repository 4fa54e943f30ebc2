//! What the kernel can do.

use std::fs;
use std::io;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{PidfdFlags, getpid};

use super::{Check, NeededFor, Tried, try_program};

/// The Landlock ABI that the read-only lane needs: with 3 comes the right to truncate.
const LANDLOCK_NEEDED: i64 = 3;

pub(super) fn checks() -> Vec<Check> {
    vec![
        subreaper(),
        children(),
        pidfd(),
        openat2(),
        landlock(),
        seccomp(),
        user_namespaces(),
        cgroups(),
    ]
}

fn subreaper() -> Check {
    let name = "subreaper";
    // Set and taken back: reading it alone would pass a filter that refuses to set it.
    let result = rustix::process::child_subreaper().and_then(|before| {
        rustix::process::set_child_subreaper(Some(getpid()))?;
        rustix::process::set_child_subreaper(before)
    });
    match result {
        Ok(()) => Check::ok(name, NeededFor::Local, "prctl(PR_SET_CHILD_SUBREAPER) works"),
        Err(error) => Check::missing(
            name,
            NeededFor::Local,
            format!("prctl(PR_SET_CHILD_SUBREAPER): {error}"),
            "a kernel of 3.4 or newer is needed, and a seccomp filter that lets prctl through: \
             `docker run --security-opt seccomp=unconfined` in a container",
        ),
    }
}

fn children() -> Check {
    let name = "children list";
    let path = format!("/proc/self/task/{}/children", rustix::thread::gettid().as_raw_nonzero());
    match fs::read(&path) {
        Ok(_) => Check::ok(name, NeededFor::Local, "/proc/…/children can be read"),
        Err(error) => Check::missing(
            name,
            NeededFor::Local,
            format!("{path}: {error}"),
            "mount /proc (`mount -t proc proc /proc`); the kernel needs CONFIG_PROC_CHILDREN",
        ),
    }
}

fn pidfd() -> Check {
    let name = "pidfd";
    match rustix::process::pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Check::ok(name, NeededFor::Local, "pidfd_open works"),
        Err(error) => Check::missing(
            name,
            NeededFor::Local,
            format!("pidfd_open: {error}"),
            "a kernel of 5.3 or newer is needed: `uname -r` shows yours",
        ),
    }
}

fn openat2() -> Check {
    let name = "openat2";
    let opened = rustix::fs::openat2(
        rustix::fs::CWD,
        ".",
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
    );
    match opened {
        Ok(_) => Check::ok(name, NeededFor::Convenience, "openat2(RESOLVE_BENEATH) works"),
        Err(error) => Check::warning(
            name,
            NeededFor::Convenience,
            format!("openat2: {error}; paths are followed step by step, which is slower"),
            "a kernel of 5.6 or newer has it: `uname -r` shows yours",
        ),
    }
}

/// The Landlock ABI, by asking for the version only.
fn landlock_abi() -> io::Result<i64> {
    const CREATE_RULESET_VERSION: libc::c_uint = 1;
    // SAFETY: with a null attribute of size 0 and the version flag the call reads no memory and
    // makes no descriptor; it returns a number.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<libc::c_void>(),
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    if abi < 0 { Err(io::Error::last_os_error()) } else { Ok(abi) }
}

fn landlock() -> Check {
    let name = "landlock";
    let fix = "a kernel of 6.2 or newer with landlock in `cat /sys/kernel/security/lsm` is needed; \
               boot with `lsm=landlock,…` if it is built in and not listed";
    match landlock_abi() {
        Ok(abi) if abi >= LANDLOCK_NEEDED => Check::ok(name, NeededFor::Auto, format!("ABI {abi}")),
        Ok(abi) => {
            let found = format!("ABI {abi}, {LANDLOCK_NEEDED} is needed");
            Check::missing(name, NeededFor::Auto, found, fix)
        }
        Err(error) => Check::missing(name, NeededFor::Auto, error.to_string(), fix),
    }
}

fn seccomp() -> Check {
    const GET_ACTION_AVAILABLE: libc::c_uint = 2;
    let name = "seccomp";
    let action: u32 = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the operation reads the four bytes that the pointer is to and changes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_seccomp, GET_ACTION_AVAILABLE, 0, std::ptr::from_ref(&action))
    };
    if result == 0 {
        return Check::ok(name, NeededFor::Auto, "filters with notification");
    }
    Check::missing(
        name,
        NeededFor::Auto,
        format!("seccomp(SECCOMP_RET_USER_NOTIF): {}", io::Error::last_os_error()),
        "a kernel of 5.0 or newer with CONFIG_SECCOMP_FILTER is needed: `uname -r` shows yours",
    )
}

/// A switch of the kernel: `Some(true)` if the file says 1.
fn switch(path: &str) -> Option<bool> {
    fs::read_to_string(path).ok().map(|text| text.trim() == "1")
}

fn user_namespaces() -> Check {
    let name = "user namespaces";
    // In a child: a process of several threads cannot enter one, and must not stay in one.
    let reason = match try_program("unshare", &["--user", "--map-root-user", "true"]) {
        Tried::Worked(_) if rustix::process::geteuid().is_root() => {
            return Check::ok(name, NeededFor::Auto, "one works, for root");
        }
        Tried::Worked(_) => return Check::ok(name, NeededFor::Auto, "an unprivileged one works"),
        Tried::Failed(said) => said,
        Tried::NotThere => {
            let most = fs::read_to_string("/proc/sys/user/max_user_namespaces");
            return match most.ok().and_then(|text| text.trim().parse::<u64>().ok()) {
                Some(most) if most > 0 => Check::warning(
                    name,
                    NeededFor::Auto,
                    "the kernel has them; not tried, for lack of unshare",
                    "install util-linux to try them: `apt-get install util-linux`",
                ),
                _ => Check::missing(
                    name,
                    NeededFor::Auto,
                    "the kernel allows none",
                    "`sysctl -w user.max_user_namespaces=15000`",
                ),
            };
        }
    };
    let fix = if switch("/proc/sys/kernel/unprivileged_userns_clone") == Some(false) {
        "they are switched off: `sysctl -w kernel.unprivileged_userns_clone=1`"
    } else if switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(true) {
        "AppArmor restricts them: `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or \
         give stigmer a profile with the `userns` rule"
    } else {
        "allow them: `sysctl -w user.max_user_namespaces=15000`; in a container, run it with \
         `--security-opt seccomp=unconfined`"
    };
    Check::missing(name, NeededFor::Auto, reason, fix)
}

fn cgroups() -> Check {
    let name = "cgroups";
    let fix = "boot with `systemd.unified_cgroup_hierarchy=1` for version 2";
    if fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false) {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let kill = |directory: &str| {
            fs::exists(format!("/sys/fs/cgroup{directory}/cgroup.kill")).unwrap_or(false)
        };
        // The root group has no cgroup.kill; in a container the own group may look like the root.
        return if kill(own.trim_end_matches('/')) || own == "/" {
            Check::ok(name, NeededFor::Convenience, "version 2")
        } else {
            Check::warning(
                name,
                NeededFor::Convenience,
                "version 2 without cgroup.kill",
                "a kernel of 5.14 or newer has it: `uname -r` shows yours",
            )
        };
    }
    let found = if fs::exists("/sys/fs/cgroup/unified/cgroup.procs").unwrap_or(false) {
        "hybrid: version 1 with version 2 beside it"
    } else if fs::exists("/sys/fs/cgroup/memory").unwrap_or(false) {
        "version 1"
    } else {
        "none mounted"
    };
    Check::warning(name, NeededFor::Convenience, found, fix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn the_subreaper_is_left_as_it_was() {
        let before = rustix::process::child_subreaper().unwrap();
        assert_eq!(subreaper().status, Status::Ok);
        assert_eq!(rustix::process::child_subreaper().unwrap(), before);
    }
}
