//! A child that looked after a package manager was killed: root could do that, and so can the kernel
//! when memory runs out. What it should have ended is process 1's now, and is ended by another child.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long the killing goes on. Who is not gone by then forks faster than it is found.
const LIMIT: Duration = Duration::from_secs(5);

/// What was killed needs a moment to be gone.
const PAUSE: Duration = Duration::from_millis(1);

/// A process as `/proc` has it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    parent: i32,
    /// It is more than the caller.
    is_more: bool,
}

/// Kills what is beneath process 1 and more than the caller, other than those children of its and what
/// is beneath them. Returns whether all of it is gone.
pub(super) fn kill_strangers(process_1: Pid, caller: u32, spared: &[Pid]) -> bool {
    let limit = Instant::now() + LIMIT;
    let spared: Vec<i32> = spared.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
    loop {
        let all = processes(caller);
        let found = strangers(&all, process_1.as_raw_nonzero().get(), &spared);
        if found.is_empty() {
            return true;
        }
        if limit <= Instant::now() {
            return false;
        }
        for pid in found.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
        std::thread::sleep(PAUSE);
    }
}

/// All that live.
fn processes(caller: u32) -> BTreeMap<i32, Seen> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One thread may be root while the first is not.
        let threads = fs::read_dir(entry.path().join("task")).into_iter().flatten().flatten();
        let texts =
            threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
        let mut seen: Option<Seen> = None;
        for one in texts.filter_map(|text| thread(&text, caller)) {
            let is_more = one.is_more || seen.is_some_and(|seen| seen.is_more);
            seen = Some(Seen { is_more, ..one });
        }
        all.extend(seen.map(|seen| (pid, seen)));
    }
    all
}

/// One thread (`proc(5)`, `/proc/pid/status`); nothing if it has ended.
fn thread(status: &str, caller: u32) -> Option<Seen> {
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        Some(line[name.len()..].trim())
    };
    if field("State:")?.starts_with(['Z', 'X']) {
        return None;
    }
    let mut users = field("Uid:")?.split_ascii_whitespace();
    let is_caller = users.all(|uid| uid.parse() == Ok(caller));
    let has_rights = field("CapPrm:")?.bytes().any(|digit| digit != b'0');
    Some(Seen { parent: field("PPid:")?.parse().ok()?, is_more: !is_caller || has_rights })
}

/// Those beneath process 1 that are more than the caller.
fn strangers(all: &BTreeMap<i32, Seen>, process_1: i32, spared: &[i32]) -> Vec<i32> {
    let is_beneath = |mut pid: i32| {
        // No way up is longer than there are processes; one that was read in pieces may be a circle.
        for _ in 0..all.len() {
            if spared.contains(&pid) {
                return false;
            }
            match all.get(&pid) {
                Some(seen) if seen.parent == process_1 => return !spared.contains(&pid),
                Some(seen) => pid = seen.parent,
                // From outside, or its parent has just ended: then it is seen again.
                None => return false,
            }
        }
        false
    };
    let more = all.iter().filter(|(_, seen)| seen.is_more);
    more.map(|(pid, _)| *pid).filter(|pid| *pid != process_1 && is_beneath(*pid)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(state: &str, parent: i32, users: &str, rights: &str) -> String {
        format!(
            "Name:\tUid: 0\nState:\t{state} (x)\nPPid:\t{parent}\nUid:\t{users}\nCapPrm:\t{rights}\n"
        )
    }

    #[test]
    fn who_has_another_user_or_rights_is_more_than_the_caller() {
        let is_more =
            |users, rights| thread(&status("S", 1, users, rights), 7).map(|seen| seen.is_more);
        assert_eq!(is_more("7\t7\t7\t7", "0000000000000000"), Some(false));
        assert_eq!(is_more("7\t7\t0\t7", "0000000000000000"), Some(true), "the saved one");
        assert_eq!(is_more("7\t7\t7\t7", "0000000000000020"), Some(true));
        assert!(thread(&status("Z", 1, "0\t0\t0\t0", "0"), 7).is_none());
        assert!(thread("", 7).is_none());
    }

    #[test]
    fn only_what_is_beneath_process_1_and_not_beneath_who_is_spared_is_found() {
        let seen = |parent, is_more| Seen { parent, is_more };
        let all = BTreeMap::from([
            (1, seen(0, true)),
            (2, seen(1, false)), // the server
            (3, seen(2, false)),
            (4, seen(1, true)), // a child that serves another
            (5, seen(4, true)),
            (6, seen(1, true)), // an orphan
            (7, seen(6, true)),
            (8, seen(6, false)),
            (9, seen(8, true)),
            (10, seen(0, true)), // somebody's `docker exec`
            (11, seen(10, true)),
            (12, seen(13, true)), // read in pieces
            (13, seen(12, true)),
        ]);
        assert_eq!(strangers(&all, 1, &[2, 4]), [6, 7, 9]);
    }

    #[test]
    fn processes_are_found_as_they_are() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let all = processes(rustix::process::getuid().as_raw());
        assert_eq!(all[&own].parent, std::os::unix::process::parent_id().cast_signed());
    }
}
