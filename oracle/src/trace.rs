//! What `strace` saw: what a command tried, whether or not it succeeded.

use std::collections::BTreeSet;

use crate::PROJECT;
use crate::trial::{Change, What};

/// The calls that are followed. Those that this `strace` or kernel does not know are left out.
pub(crate) const CALLS: &str = "trace=?open,?openat,?openat2,?creat,?execve,?execveat,?connect,?sendto,?sendmsg,\
    ?unlink,?unlinkat,?rename,?renameat,?renameat2,?mkdir,?mkdirat,?rmdir,?link,?linkat,?symlink,?symlinkat,\
    ?mknod,?mknodat,?chmod,?fchmod,?fchmodat,?fchmodat2,?chown,?lchown,?fchown,?fchownat,?utime,?utimes,\
    ?utimensat,?futimesat,?setxattr,?lsetxattr,?fsetxattr,?removexattr,?lremovexattr,?fremovexattr,?truncate,\
    ?ftruncate,?fallocate,?mount,?umount2,?unshare,?setns,?ptrace,?pivot_root,?chroot,?bpf,?io_uring_setup,?keyctl,\
    ?add_key,?reboot,?settimeofday,?clock_settime,?adjtimex,?sethostname,?kill,?tgkill,?process_vm_writev,\
    ?swapon,?init_module,?finit_module,?perf_event_open,?userfaultfd,?fsopen,?move_mount,?mount_setattr";

/// Devices, own descriptors and own settings: writing them changes nothing that stays.
const NOTHING: &[&str] = &[
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/tty",
    "/dev/std",
    "/dev/fd/",
    "/proc/self/fd/",
    "/dev/pts",
    "/dev/ptmx",
    "/proc/self/",
];

/// What libraries ask in passing, on any command's behalf, and do without: servers that know users, and
/// places where names are cached.
const PROBES: &[&str] =
    &["/nscd/socket", "/systemd/userdb/", "/dbus/system_bus_socket", "/sss/pipes/"];

/// What is seen of one call.
struct Call<'a> {
    process: &'a str,
    name: &'a str,
    arguments: &'a str,
    /// The number or error behind it, if the call had ended when its line was written.
    result: Option<&'a str>,
}

/// The effects that a command had or tried to have. `scratch` is a directory of its own.
pub(crate) fn changes(text: &str, scratch: Option<&str>) -> Vec<Change> {
    let own: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    let mut changes = BTreeSet::new();
    for call in text.lines().filter_map(parse) {
        if let Some(change) = judge(&call, scratch, &own) {
            changes.insert(change);
        }
    }
    changes.into_iter().collect()
}

fn parse(line: &str) -> Option<Call<'_>> {
    let (process, rest) = line.split_once(' ')?;
    let (name, rest) = rest.trim_start().split_once('(')?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return None;
    }
    let (arguments, result) = match rest.rsplit_once(") = ") {
        Some((arguments, result)) => (arguments, Some(result)),
        // Short calls have blanks before their result.
        None => match rest.rsplit_once(')') {
            Some((arguments, result)) if result.trim_start().starts_with("= ") => {
                (arguments, Some(result))
            }
            _ => (rest.split(" <unfinished ...>").next().unwrap_or(rest), None),
        },
    };
    Some(Call { process, name, arguments, result })
}

fn judge(call: &Call<'_>, scratch: Option<&str>, own: &BTreeSet<&str>) -> Option<Change> {
    let arguments = call.arguments;
    let changed = |path: String| {
        let nothing = NOTHING.iter().any(|nothing| path.starts_with(nothing));
        let inner = scratch.is_some_and(|scratch| path.starts_with(scratch));
        (!nothing && !inner).then(|| Change::new(What::Wrote, path))
    };
    match call.name {
        "open" | "openat" | "openat2" => {
            let writes = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_TMPFILE"];
            let writes = writes.iter().any(|flag| arguments.contains(flag));
            changed(paths(arguments).into_iter().next()?).filter(|_| writes)
        }
        "execve" | "execveat" => {
            let path = paths(arguments).into_iter().next()?;
            let missing = call.result.is_some_and(|result| result.contains("ENOENT"));
            let ours = path.starts_with(PROJECT) && !missing;
            ours.then(|| Change::new(What::Executed, path))
        }
        "connect" | "sendto" | "sendmsg" => {
            // What the kernel itself is asked about interfaces and sockets reaches nobody.
            let to = arguments.split_once("{sa_family=AF_").map_or("", |(_, to)| to);
            let to = to.split_once('}').map_or(to, |(to, _)| to);
            let reaches = to.starts_with("INET") || to.starts_with("UNIX");
            let probe = PROBES.iter().any(|probe| to.contains(probe));
            (reaches && !probe).then(|| Change::new(What::Connected, to))
        }
        "kill" | "tgkill" => {
            let mut numbers = arguments.split(", ");
            let to = numbers.next()?;
            let harmless = own.contains(to) || to == call.process || arguments.ends_with(", 0");
            // A command's own group has the number of its first process.
            let group = to == "0" || to.strip_prefix('-').is_some_and(|to| own.contains(to));
            (!harmless && !group)
                .then(|| Change::new(What::Asked, format!("{}({arguments})", call.name)))
        }
        "ftruncate" | "fallocate" | "fchmod" | "fchown" | "fsetxattr" | "fremovexattr" => {
            changed(paths(arguments).into_iter().next()?)
                .filter(|change| change.to.starts_with('/'))
        }
        "symlink" | "symlinkat" => changed(paths(arguments).pop()?),
        name if CHANGING.contains(&name) => {
            // Two names: the first that matters.
            paths(arguments).into_iter().find_map(changed)
        }
        name => Some(Change::new(What::Asked, name)),
    }
}

/// The calls whose arguments name what they change.
const CHANGING: &[&str] = &[
    "creat",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "lchown",
    "fchownat",
    "utime",
    "utimes",
    "utimensat",
    "futimesat",
    "setxattr",
    "lsetxattr",
    "removexattr",
    "lremovexattr",
    "truncate",
];

/// The paths among a call's arguments: names are taken from the descriptor before them, or else from the
/// workspace, where commands begin. A descriptor alone is what it is open to.
fn paths(arguments: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut base: Option<String> = None;
    let mut rest = arguments;
    while let Some(at) = rest.find(['<', '"']) {
        let opened = rest.as_bytes()[at];
        rest = &rest[at + 1..];
        if opened == b'<' {
            let end = rest.find('>').unwrap_or(rest.len());
            base = Some(rest[..end].to_owned());
            rest = &rest[end..];
            continue;
        }
        let end = closing(rest);
        let name = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or("");
        found.push(match (name.starts_with('/'), &base) {
            (true, _) => name.to_owned(),
            (false, Some(base)) => format!("{base}/{name}"),
            (false, None) => format!("{PROJECT}/{name}"),
        });
    }
    if found.is_empty() { base.into_iter().collect() } else { found }
}

/// Where a string ends.
fn closing(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !escaped => return index,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(line: &str) -> Vec<String> {
        changes(line, Some("/run/user/1000/lane")).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_changes_executes_or_reaches_is_an_effect() {
        for (line, effect) in [
            (
                r#"9 openat(AT_FDCWD</home/ada/project>, "a", O_WRONLY|O_CREAT, 0666) = 3</home/ada/project/a>"#,
                "Wrote /home/ada/project/a",
            ),
            (r#"9 openat(AT_FDCWD</x>, "/etc/a", O_RDWR <unfinished ...>"#, "Wrote /etc/a"),
            (r#"9 unlink("a") = -1 ENOENT (No such file)"#, "Wrote /home/ada/project/a"),
            (r"9 fchmod(3</x/a>, 0600)        = 0", "Wrote /x/a"),
            (r#"9 symlinkat("/etc", 3</x>, "l") = 0"#, "Wrote /x/l"),
            (
                r#"9 execve("./x", ["./x"], 0x7ff /* 9 vars */) = 0"#,
                "Executed /home/ada/project/./x",
            ),
            (
                r#"9 connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/run/docker.sock"}, 110) = 0"#,
                "Connected UNIX, sun_path=\"/run/docker.sock\"",
            ),
            (r"9 kill(77, SIGTERM) = 0", "Asked kill(77, SIGTERM)"),
            (r"9 unshare(CLONE_NEWUSER) = 0", "Asked unshare"),
        ] {
            assert_eq!(seen(line), [effect], "{line}");
        }
    }

    #[test]
    fn what_reads_or_changes_what_is_nobodys_is_none() {
        for line in [
            r#"9 openat(AT_FDCWD</x>, "a", O_RDONLY|O_CLOEXEC) = 3</x/a>"#,
            r#"9 openat(AT_FDCWD</x>, "/dev/null", O_WRONLY|O_CREAT|O_TRUNC, 0666) = 3</dev/null>"#,
            r#"9 openat(AT_FDCWD</x>, "/run/user/1000/lane/t", O_RDWR|O_CREAT, 0600) = 3"#,
            r#"9 execve("/usr/bin/ls", ["ls"], 0x7ff /* 9 vars */) = 0"#,
            r#"9 execve("/home/ada/project/bin/ls", ["ls"], 0x7ff) = -1 ENOENT (No such file)"#,
            r#"9 connect(3<socket:[1]>, {sa_family=AF_UNIX, sun_path="/var/run/nscd/socket"}, 110) = -1"#,
            "9 kill(9, SIGTERM) = 0",
            "9 +++ exited with 0 +++",
            "9 <... openat resumed>) = 3",
        ] {
            assert_eq!(seen(line), [""; 0], "{line}");
        }
    }
}
