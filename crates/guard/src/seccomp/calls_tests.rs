use std::collections::BTreeSet;

use super::super::program::tests::run;
use super::*;

#[cfg(target_arch = "x86_64")]
const OURS: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const OURS: u32 = 0xc000_00b7;

const OPTIONS: Options =
    Options { scoped_signals: true, reads: false, first_exec: 0x1234_5678_9abc };
const ALLOWED: u32 = libc::SECCOMP_RET_ALLOW;
const ASKED: u32 = libc::SECCOMP_RET_USER_NOTIF;

fn decide(lane: HostLane, options: Options, number: c_long, arguments: &[u64]) -> u32 {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    run(&program(lane, options), OURS, number as u32, all)
}

fn both(number: c_long, arguments: &[u64]) -> [u32; 2] {
    [HostLane::ReadOnly, HostLane::Workspace].map(|lane| decide(lane, OPTIONS, number, arguments))
}

#[test]
fn no_number_has_two_rules() {
    for lane in [HostLane::ReadOnly, HostLane::Workspace] {
        let mut seen = BTreeSet::new();
        for number in asked(lane).map(|call| call.number).chain(QUIETLY.iter().map(|(n, _)| *n)) {
            assert!(seen.insert(number), "{number} in the {lane} lane");
            assert!(number as u32 <= LAST);
        }
    }
}

#[test]
fn everyday_calls_are_the_kernels() {
    for number in [libc::SYS_read, libc::SYS_write, libc::SYS_mmap, libc::SYS_wait4] {
        assert_eq!(both(number, &[]), [ALLOWED; 2]);
    }
    assert_eq!(both(libc::SYS_openat, &[0, 0, libc::O_RDONLY as u64]), [ALLOWED; 2]);
    assert_eq!(both(libc::SYS_clone, &[libc::SIGCHLD as u64]), [ALLOWED; 2]);
    let thread = libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_THREAD | libc::CLONE_SIGHAND;
    assert_eq!(both(libc::SYS_clone, &[thread as u64]), [ALLOWED; 2]);
}

#[test]
fn new_namespaces_are_refused_by_each_flag() {
    for bit in (0..32).filter(|bit| NEW_NAMESPACE & 1 << bit != 0) {
        let flag = 1_u64 << bit;
        assert_eq!(both(libc::SYS_unshare, &[flag]), [ASKED; 2]);
        if bit > 7 {
            assert_eq!(both(libc::SYS_clone, &[flag | libc::SIGCHLD as u64]), [ASKED; 2]);
        }
    }
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    assert_eq!(both(libc::SYS_clone3, &[]), [missing; 2]);
    assert_eq!(both(libc::SYS_io_uring_setup, &[]), [missing; 2]);
}

#[test]
fn opening_for_writing_is_seen_by_each_flag() {
    for flag in [libc::O_WRONLY, libc::O_RDWR, libc::O_CREAT, libc::O_TRUNC, libc::O_TMPFILE] {
        assert_eq!(both(libc::SYS_openat, &[0, 0, flag as u64]), [ASKED; 2], "{flag:o}");
        assert!(opens_for_writing(flag as u64));
    }
    assert!(!opens_for_writing((libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) as u64));
    let reads = Options { reads: true, ..OPTIONS };
    assert_eq!(decide(HostLane::Workspace, reads, libc::SYS_openat, &[0, 0, 0]), ASKED);
}

#[test]
fn only_the_first_exec_is_not_asked_about() {
    let secret = OPTIONS.first_exec;
    assert_eq!(both(libc::SYS_execveat, &[0, 0, 0, 0, 0, secret]), [ALLOWED; 2]);
    assert_eq!(both(libc::SYS_execveat, &[0, 0, 0, 0, 0, secret & 0xffff_ffff]), [ASKED; 2]);
    assert_eq!(both(libc::SYS_execveat, &[0, 0, 0, 0, 0, 0]), [ASKED; 2]);
    assert_eq!(both(libc::SYS_execve, &[]), [ASKED; 2]);
}

#[test]
fn the_read_only_lane_has_no_sockets_that_reach_anybody() {
    let socket = |domain: c_int, kind: c_int| both(libc::SYS_socket, &[domain as u64, kind as u64]);
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    assert_eq!(socket(libc::AF_UNIX, libc::SOCK_STREAM | flags), [ALLOWED; 2]);
    for (domain, kind) in [
        (libc::AF_UNIX, libc::SOCK_DGRAM),
        (libc::AF_UNIX, libc::SOCK_SEQPACKET),
        (libc::AF_INET, libc::SOCK_STREAM),
        (libc::AF_INET6, libc::SOCK_DGRAM),
        (libc::AF_NETLINK, libc::SOCK_RAW),
    ] {
        assert_eq!(socket(domain, kind), [ASKED, ALLOWED]);
    }
    for domain in [libc::AF_VSOCK, libc::AF_BLUETOOTH, libc::AF_ALG, libc::AF_PACKET, libc::AF_TIPC]
    {
        assert_eq!(socket(domain, libc::SOCK_STREAM), [ASKED; 2]);
    }
    let pair = |kind: c_int| both(libc::SYS_socketpair, &[libc::AF_UNIX as u64, kind as u64]);
    for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
        assert_eq!(pair(kind | flags), [ALLOWED; 2]);
    }
    for kind in [libc::SOCK_DGRAM, libc::SOCK_RAW] {
        assert_eq!(pair(kind | flags), [ASKED, ALLOWED]);
    }
    let answer = |number| find(HostLane::ReadOnly, number).unwrap().answer;
    for number in [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_sendto] {
        assert!(matches!(answer(number), Answer::Refuse(_)));
    }
}

#[test]
fn the_read_only_lane_changes_nobody_elses_priority() {
    for (number, process) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        assert_eq!(both(number, &[process, 0]), [ALLOWED; 2]);
        for others in [[process, 4711], [process + 1, 0], [process + 2, 0]] {
            assert_ne!(both(number, &others)[0], ALLOWED, "{others:?}");
        }
    }
}

#[test]
fn attributes_are_refused_in_the_read_only_lane_and_left_to_the_mounts_in_the_other() {
    for (number, _, _) in ATTRIBUTES {
        assert_eq!(both(*number, &[]), [ASKED; 2]);
        let answer = |lane| find(lane, *number).unwrap().answer;
        assert_eq!(answer(HostLane::ReadOnly), Answer::Refuse(libc::EPERM));
        assert_eq!(answer(HostLane::Workspace), Answer::Observe);
    }
}

#[test]
fn what_is_never_allowed_is_refused_by_the_filter_itself() {
    for (number, name) in NEVER {
        assert_eq!(both(*number, &[]), [ASKED; 2], "{name}");
        for lane in [HostLane::ReadOnly, HostLane::Workspace] {
            assert!(matches!(find(lane, *number).unwrap().answer, Answer::Refuse(_)), "{name}");
        }
    }
}

#[test]
fn terminal_tricks_are_refused_and_reading_a_terminal_is_not() {
    for command in TERMINAL_TRICKS {
        assert_eq!(both(libc::SYS_ioctl, &[0, u64::from(*command)]), [ASKED; 2]);
        // The kernel takes the lower half, so the upper one hides nothing.
        assert_eq!(both(libc::SYS_ioctl, &[0, u64::from(*command) | 1 << 33]), [ASKED; 2]);
    }
    let size = libc::TIOCGWINSZ;
    assert_eq!(both(libc::SYS_ioctl, &[1, size]), [ALLOWED; 2]);
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOTTY as u32;
    assert_eq!(both(libc::SYS_ioctl, &[1, 0x1234]), [unknown, ALLOWED]);
    for command in FILE_CHANGES {
        assert_eq!(both(libc::SYS_ioctl, &[1, u64::from(*command)]), [ASKED, ALLOWED]);
    }
}

#[test]
fn signals_are_the_kernels_only_where_landlock_keeps_them_in() {
    let old = Options { scoped_signals: false, ..OPTIONS };
    for number in SIGNALS {
        assert_eq!(decide(HostLane::ReadOnly, OPTIONS, *number, &[]), ALLOWED);
        assert_eq!(decide(HostLane::ReadOnly, old, *number, &[]), ASKED);
        assert_eq!(decide(HostLane::Workspace, old, *number, &[]), ALLOWED);
    }
    assert_eq!(both(libc::SYS_prlimit64, &[7, 7, 1]), [ASKED, ALLOWED]);
    assert_eq!(both(libc::SYS_prlimit64, &[7, 7, 0]), [ALLOWED; 2]);
    assert_eq!(both(libc::SYS_prlimit64, &[0, 7, 1]), [ALLOWED; 2]);
}
