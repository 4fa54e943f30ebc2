//! Memory: whether the kernel killed for want of it, and that a command is killed before stigmer is.
//!
//! The kernel tells nobody why it sent KILL. It counts, for each control group, the processes that
//! it killed because memory ran out: a command that ended by KILL while that number rose is one of
//! them.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Longer than any of the kernel's files of numbers that are read here.
const MAX_NUMBERS: usize = 4096;

/// From here on a limit of the first version of control groups means that there is none: it is the
/// highest number of whole pages, whatever their size.
const UNLIMITED: u64 = i64::MAX as u64 - (1 << 20);

/// What a supervisor knows of memory before it has a command.
#[derive(Debug)]
pub(crate) struct Memory {
    group: Option<Group>,
}

/// The control group that this process is in, as far as memory goes.
#[derive(Debug)]
struct Group {
    version: Version,
    directory: PathBuf,
    mount: PathBuf,
    events: File,
    killed_before: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The file with the number of processes that were killed.
    fn events(self) -> &'static str {
        match self {
            Self::One => "memory.oom_control",
            Self::Two => "memory.events",
        }
    }
}

impl Memory {
    /// Looks up what this process is part of. It takes a moment, so that it is done while there is
    /// no command yet.
    pub(crate) fn look_up() -> Self {
        Self { group: Group::own() }
    }

    /// Notes the count before the command starts.
    pub(super) fn begin(&mut self) {
        if let Some(group) = &mut self.group {
            group.killed_before = group.killed();
        }
    }

    /// Whether the kernel killed for want of memory since the command started.
    pub(super) fn ran_out(&self) -> bool {
        self.group.as_ref().is_some_and(|group| match (group.killed_before, group.killed()) {
            (Some(before), Some(now)) => now > before,
            _ => false,
        })
    }

    /// The bytes that all in the control group together may have.
    pub(super) fn limit(&self) -> Option<u64> {
        self.group.as_ref().and_then(Group::limit)
    }
}

/// Makes this process, and what it executes, likelier to be killed when memory runs out. System calls
/// only: it is done between fork and exec. Everybody may raise their own score; where it fails, the
/// command is as safe as stigmer is.
pub fn be_killed_first(score: &[u8]) {
    let flags = OFlags::WRONLY | OFlags::CLOEXEC;
    if let Ok(file) = rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty()) {
        let _ = rustix::io::write(&file, score);
    }
}

impl Group {
    fn own() -> Option<Self> {
        let groups = fs::read("/proc/self/cgroup").ok()?;
        let mounts = fs::read("/proc/self/mountinfo").ok()?;
        let (version, path) = own_group(&groups)?;
        candidates(&mounts, version, path).into_iter().find_map(|(directory, mount)| {
            let events = File::open(directory.join(version.events())).ok()?;
            let group = Self { version, directory, mount, events, killed_before: None };
            group.killed().is_some().then_some(group)
        })
    }

    fn killed(&self) -> Option<u64> {
        let mut buffer = [0; MAX_NUMBERS];
        let count = self.events.read_at(&mut buffer, 0).ok()?;
        number_of(&buffer[..count], "oom_kill")
    }

    fn limit(&self) -> Option<u64> {
        match self.version {
            Version::One => {
                let numbers = fs::read(self.directory.join("memory.stat")).ok()?;
                number_of(&numbers, "hierarchical_memory_limit").filter(|bytes| *bytes < UNLIMITED)
            }
            Version::Two => self
                .directory
                .ancestors()
                .take_while(|directory| directory.starts_with(&self.mount))
                .filter_map(|directory| fs::read_to_string(directory.join("memory.max")).ok())
                .filter_map(|text| text.trim().parse().ok())
                .min(),
        }
    }
}

/// The group of `/proc/self/cgroup` that accounts for memory (`cgroups(7)`).
fn own_group(groups: &[u8]) -> Option<(Version, &[u8])> {
    let mut second = None;
    for line in groups.split(|byte| *byte == b'\n') {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (Some(_), Some(controllers), Some(path)) =
            (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if controllers.split(|byte| *byte == b',').any(|one| one == b"memory") {
            return Some((Version::One, path));
        }
        if controllers.is_empty() {
            second = Some((Version::Two, path));
        }
    }
    second
}

/// Where a group may be found, the likeliest first, each with the place that it is mounted below.
///
/// A container sees its group's path as the machine does or as `/`, and has mounted either its own
/// group or all of them; so a group that is not below what is mounted is what is mounted.
fn candidates(mounts: &[u8], version: Version, path: &[u8]) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for line in mounts.split(|byte| *byte == b'\n') {
        let Some(mount) = Mount::parse(line).filter(|mount| mount.has(version)) else { continue };
        let path = Path::new(as_path(path));
        if let Ok(below) = path.strip_prefix(&mount.root) {
            found.push((mount.point.join(below), mount.point.clone()));
        }
        found.push((mount.point.clone(), mount.point));
    }
    found
}

fn as_path(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// One line of `/proc/self/mountinfo` (`proc(5)`).
struct Mount<'a> {
    root: PathBuf,
    point: PathBuf,
    kind: &'a [u8],
    options: &'a [u8],
}

impl<'a> Mount<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let root = plain(fields.nth(3)?);
        let point = plain(fields.next()?);
        // Any number of optional fields, and a dash behind them.
        fields.find(|field| *field == b"-")?;
        let kind = fields.next()?;
        Some(Self { root, point, kind, options: fields.nth(1)? })
    }

    fn has(&self, version: Version) -> bool {
        match version {
            Version::One => {
                let mut options = self.options.split(|byte| *byte == b',');
                self.kind == b"cgroup" && options.any(|option| option == b"memory")
            }
            Version::Two => self.kind == b"cgroup2",
        }
    }
}

/// A path whose blanks and backslashes the kernel wrote in octal.
fn plain(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| *first == b'\\');
        let byte = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &behind[3..] } else { behind };
    }
    OsString::from_vec(bytes).into()
}

/// The number behind a name in a file of lines `name number`.
fn number_of(text: &[u8], name: &str) -> Option<u64> {
    let text = String::from_utf8_lossy(text);
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(' ')?;
        if key == name { value.trim().parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] =
        b"9:name=systemd:/\n4:cpu,memory:/docker/0123\n3:cpuset:/docker/0123\n0::/other\n";

    fn places(mounts: &str, version: Version, path: &str) -> Vec<String> {
        let found = candidates(mounts.as_bytes(), version, path.as_bytes());
        found.into_iter().map(|(directory, _)| directory.display().to_string()).collect()
    }

    #[test]
    fn the_group_is_the_one_that_accounts_for_memory() {
        assert_eq!(own_group(HYBRID), Some((Version::One, &b"/docker/0123"[..])));
        assert_eq!(own_group(b"0::/a:b\n"), Some((Version::Two, &b"/a:b"[..])));
        assert_eq!(own_group(b"3:memory_other:/x\n"), None);
        assert_eq!(own_group(b"nonsense\n\n:\n"), None);
        assert_eq!(own_group(b""), None);
    }

    #[test]
    fn a_group_is_found_in_a_container_and_outside() {
        let one = |root: &str| {
            format!(
                "30 1 0:2 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                 31 1 0:3 / /sys/fs/cgroup/cpu rw shared:9 - cgroup cgroup rw,cpu\n"
            )
        };
        let at = |root, path| places(&one(root), Version::One, path)[0].clone();
        // The machine, a container that sees the machine's path, one with a namespace of its own.
        assert_eq!(at("/", "/user/1"), "/sys/fs/cgroup/memory/user/1");
        assert_eq!(at("/docker/0123", "/docker/0123"), "/sys/fs/cgroup/memory/");
        assert_eq!(at("/", "/"), "/sys/fs/cgroup/memory/");
        // All that is left when neither path says anything about the other.
        assert_eq!(at("/docker/0123", "/elsewhere"), "/sys/fs/cgroup/memory");
        assert_eq!(places(&one("/"), Version::One, "/gone")[1], "/sys/fs/cgroup/memory");

        let two =
            "30 1 0:2 / /sys/fs/cgroup\\040x rw,relatime master:1 shared:2 - cgroup2 none rw\n";
        assert_eq!(places(two, Version::Two, "/a")[0], "/sys/fs/cgroup x/a");
        assert!(places(two, Version::One, "/a").is_empty());
        assert!(places("1 2 3\n - \n\n", Version::Two, "/a").is_empty());
    }

    #[test]
    fn numbers_are_found_by_their_whole_name() {
        let two = b"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(number_of(two, "oom_kill"), Some(2));
        assert_eq!(
            number_of(b"oom_kill_disable 0\nunder_oom 0\noom_kill 7\n", "oom_kill"),
            Some(7)
        );
        assert_eq!(number_of(b"oom_kill x\n", "oom_kill"), None);
        assert_eq!(number_of(b"\xff\n", "oom_kill"), None);
    }

    #[test]
    fn a_machine_that_says_nothing_of_memory_is_no_reason_to_fail() {
        let mut memory = Memory::look_up();
        memory.begin();
        assert!(!memory.ran_out());
        assert!(!Memory { group: None }.ran_out());
    }
}
