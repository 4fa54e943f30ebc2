//! What the kernel refuses a command.

use crate::sandbox::Sandbox;

/// Calls that lead to more, each of which must fail; prints those that do not, and for which reason
/// the others did.
const CALLS: &str = r#"
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
def call(name, function, *arguments):
    ctypes.set_errno(0)
    child = os.fork()
    if child == 0:
        done = function(*arguments)
        os._exit(255 if done != -1 else ctypes.get_errno())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(name, 'SUCCEEDED' if code == 255 else errno.errorcode.get(code, code))
for name, flag in [('user', 0x10000000), ('mount', 0x20000), ('pid', 0x20000000),
                   ('net', 0x40000000), ('uts', 0x4000000), ('ipc', 0x8000000)]:
    call('unshare-' + name, libc.unshare, flag)
call('clone-user', libc.syscall, 56, 0x10000000 | 17, 0, 0, 0, 0)
call('mount', libc.mount, b'none', b'/tmp', b'tmpfs', 0, None)
call('bind', libc.mount, b'/proc', b'/tmp', None, 4096, None)
call('umount', libc.umount2, b'/proc/sys', 2)
call('pivot_root', libc.syscall, 155, b'/', b'/tmp')
call('chroot', libc.chroot, b'/tmp')
call('setns', libc.setns, os.open('/proc/self/ns/net', os.O_RDONLY), 0)
call('ptrace-1', libc.ptrace, 16, 1, None, None)
call('kill-1', libc.kill, 1, 9)
call('setuid', libc.setuid, 0)
call('setgid', libc.setgid, 0)
call('mknod', libc.mknod, b'/tmp/disk', 0o60600, os.makedev(8, 0))
call('sethostname', libc.sethostname, b'x', 1)
call('bpf', libc.syscall, 321, 0, 0, 0)
call('keyctl', libc.syscall, 250, 0, 0, 0)
call('init_module', libc.syscall, 175, 0, 0, b'')
call('kexec', libc.syscall, 246, 0, 0, 0, 0)
call('reboot', libc.syscall, 169, 0xfee1dead, 672274793, 0x1234567, 0)
call('open_by_handle', libc.syscall, 304, -100, 0, 0)
"#;

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn calls_that_lead_out_are_refused() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let answers = sandbox.python(CALLS).await;
    assert_eq!(answers.lines().count(), 25, "{answers}");
    for answer in answers.lines() {
        assert!(answer.ends_with(" EPERM"), "{answer}");
    }
}

#[tokio::test]
async fn process_1_is_out_of_reach() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let reads = "for f in environ mem maps root/etc/hostname cwd/etc fd/0 exe; do
        head -c 1 /proc/1/$f >/dev/null 2>&1 && echo $f; done; true";
    assert_eq!(sandbox.text(reads).await, "");
    let kills =
        "kill -9 1 2>/dev/null; kill -TERM 1 2>/dev/null; kill -STOP 1 2>/dev/null; echo here";
    assert_eq!(sandbox.text(kills).await, "here");
    assert_eq!(sandbox.text("echo still").await, "still");
}

#[tokio::test]
async fn settings_and_devices_of_the_kernel_are_read_only_or_absent() {
    let Some(sandbox) = Sandbox::new().await else { return };
    let tries = "for f in /proc/sys/kernel/core_pattern /proc/sys/vm/drop_caches \
        /proc/sysrq-trigger /sys/kernel/uevent_helper /sys/fs/cgroup/memory/memory.limit_in_bytes \
        /sys/fs/cgroup/memory.max; do
        [ -e $f ] && (printf x >> $f) 2>/dev/null && echo $f; done; touch /sys/x /proc/x 2>/dev/null \
        && echo made; cat /proc/kcore 2>/dev/null | head -c 1 | wc -c; cat /dev/mem 2>/dev/null | head -c 1 | wc -c
        mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x 2>/dev/null && echo group; true";
    assert_eq!(sandbox.text(tries).await, "0\n0");
    // Not by root of the container either.
    let (_, said) = sandbox.as_root(tries).await;
    assert_eq!(said, "0\n0");
    let mounts = sandbox.text("cat /proc/self/mountinfo").await;
    for place in ["/proc/sys", "/sys"] {
        let mount = mounts.lines().find(|line| line.split(' ').nth(4) == Some(place));
        let options = mount.and_then(|line| line.split(' ').nth(5)).unwrap_or_default();
        assert!(options.split(',').any(|option| option == "ro"), "{place}: {mounts}");
    }
    let devices = sandbox.text("find /dev -type b | wc -l").await;
    assert_eq!(devices, "0", "no disk");
}
