//! Ways out that have nothing to do with files, in both lanes.

use std::os::unix::process::ExitStatusExt;

use stigmer_guard::{HostLane, Policy, Probe, Refusal, plan};

use crate::fixture::Fixture;

const BOTH: [HostLane; 2] = [HostLane::ReadOnly, HostLane::Workspace];

/// Makes a system call and prints its error, by number.
fn call(number: libc::c_long, arguments: &str) -> String {
    format!(
        "import ctypes\nl = ctypes.CDLL(None, use_errno=True)\n\
         r = l.syscall({number}{arguments})\nprint(r, ctypes.get_errno())"
    )
}

#[test]
fn calls_that_lead_out_of_a_lane_fail_and_are_named() {
    let fixture = Fixture::new();
    for lane in BOTH {
        for (number, arguments, name) in [
            (libc::SYS_mount, ", b'/', b'/tmp', 0, 4096, 0", "mount"),
            (libc::SYS_umount2, ", b'/tmp', 2", "umount"),
            (libc::SYS_open_tree, ", -100, b'/', 1", "mount"),
            (libc::SYS_fsopen, ", b'tmpfs', 0", "mount"),
            (libc::SYS_move_mount, ", -100, b'/tmp', -100, b'/', 0", "mount"),
            (libc::SYS_unshare, ", 0x10000000", "unshare"),
            (libc::SYS_unshare, ", 0x00020000", "unshare"),
            (libc::SYS_clone, ", 0x10000011, 0, 0, 0, 0", "unshare"),
            (libc::SYS_setns, ", 0, 0", "setns"),
            (libc::SYS_chroot, ", b'/tmp'", "chroot"),
            (libc::SYS_pivot_root, ", b'/', b'/tmp'", "pivot_root"),
            (libc::SYS_ptrace, ", 16, 1, 0, 0", "ptrace"),
            (libc::SYS_process_vm_readv, ", 1, 0, 0, 0, 0, 0", "ptrace"),
            (libc::SYS_pidfd_getfd, ", 0, 0, 0", "ptrace"),
            (libc::SYS_bpf, ", 0, 0, 0", "bpf"),
            (libc::SYS_keyctl, ", 0, -3, 1", "keyctl"),
            (libc::SYS_add_key, ", b'user', b'x', b'x', 1, -3", "keyctl"),
            (libc::SYS_reboot, ", 0, 0, 0, 0", "reboot"),
            (libc::SYS_open_by_handle_at, ", -100, 0, 0", "open_by_handle"),
        ] {
            let done = fixture.python(lane, &call(number, arguments));
            assert_eq!(done.text, "-1 1\n", "{lane} {name}");
            assert_eq!(done.calls(), [name], "{lane}");
        }
        for number in [libc::SYS_io_uring_setup, libc::SYS_clone3] {
            let done = fixture.python(lane, &call(number, ", 1, 0"));
            assert_eq!(done.text, format!("-1 {}\n", libc::ENOSYS), "{lane}");
        }
    }
}

#[test]
fn other_processes_cannot_be_signalled_or_slowed() {
    let fixture = Fixture::new();
    let mut victim = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = victim.id();
    for lane in BOTH {
        let done = fixture.shell(lane, &format!("kill -9 {pid}"));
        assert_ne!(done.code, 0, "{lane}");
        let done = fixture.shell(lane, &format!("renice 19 {pid}"));
        assert_ne!(done.code, 0, "{lane}");
        let done = fixture.shell(lane, &format!("prlimit --pid {pid} --nofile=10:10"));
        assert_ne!(done.code, 0, "{lane}");
        // Its own it may end.
        assert_eq!(fixture.shell(lane, "sleep 9 & kill -9 $!; wait $!").code, 137, "{lane}");
    }
    assert!(victim.try_wait().unwrap().is_none(), "it is still there");
    victim.kill().unwrap();
    assert_eq!(victim.wait().unwrap().signal(), Some(libc::SIGKILL));
}

#[test]
fn nobody_types_on_the_terminal() {
    let fixture = Fixture::new();
    let text = "import fcntl, os, pty\na, b = os.openpty() if 0 else (0, 0)\n\
                try: fcntl.ioctl(0, 0x5412, b'x')\nexcept PermissionError: print('refused')";
    for lane in BOTH {
        let done = fixture.python(lane, text);
        assert_eq!((done.text.as_str(), done.calls()), ("refused\n", vec!["ioctl"]), "{lane}");
    }
}

#[test]
fn programs_that_change_their_user_do_not() {
    let fixture = Fixture::new();
    for lane in BOTH {
        let done = fixture
            .shell(lane, "grep -E '^(NoNewPrivs|CapEff|CapPrm|CapBnd|CapAmb)' /proc/self/status");
        let expected: &[&str] = match lane {
            HostLane::ReadOnly => {
                &["CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
            }
            HostLane::Workspace => &[
                "CapPrm:\t0000000000000000",
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
                "CapAmb:\t0000000000000000",
                "NoNewPrivs:\t1",
            ],
        };
        for line in expected {
            assert!(done.text.contains(line), "{lane} {line}: {}", done.text);
        }
        let done = fixture.shell(lane, "su -c id </dev/null");
        assert!(done.code != 0 && !done.text.contains("uid=0"), "{lane} {}", done.text);
    }
}

/// Landlock does not govern files without a place. What runs from there is confined as before.
#[test]
fn a_program_in_memory_runs_and_is_confined_as_before() {
    let fixture = Fixture::new();
    let text = "import os\nfd = os.memfd_create('x', 0)\n\
                os.write(fd, open('/bin/touch', 'rb').read())\n\
                os.execv('/proc/self/fd/%d' % fd, ['touch', os.environ['HOME'] + '/made'])";
    for lane in BOTH {
        let done = fixture.python(lane, text);
        assert_ne!(done.code, 0, "{lane}");
        assert!(!fixture.home.join("made").exists(), "{lane}");
        assert!(done.calls().contains(&"open"), "{lane} {:?} {}", done.denials, done.text);
    }
}

#[test]
fn no_descriptor_of_the_supervisors_is_left_to_the_command() {
    let fixture = Fixture::new();
    // Inherited, as far as exec is concerned.
    let open = std::fs::File::open(&fixture.home).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    for lane in BOTH {
        let done = fixture.shell(lane, "ls /proc/self/fd");
        assert_eq!(done.text, "0\n1\n2\n3\n", "{lane}: standard streams, and that of `ls`");
    }
}

#[test]
fn families_of_addresses_that_no_namespace_keeps_in_are_refused() {
    let fixture = Fixture::new();
    for lane in BOTH {
        let done = fixture
            .python(lane, "import socket\nsocket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)");
        assert_eq!((done.code, done.calls()), (1, vec!["socket"]), "{lane} {}", done.text);
    }
}

#[test]
fn the_kernels_knobs_cannot_be_turned() {
    let fixture = Fixture::new();
    for lane in BOTH {
        let done = fixture.shell(lane, "echo 0 > /proc/self/oom_score_adj");
        assert_ne!(done.code, 0, "{lane}");
        let done = fixture.shell(lane, "echo x > /sys/kernel/notes");
        assert_ne!(done.code, 0, "{lane}");
    }
}

#[test]
fn a_workspace_that_holds_the_home_directory_or_the_system_is_refused() {
    let fixture = Fixture::new();
    for lane in BOTH {
        for path in [
            fixture.home.as_path(),
            &fixture.base,
            "/".as_ref(),
            "/usr".as_ref(),
            "/tmp".as_ref(),
            &fixture.home.join(".ssh"),
        ] {
            let policy = Policy::new(path, fixture.variables.clone());
            let refusal = plan(lane, &policy, &Probe::take()).unwrap_err();
            assert!(matches!(refusal, Refusal::Unfit { .. }), "{}", path.display());
        }
    }
}

#[test]
fn a_lane_that_the_kernel_does_not_have_is_refused_and_not_weakened() {
    let fixture = Fixture::new();
    let probe = Probe { landlock: 2, ..Probe::take() };
    for lane in BOTH {
        let refusal = plan(lane, &fixture.policy(), &probe).unwrap_err();
        assert!(matches!(refusal, Refusal::Unsupported { .. }), "{refusal}");
    }
}
