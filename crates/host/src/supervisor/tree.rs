//! A command's processes: finding them and ending them.
//!
//! The supervisor is their subreaper (`prctl(2)`, `PR_SET_CHILD_SUBREAPER`): whatever a command's
//! processes do – fork twice, begin a session, close everything – their orphans become the
//! supervisor's children, so that all of them are found beneath it, and none of anybody else's.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, wait};
use stigmer_core::process::Survivor;

/// How long a sweep goes on. What is not gone by then is one that we may not kill or that the
/// kernel holds (state D).
const SWEEP_LIMIT: Duration = Duration::from_secs(5);

/// Sweeps before processes that respawn faster than they are found are slowed down.
const SWEEPS_BEFORE_SLOWING: u32 = 20;

/// A child that ended: its id and wait status.
pub(crate) type Reaped = (Pid, rustix::process::WaitStatus);

/// What is left after taking all children that have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Children {
    /// Some still run.
    Running,
    /// There are none.
    None,
}

/// Takes every child that has ended.
pub(crate) fn reap(mut each: impl FnMut(Reaped)) -> Children {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => each((pid, status)),
            Ok(None) => return Children::Running,
            Err(Errno::INTR) => {}
            Err(_) => return Children::None,
        }
    }
}

/// All processes beneath this one.
pub(crate) fn descendants() -> Vec<Pid> {
    let mut found = Vec::new();
    let mut known = BTreeSet::new();
    let mut open = vec![rustix::process::getpid()];
    let mut complete = true;
    while let Some(parent) = open.pop() {
        for child in children(parent, &mut complete) {
            if known.insert(child.as_raw_nonzero()) {
                found.push(child);
                open.push(child);
            }
        }
    }
    if complete { found } else { descendants_by_parent() }
}

/// The children of one process, from the kernel's own list (`proc(5)`,
/// `/proc/pid/task/tid/children`).
fn children(parent: Pid, complete: &mut bool) -> Vec<Pid> {
    let own = parent == rustix::process::getpid();
    let Ok(tasks) = fs::read_dir(format!("/proc/{}/task", parent.as_raw_nonzero())) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for task in tasks.flatten() {
        match fs::read_to_string(task.path().join("children")) {
            Ok(list) => found.extend(
                list.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)),
            ),
            // Our own list is always there, unless the kernel was built without it.
            Err(_) if own => *complete = false,
            Err(_) => {}
        }
    }
    found
}

/// The same for a kernel without those lists: from every process's parent.
fn descendants_by_parent() -> Vec<Pid> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| Pid::from_raw(name.parse().ok()?));
        let Some(pid) = pid else { continue };
        if let Some(parent) = stat_field(pid, 1).and_then(|text| text.parse::<i32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut found = Vec::new();
    let mut open: Vec<i32> = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(wanted) = open.pop() {
        for (pid, parent) in &parents {
            if *parent == wanted && !found.contains(pid) {
                found.push(*pid);
                open.push(pid.as_raw_nonzero().get());
            }
        }
    }
    found
}

/// A field of `/proc/pid/stat`, counted from 0 behind the name (0 is the state, 1 the parent).
fn stat_field(pid: Pid, field: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    // The name may hold spaces and parentheses; the last parenthesis ends it.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(field).map(str::to_owned)
}

/// Sends a signal to every process of the command.
pub(crate) fn signal_all(signal: Signal) {
    for pid in descendants() {
        let _ = kill_process(pid, signal);
    }
}

/// Kills every process of the command until none is left. Returns what could not be killed.
pub(crate) fn sweep(mut each: impl FnMut(Reaped)) -> Vec<Survivor> {
    let started = Instant::now();
    let own_group = group_of(rustix::process::getpid());
    let mut sweeps = 0_u32;
    loop {
        let living = descendants();
        let mut refused = 0;
        for pid in &living {
            // The group first: the kernel kills it as one, against which no member can fork. Only
            // groups that descendants are in are named, and only descendants can be in those: each
            // lies in a session that the command or a child of it began.
            if let Some(group) = group_of(*pid).filter(|group| Some(*group) != own_group) {
                let _ = kill_process_group(group, Signal::KILL);
            }
            match kill_process(*pid, Signal::KILL) {
                Err(Errno::PERM) => refused += 1,
                Ok(()) if sweeps >= SWEEPS_BEFORE_SLOWING => slow_down(*pid),
                _ => {}
            }
        }
        if reap(&mut each) == Children::None {
            return Vec::new();
        }
        let stuck = !living.is_empty() && refused == living.len() && sweeps > 3;
        if stuck || started.elapsed() > SWEEP_LIMIT {
            return survivors();
        }
        sweeps += 1;
        if sweeps > 3 && sweeps < SWEEPS_BEFORE_SLOWING {
            // Killed processes need a moment to become waitable.
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

/// A process's group; nothing for one of an outer PID namespace, whose number is 0 here and would
/// name our own.
fn group_of(pid: Pid) -> Option<Pid> {
    // SAFETY: `getpgid` takes a number and gives a number, and touches no memory.
    let group = unsafe { libc::getpgid(pid.as_raw_nonzero().get()) };
    (group > 0).then(|| Pid::from_raw(group)).flatten()
}

/// Kills every process beneath this one, which is their subreaper and leads a group of its own, until
/// none is left or what is left cannot be killed. Returns whether none is left.
pub fn kill_descendants() -> bool {
    sweep(|_| {}).is_empty()
}

/// Takes away from a process, and so from every child that it may just be making, the right to make
/// more and the other processors: whoever forks and exits in an endless chain stays where it is
/// until it is found.
fn slow_down(pid: Pid) {
    let raw = pid.as_raw_nonzero().get();
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `prlimit` reads the limit behind the pointer, which lives until it returns, and writes
    // nothing through the null pointer.
    unsafe { libc::prlimit(raw, libc::RLIMIT_NPROC, &raw const none, std::ptr::null_mut()) };
    let mut here = rustix::thread::CpuSet::new();
    here.set(rustix::thread::sched_getcpu());
    let _ = rustix::thread::sched_setaffinity(Some(pid), &here);
    let _ = rustix::process::setpriority_process(Some(pid), 19);
}

/// A process may call itself anything; what it says must not steer a terminal.
fn printable(name: &str) -> String {
    name.trim().chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// The processes that are left, for the result.
pub(crate) fn survivors() -> Vec<Survivor> {
    let mut left = Vec::new();
    for pid in descendants() {
        let state = stat_field(pid, 0);
        if state.is_none() || state.as_deref() == Some("Z") {
            continue;
        }
        let raw = pid.as_raw_nonzero();
        let name = fs::read_to_string(format!("/proc/{raw}/comm")).unwrap_or_default();
        let status = fs::read_to_string(format!("/proc/{raw}/status")).unwrap_or_default();
        let uid = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:")?.split_ascii_whitespace().next())
            .and_then(|uid| uid.parse().ok())
            .unwrap_or_default();
        left.push(Survivor { pid: raw.get().unsigned_abs(), name: printable(&name), uid });
    }
    left
}
