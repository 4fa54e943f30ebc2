//! Whether a daemon's commands would run in the caller's circumstances.
//!
//! Local mode behaves as the caller's shell would. Environment, umask and limits travel with a
//! request; namespaces, privileges, priorities and processors do not. A caller who differs from the
//! daemon in those (`nice`, `taskset`, `unshare`, `setpriv`, a stricter umask for the files that it
//! writes) is served in this process, which has the caller's own.

use std::path::Path;

/// Lines of `/proc/<pid>/status` that a command inherits (`proc_pid_status(5)`).
const INHERITED: [&str; 14] = [
    "Umask",
    "Uid",
    "Gid",
    "Groups",
    "CapInh",
    "CapPrm",
    "CapEff",
    "CapBnd",
    "CapAmb",
    "NoNewPrivs",
    "Seccomp",
    "Cpus_allowed",
    "Mems_allowed",
    "SigIgn",
];

/// Namespaces that a command inherits (`namespaces(7)`).
const NAMESPACES: [&str; 7] = ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"];

/// Fields of `/proc/<pid>/stat` behind the name, from 0 (`proc_pid_stat(5)`): nice value, real-time
/// priority and scheduling policy.
const SCHEDULING: [usize; 3] = [16, 37, 38];

/// Signals that our own runtime ignores or may ignore: PIPE, and those above 31, which are the C
/// library's.
const OF_THE_RUNTIME: u64 = !0x7fff_ffff | 1 << 12;

/// Whether a command of that process has the same circumstances as one of ours. What cannot be
/// looked at is another's.
pub(crate) fn same_as(pid: u32) -> bool {
    let (Some(ours), Some(theirs)) = (read("self"), read(&pid.to_string())) else { return false };
    ours == theirs
}

fn read(process: &str) -> Option<Vec<String>> {
    let directory = Path::new("/proc").join(process);
    let status = std::fs::read_to_string(directory.join("status")).ok()?;
    let mut found = inherited(&status)?;
    for namespace in NAMESPACES {
        let link = std::fs::read_link(directory.join("ns").join(namespace)).ok()?;
        found.push(link.to_string_lossy().into_owned());
    }
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    for field in SCHEDULING {
        found.push((*fields.get(field)?).to_owned());
    }
    Some(found)
}

fn inherited(status: &str) -> Option<Vec<String>> {
    let of = |name: &&str| {
        let line = status
            .lines()
            .find(|line| line.strip_prefix(*name).is_some_and(|rest| rest.starts_with(':')))?;
        let value = line.split_once(':')?.1.trim();
        if *name != "SigIgn" {
            return Some(value.to_owned());
        }
        let ignored = u64::from_str_radix(value, 16).ok()?;
        Some(format!("{:x}", ignored & !OF_THE_RUNTIME))
    };
    INHERITED.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inherited_is_found_and_the_runtimes_own_is_left_out() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let found = inherited(&status).unwrap();
        assert_eq!(found.len(), INHERITED.len());
        let with = |mask: &str| {
            let other = |line: &str| match line.starts_with("SigIgn:") {
                true => format!("SigIgn:\t{mask}\n"),
                false => format!("{line}\n"),
            };
            inherited(&status.lines().map(other).collect::<String>()).unwrap()
        };
        // PIPE and the C library's own signals are no difference; INT is.
        assert_eq!(with("0000000180001000"), with("0000000000000000"));
        assert_ne!(with("0000000000000002"), with("0000000000000000"));
        assert_eq!(inherited("Umask:\t0022\n"), None);
    }

    #[test]
    fn our_own_are_the_same_and_those_of_a_nicer_process_are_not() {
        assert!(same_as(std::process::id()));
        let mut nicer =
            std::process::Command::new("nice").args(["-n", "5", "sleep", "60"]).spawn().unwrap();
        while read(&nicer.id().to_string()).is_none_or(|found| found == read("self").unwrap()) {
            std::thread::yield_now();
        }
        assert!(!same_as(nicer.id()));
        nicer.kill().unwrap();
        nicer.wait().unwrap();
        assert!(!same_as(u32::MAX));
    }
}
