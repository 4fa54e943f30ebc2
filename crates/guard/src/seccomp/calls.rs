//! Which system calls the lanes refuse, and about which the supervisor is asked.

use libc::{c_int, c_long};

use super::program::{Action, Check, Program, Rule};
use crate::lane::HostLane;

/// How the supervisor answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Always with this error: the filter is what refuses.
    Refuse(c_int),
    /// The kernel goes on, and is what refuses: Landlock or a mount.
    Observe,
}

/// Where a call says what it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nowhere that can be read.
    Nothing,
    /// A path, beneath a directory's descriptor if there is one: both as argument numbers.
    Path(Option<u8>, u8),
    /// Two paths, both changed.
    Two((Option<u8>, u8), (Option<u8>, u8)),
    /// A path that is opened with flags.
    Open(Option<u8>, u8, u8),
    /// A path that is opened as a structure says (`openat2(2)`).
    OpenHow,
    /// A descriptor.
    Descriptor(u8),
    /// An address and its length.
    Address(u8, u8),
    /// A program.
    Program(Option<u8>, u8),
}

/// A call about which the supervisor is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) number: c_long,
    /// The name in reports and in the list of probes. Calls of one kind share it.
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) answer: Answer,
}

/// The last call that is known (Linux 6.18, `file_setattr`). Newer ones are not there for a command.
const LAST: u32 = 469;

// Younger than the tables of `libc`; the numbers are those of every architecture.
const SETXATTRAT: c_long = 463;
const REMOVEXATTRAT: c_long = 466;
const OPEN_TREE_ATTR: c_long = 467;
const FILE_SETATTR: c_long = 469;

const NEW_NAMESPACE: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32
    // CLONE_NEWTIME, which `clone` takes for a part of the signal but `unshare` does not.
    | 0x80;

const WRITES: u32 =
    (libc::O_WRONLY | libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC) as u32 | TEMPORARY_FILE;
/// `O_TMPFILE` without `O_DIRECTORY`.
const TEMPORARY_FILE: u32 = 0o20_000_000;

/// Opens that write.
pub(crate) fn opens_for_writing(flags: u64) -> bool {
    flags as u32 & WRITES != 0
}

/// Terminal input that nobody typed, and what else speaks for the person at it
/// (`ioctl_tty(2)`: TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD).
const TERMINAL_TRICKS: &[u32] = &[0x5412, 0x541c, 0x541d, 0x5423];

/// What changes a file through a descriptor that only reads (`linux/fs.h`: FS_IOC_SETFLAGS, for 32
/// bits, FS_IOC_FSSETXATTR, FS_IOC_SETVERSION, FS_IOC_ENABLE_VERITY, FS_IOC_SET_ENCRYPTION_POLICY,
/// FIDEDUPERANGE).
const FILE_CHANGES: &[u32] =
    &[0x4008_6602, 0x4004_6602, 0x401c_5820, 0x4008_7602, 0x4080_6685, 0x800c_6613, 0xc018_9436];

/// What the read-only lane may ask of devices and files. Terminals: TCGETS to TCSETAF, TCSBRK, TCXONC,
/// TCFLSH, TIOCSCTTY, TIOC{G,S}PGRP, TIOCOUTQ, TIOC{G,S}WINSZ, FIONREAD, FIONBIO, TIOCNOTTY, TCSBRKP,
/// TIOCGSID, TCGETS2 to TCSETSF2, TIOCGPTN, TIOCSPTLCK, TIOCGPTPEER; descriptors: FIOCLEX, FIONCLEX;
/// files: FIGETBSZ, FIBMAP, FS_IOC_FIEMAP, FS_IOC_GETFLAGS, FS_IOC_GETVERSION, FS_IOC_FSGETXATTR.
const READING: &[u32] = &[
    0x5401,
    0x5402,
    0x5403,
    0x5404,
    0x5405,
    0x5406,
    0x5407,
    0x5408,
    0x5409,
    0x540a,
    0x540b,
    0x540e,
    0x540f,
    0x5410,
    0x5411,
    0x5413,
    0x5414,
    0x541b,
    0x5421,
    0x5422,
    0x5425,
    0x5429,
    0x802c_542a,
    0x402c_542b,
    0x402c_542c,
    0x402c_542d,
    0x8004_5430,
    0x4004_5431,
    0x5441,
    0x5450,
    0x5451,
    0x2,
    0x1,
    0xc020_660b,
    0x8008_6601,
    0x8008_7601,
    0x801c_581f,
];

/// `F_SETLEASE` and `F_NOTIFY`: others wait for who holds a lease.
const LEASES: &[u32] = &[1024, 1026];

/// The owner of a descriptor is sent signals: `F_SETOWN`, `F_SETSIG`, `F_SETOWN_EX`.
const OWNERS: &[u32] = &[8, 10, 15];

/// Calls that change what a path leads to.
const CHANGES: &[(c_long, &str, Shape)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink", Shape::Path(None, 0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rmdir, "unlink", Shape::Path(None, 0)),
    (libc::SYS_unlinkat, "unlink", Shape::Path(Some(0), 1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename", Shape::Two((None, 0), (None, 1))),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_renameat, "rename", Shape::Two((Some(0), 1), (Some(2), 3))),
    (libc::SYS_renameat2, "rename", Shape::Two((Some(0), 1), (Some(2), 3))),
    // The old name of a link may be anywhere; the kernel looks at both.
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link", Shape::Two((None, 0), (None, 1))),
    (libc::SYS_linkat, "link", Shape::Two((Some(0), 1), (Some(2), 3))),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, "symlink", Shape::Path(None, 1)),
    (libc::SYS_symlinkat, "symlink", Shape::Path(Some(1), 2)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir", Shape::Path(None, 0)),
    (libc::SYS_mkdirat, "mkdir", Shape::Path(Some(0), 1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mknod, "mknod", Shape::Path(None, 0)),
    (libc::SYS_mknodat, "mknod", Shape::Path(Some(0), 1)),
    (libc::SYS_truncate, "truncate", Shape::Path(None, 0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, "open", Shape::Path(None, 0)),
];

/// Calls that change what a file is said to be, which Landlock does not govern.
const ATTRIBUTES: &[(c_long, &str, Shape)] = &[
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod", Shape::Path(None, 0)),
    (libc::SYS_fchmod, "chmod", Shape::Descriptor(0)),
    (libc::SYS_fchmodat, "chmod", Shape::Path(Some(0), 1)),
    (libc::SYS_fchmodat2, "chmod", Shape::Path(Some(0), 1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chown, "chown", Shape::Path(None, 0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_lchown, "chown", Shape::Path(None, 0)),
    (libc::SYS_fchown, "chown", Shape::Descriptor(0)),
    (libc::SYS_fchownat, "chown", Shape::Path(Some(0), 1)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utime, "utime", Shape::Path(None, 0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_utimes, "utime", Shape::Path(None, 0)),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_futimesat, "utime", Shape::Path(Some(0), 1)),
    (libc::SYS_utimensat, "utime", Shape::Path(Some(0), 1)),
    (libc::SYS_setxattr, "setxattr", Shape::Path(None, 0)),
    (libc::SYS_lsetxattr, "setxattr", Shape::Path(None, 0)),
    (libc::SYS_fsetxattr, "setxattr", Shape::Descriptor(0)),
    (SETXATTRAT, "setxattr", Shape::Path(Some(0), 1)),
    (libc::SYS_removexattr, "setxattr", Shape::Path(None, 0)),
    (libc::SYS_lremovexattr, "setxattr", Shape::Path(None, 0)),
    (libc::SYS_fremovexattr, "setxattr", Shape::Descriptor(0)),
    (REMOVEXATTRAT, "setxattr", Shape::Path(Some(0), 1)),
    (FILE_SETATTR, "chattr", Shape::Path(Some(0), 1)),
];

/// What no command in a lane has a use for, and what is worth a word.
const NEVER: &[(c_long, &str)] = &[
    (libc::SYS_mount, "mount"),
    (libc::SYS_umount2, "umount"),
    (libc::SYS_move_mount, "mount"),
    (libc::SYS_open_tree, "mount"),
    (OPEN_TREE_ATTR, "mount"),
    (libc::SYS_fsopen, "mount"),
    (libc::SYS_fsconfig, "mount"),
    (libc::SYS_fsmount, "mount"),
    (libc::SYS_fspick, "mount"),
    (libc::SYS_mount_setattr, "mount"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_chroot, "chroot"),
    (libc::SYS_setns, "setns"),
    (libc::SYS_ptrace, "ptrace"),
    (libc::SYS_process_vm_readv, "ptrace"),
    (libc::SYS_process_vm_writev, "ptrace"),
    (libc::SYS_process_madvise, "ptrace"),
    (libc::SYS_pidfd_getfd, "ptrace"),
    (libc::SYS_bpf, "bpf"),
    (libc::SYS_keyctl, "keyctl"),
    (libc::SYS_add_key, "keyctl"),
    (libc::SYS_request_key, "keyctl"),
    (libc::SYS_init_module, "init_module"),
    (libc::SYS_finit_module, "init_module"),
    (libc::SYS_delete_module, "delete_module"),
    (libc::SYS_kexec_load, "kexec"),
    (libc::SYS_kexec_file_load, "kexec"),
    (libc::SYS_reboot, "reboot"),
    (libc::SYS_swapon, "swapon"),
    (libc::SYS_swapoff, "swapon"),
    (libc::SYS_acct, "acct"),
    (libc::SYS_quotactl, "quotactl"),
    (libc::SYS_quotactl_fd, "quotactl"),
    (libc::SYS_settimeofday, "settime"),
    (libc::SYS_clock_settime, "settime"),
    (libc::SYS_sethostname, "sethostname"),
    (libc::SYS_setdomainname, "sethostname"),
    (libc::SYS_open_by_handle_at, "open_by_handle"),
    (libc::SYS_fanotify_init, "fanotify"),
    (libc::SYS_vhangup, "vhangup"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_iopl, "iopl"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_ioperm, "iopl"),
];

/// What programs try and do without, so that it is refused without a word.
const QUIETLY: &[(c_long, c_int)] = &[
    // Node's event loop tries it first.
    (libc::SYS_io_uring_setup, libc::ENOSYS),
    (libc::SYS_io_uring_enter, libc::ENOSYS),
    (libc::SYS_io_uring_register, libc::ENOSYS),
    // Its flags lie in memory; the C library then uses `clone`, whose flags are an argument.
    (libc::SYS_clone3, libc::ENOSYS),
    (libc::SYS_userfaultfd, libc::EPERM),
    (libc::SYS_perf_event_open, libc::EACCES),
    (libc::SYS_kcmp, libc::EPERM),
    (libc::SYS_syslog, libc::EPERM),
    (libc::SYS_move_pages, libc::EPERM),
    (libc::SYS_migrate_pages, libc::EPERM),
];

/// Reaches processes that are not the command's, where no namespace and no Landlock keeps it from that.
const SIGNALS: &[c_long] = &[
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_tgkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
];

/// Memory and queues that are shared by name with the whole machine.
const SHARED: &[c_long] = &[
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
];

/// Families of addresses that a network namespace keeps in. Others do not know of it: `AF_VSOCK` leads
/// to whoever runs this machine.
const FAMILIES: &[u32] =
    &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];

/// Changes how others are scheduled: how the first argument says that the second is a process, which is
/// then the caller's if it is zero (`PRIO_PROCESS`, `IOPRIO_WHO_PROCESS`).
const PRIORITIES: &[(c_long, u32)] = &[(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)];

/// Changes how another process is scheduled, if their argument of this number is not zero.
const SCHEDULING: &[(c_long, u8)] = &[
    (libc::SYS_sched_setaffinity, 0),
    (libc::SYS_sched_setscheduler, 0),
    (libc::SYS_sched_setparam, 0),
    (libc::SYS_sched_setattr, 0),
];

/// Everything about which a lane's supervisor may be asked.
fn asked(lane: HostLane) -> impl Iterator<Item = Call> {
    let read_only = lane == HostLane::ReadOnly;
    let refuse = |refuse: bool, error| if refuse { Answer::Refuse(error) } else { Answer::Observe };
    let of = |(number, name, shape): &(c_long, &'static str, Shape), answer| Call {
        number: *number,
        name,
        shape: *shape,
        answer,
    };
    let single = [
        #[cfg(target_arch = "x86_64")]
        (libc::SYS_open, "open", Shape::Open(None, 0, 1), Answer::Observe),
        (libc::SYS_openat, "open", Shape::Open(Some(0), 1, 2), Answer::Observe),
        (libc::SYS_openat2, "open", Shape::OpenHow, Answer::Observe),
        (libc::SYS_execve, "exec", Shape::Program(None, 0), Answer::Observe),
        (libc::SYS_execveat, "exec", Shape::Program(Some(0), 1), Answer::Observe),
        (libc::SYS_connect, "connect", Shape::Address(1, 2), refuse(read_only, libc::EACCES)),
        (libc::SYS_sendto, "connect", Shape::Address(4, 5), refuse(read_only, libc::EACCES)),
        (libc::SYS_socket, "socket", Shape::Nothing, Answer::Refuse(libc::EACCES)),
        (libc::SYS_ioctl, "ioctl", Shape::Descriptor(0), Answer::Refuse(libc::EPERM)),
        (libc::SYS_clone, "unshare", Shape::Nothing, Answer::Refuse(libc::EPERM)),
        (libc::SYS_unshare, "unshare", Shape::Nothing, Answer::Refuse(libc::EPERM)),
    ];
    let alone = [
        (libc::SYS_bind, "bind", Shape::Address(1, 2)),
        (libc::SYS_listen, "bind", Shape::Nothing),
        (libc::SYS_socketpair, "socket", Shape::Nothing),
        (libc::SYS_fcntl, "fcntl", Shape::Descriptor(0)),
        (libc::SYS_prlimit64, "prlimit", Shape::Nothing),
    ];
    let changes = CHANGES.iter().map(move |call| of(call, Answer::Observe));
    let attributes = ATTRIBUTES.iter().map(move |call| of(call, refuse(read_only, libc::EPERM)));
    let never = NEVER.iter().map(|(number, name)| (*number, *name, Shape::Nothing));
    let never = never.map(move |call| of(&call, Answer::Refuse(libc::EPERM)));
    let single = single.into_iter().map(|(number, name, shape, answer)| Call {
        number,
        name,
        shape,
        answer,
    });
    let signals = SIGNALS.iter().map(|number| (*number, "kill", Shape::Nothing));
    let shared = SHARED.iter().map(|number| (*number, "ipc", Shape::Nothing));
    let alone = alone.into_iter().chain(signals).chain(shared).filter(move |_| read_only);
    let alone = alone.map(move |call| of(&call, Answer::Refuse(libc::EPERM)));
    changes.chain(attributes).chain(never).chain(single).chain(alone)
}

/// The call of a number, as a lane's supervisor sees it.
pub(crate) fn find(lane: HostLane, number: c_long) -> Option<Call> {
    asked(lane).find(|call| call.number == number)
}

/// What varies between the filters of one lane.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    /// Whether Landlock keeps signals within the command.
    pub(crate) scoped_signals: bool,
    /// Whether the supervisor is asked about reading, too.
    pub(crate) reads: bool,
    /// A number that nobody else knows: an `execveat` with it as the sixth argument, which the kernel
    /// does not look at, is the command's beginning.
    pub(crate) first_exec: u64,
}

/// The filter of a lane.
pub(crate) fn program(lane: HostLane, options: Options) -> Program {
    let read_only = lane == HostLane::ReadOnly;
    let mut rules: Vec<Rule> = Vec::new();
    let rule =
        |number, clauses: Vec<(Vec<Check>, Action)>, otherwise| Rule { number, clauses, otherwise };
    let any = |index, values: &[u32], action| {
        values.iter().map(|value| (vec![Check::Is(index, *value)], action)).collect::<Vec<_>>()
    };
    for call in asked(lane) {
        let (clauses, otherwise) = match call.number {
            libc::SYS_openat if !options.reads => {
                (vec![(vec![Check::Has(2, WRITES)], Action::Ask)], Action::Allow)
            }
            #[cfg(target_arch = "x86_64")]
            libc::SYS_open if !options.reads => {
                (vec![(vec![Check::Has(1, WRITES)], Action::Ask)], Action::Allow)
            }
            libc::SYS_execveat => {
                (vec![(vec![Check::Wide(5, options.first_exec)], Action::Allow)], Action::Ask)
            }
            libc::SYS_sendto => (vec![(vec![Check::Given(4)], Action::Ask)], Action::Allow),
            libc::SYS_clone | libc::SYS_unshare => {
                // The lowest byte of `clone`'s flags is a signal.
                let bits = if call.number == libc::SYS_clone {
                    NEW_NAMESPACE & !0xff
                } else {
                    NEW_NAMESPACE
                };
                (vec![(vec![Check::Has(0, bits)], Action::Ask)], Action::Allow)
            }
            libc::SYS_ioctl => {
                let mut clauses = any(1, TERMINAL_TRICKS, Action::Ask);
                if read_only {
                    clauses.extend(any(1, READING, Action::Allow));
                    clauses.extend(any(1, FILE_CHANGES, Action::Ask));
                }
                (clauses, if read_only { Action::Fail(libc::ENOTTY) } else { Action::Allow })
            }
            // A stream that is not connected reaches nobody, and connecting is refused by name. A
            // datagram could be addressed.
            libc::SYS_socket if read_only => {
                let stream = Check::Masked(1, 0xf, libc::SOCK_STREAM as u32);
                let unix = Check::Is(0, libc::AF_UNIX as u32);
                (vec![(vec![unix, stream], Action::Allow)], Action::Ask)
            }
            // `sendmsg` has its address in memory, where a filter does not look; what is connected cannot
            // be sent elsewhere, but datagrams can.
            libc::SYS_socketpair => {
                let kind = |kind: libc::c_int| vec![Check::Masked(1, 0xf, kind as u32)];
                let kinds = [libc::SOCK_STREAM, libc::SOCK_SEQPACKET];
                (kinds.map(|one| (kind(one), Action::Allow)).to_vec(), Action::Ask)
            }
            libc::SYS_socket => (any(0, FAMILIES, Action::Allow), Action::Ask),
            libc::SYS_fcntl => {
                let mut clauses = any(1, LEASES, Action::Ask);
                if !options.scoped_signals {
                    clauses.extend(any(1, OWNERS, Action::Ask));
                }
                (clauses, Action::Allow)
            }
            libc::SYS_prlimit64 => {
                (vec![(vec![Check::IsNot(0, 0), Check::Given(2)], Action::Ask)], Action::Allow)
            }
            number if SIGNALS.contains(&number) && options.scoped_signals => continue,
            _ => (Vec::new(), Action::Ask),
        };
        rules.push(rule(call.number, clauses, otherwise));
    }
    for (number, error) in QUIETLY {
        rules.push(rule(*number, Vec::new(), Action::Fail(*error)));
    }
    if read_only {
        for (number, process) in PRIORITIES {
            let others = [Check::IsNot(0, *process), Check::IsNot(1, 0)];
            let refused = others.map(|other| (vec![other], Action::Fail(libc::EPERM)));
            rules.push(rule(*number, refused.to_vec(), Action::Allow));
        }
        for (number, index) in SCHEDULING {
            let other = (vec![Check::IsNot(*index, 0)], Action::Fail(libc::EPERM));
            rules.push(rule(*number, vec![other], Action::Allow));
        }
    }
    Program::new(&rules, LAST)
}

#[cfg(test)]
#[path = "calls_tests.rs"]
mod tests;
