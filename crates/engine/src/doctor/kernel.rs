//! What the kernel can do.

use std::fs;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::process::{PidfdFlags, getpid};
use stigmer_core::Enforced;
use stigmer_guard::{HostLane, Probe};

use super::{Check, NeededFor};

pub(super) fn checks() -> Vec<Check> {
    let mut checks = vec![subreaper(), children(), pidfd(), openat2()];
    checks.extend(lanes(&Probe::take()));
    checks.push(cgroups());
    checks
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

/// Both lanes of auto mode on the host, as the guard itself judges them: a list of its own could differ.
fn lanes(probe: &Probe) -> [Check; 2] {
    [(HostLane::ReadOnly, "read-only lane"), (HostLane::Workspace, "workspace lane")].map(
        |(lane, name)| match probe.level(lane) {
            Ok(level) => Check::ok(name, NeededFor::Auto, enforced(level)),
            Err(refusal) => {
                Check::missing(name, NeededFor::Auto, refusal.to_string(), lane_fix(probe))
            }
        },
    )
}

fn enforced(level: Enforced) -> String {
    let Enforced { landlock, namespaces, scoped_signals } = level;
    let mut found = format!("Landlock {landlock}, seccomp");
    if namespaces {
        found.push_str(", namespaces");
    }
    if !scoped_signals {
        found.push_str(
            "; before Landlock 6 (Linux 6.12) a command that only reads sends no signals",
        );
    }
    found
}

/// What to do about the first thing that a lane lacks. Its commands go to the sandbox meanwhile.
fn lane_fix(probe: &Probe) -> &'static str {
    if probe.level(HostLane::ReadOnly).is_ok() {
        return namespaces_fix();
    }
    if probe.notifications {
        "a kernel of 6.2 or newer with landlock in `cat /sys/kernel/security/lsm` is needed; boot with \
         `lsm=landlock,…` if it is built in and not listed"
    } else {
        "a kernel of 5.5 or newer with CONFIG_SECCOMP_FILTER is needed: `uname -r` shows yours; in a \
         container, run it with `--security-opt seccomp=unconfined`"
    }
}

/// A switch of the kernel: `Some(true)` if the file says 1.
fn switch(path: &str) -> Option<bool> {
    fs::read_to_string(path).ok().map(|text| text.trim() == "1")
}

fn namespaces_fix() -> &'static str {
    if switch("/proc/sys/kernel/unprivileged_userns_clone") == Some(false) {
        "unprivileged user namespaces are switched off: `sysctl -w kernel.unprivileged_userns_clone=1`"
    } else if switch("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == Some(true) {
        "AppArmor restricts user namespaces: \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or give stigmer a profile with the \
         `userns` rule"
    } else {
        "allow user namespaces: `sysctl -w user.max_user_namespaces=15000`; in a container, run it with \
         `--security-opt seccomp=unconfined`"
    }
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

    const ALL: Probe = Probe { landlock: 7, notifications: true, namespaces: None };

    fn statuses(probe: &Probe) -> [Status; 2] {
        lanes(probe).map(|check| check.status)
    }

    #[test]
    fn a_lane_is_there_when_the_guard_says_so_and_else_there_is_a_way_out() {
        assert_eq!(statuses(&ALL), [Status::Ok; 2]);
        for probe in [Probe { landlock: 0, ..ALL }, Probe { notifications: false, ..ALL }] {
            assert_eq!(statuses(&probe), [Status::Missing; 2]);
            assert!(lanes(&probe).iter().all(|check| check.found.contains("is off")));
        }
        let probe = Probe { namespaces: Some("not permitted".into()), ..ALL };
        assert_eq!(statuses(&probe), [Status::Ok, Status::Missing]);
        let [_, workspace] = lanes(&probe);
        assert!(workspace.found.contains("not permitted"), "{workspace:?}");
        assert!(workspace.fix.unwrap().contains("user"));
        let [old, _] = lanes(&Probe { landlock: 3, ..ALL });
        assert!(old.found.contains("sends no signals"), "{old:?}");
    }

    #[test]
    fn the_subreaper_is_left_as_it_was() {
        let before = rustix::process::child_subreaper().unwrap();
        assert_eq!(subreaper().status, Status::Ok);
        assert_eq!(rustix::process::child_subreaper().unwrap(), before);
    }
}
