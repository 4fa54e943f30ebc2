//! What a call is about, read from the process that waits in it.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use super::notification::Notification;
use crate::seccomp::{Shape, opens_for_writing};

/// `PATH_MAX`.
const LONGEST_PATH: usize = 4096;

/// Memory is read up to the end of a page at a time: the next one may not be there.
const PAGE: u64 = 4096;

/// Something that a call is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A path that would be changed.
    Write(PathBuf),
    /// A path that would be read.
    Read(PathBuf),
    /// A program.
    Execute(PathBuf),
    /// A socket in the file system.
    Socket(PathBuf),
    /// A socket with a name of its own.
    Abstract(Vec<u8>),
    /// An address in a network.
    Network(String, Reach),
}

/// Where an address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// This machine, which in the workspace lane is the command itself.
    Loopback,
    /// Anywhere else.
    Outside,
}

impl Target {
    /// How it is shown.
    pub(crate) fn shown(self) -> PathBuf {
        match self {
            Self::Write(path) | Self::Read(path) | Self::Execute(path) | Self::Socket(path) => path,
            Self::Abstract(name) => {
                let mut shown = b"@".to_vec();
                shown.extend(name);
                OsString::from_vec(shown).into()
            }
            Self::Network(address, _) => address.into(),
        }
    }
}

/// What a call is about; nothing if it cannot be read.
pub(crate) fn targets(notification: &Notification, shape: Shape) -> Vec<Target> {
    let process = Process(notification.pid());
    let argument = |index| notification.argument(index);
    let path =
        |directory: Option<u8>, index: u8| process.path(directory.map(argument), argument(index));
    let target = match shape {
        Shape::Nothing => None,
        Shape::Path(directory, index) => path(directory, index).map(Target::Write),
        Shape::Two(first, second) => {
            let both = [path(first.0, first.1), path(second.0, second.1)];
            return both.into_iter().flatten().map(Target::Write).collect();
        }
        Shape::Open(directory, index, flags) => {
            let writes = opens_for_writing(argument(flags));
            path(directory, index).map(if writes { Target::Write } else { Target::Read })
        }
        Shape::OpenHow => {
            let flags = process
                .read(argument(2), 8)
                .and_then(|bytes| Some(u64::from_ne_bytes(bytes.try_into().ok()?)));
            let writes = flags.is_none_or(opens_for_writing);
            path(Some(0), 1).map(if writes { Target::Write } else { Target::Read })
        }
        Shape::Descriptor(index) => process.descriptor(argument(index)).map(Target::Write),
        Shape::Address(index, length) => process
            .read(argument(index), argument(length))
            .and_then(|bytes| process.address(&bytes)),
        Shape::Program(directory, index) => path(directory, index).map(Target::Execute),
    };
    target.into_iter().collect()
}

/// The name of the file that a process executes.
pub(crate) fn program(pid: u32) -> Option<OsString> {
    Process(pid).link("exe").and_then(|path| Some(path.file_name()?.to_owned()))
}

struct Process(u32);

impl Process {
    /// Reads memory: as much as there is, up to the length.
    fn read(&self, address: u64, length: u64) -> Option<Vec<u8>> {
        let length = usize::try_from(length).ok()?.min(LONGEST_PATH);
        let mut bytes = vec![0_u8; length];
        let local = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: length };
        let remote = libc::iovec { iov_base: address as *mut libc::c_void, iov_len: length };
        // SAFETY: the kernel writes at most `length` bytes behind the local pointer; the other is
        // another process's and the kernel's to check.
        let count = unsafe {
            libc::process_vm_readv(
                self.0 as libc::pid_t,
                &raw const local,
                1,
                &raw const remote,
                1,
                0,
            )
        };
        bytes.truncate(usize::try_from(count).ok()?);
        Some(bytes)
    }

    /// Reads a string up to its end.
    fn string(&self, address: u64) -> Option<Vec<u8>> {
        let mut all = Vec::new();
        let mut at = address;
        while all.len() < LONGEST_PATH {
            // Most paths are short, and a short read is a cheap one.
            let length = (PAGE - at % PAGE).min(if all.is_empty() { 256 } else { PAGE });
            let bytes = self.read(at, length).filter(|bytes| !bytes.is_empty())?;
            if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
                all.extend(&bytes[..end]);
                return Some(all);
            }
            at += bytes.len() as u64;
            all.extend(bytes);
        }
        None
    }

    fn link(&self, name: &str) -> Option<PathBuf> {
        let link = rustix::fs::readlink(format!("/proc/{}/{name}", self.0), Vec::new()).ok()?;
        let path = PathBuf::from(OsString::from_vec(link.into_bytes()));
        path.is_absolute().then_some(path)
    }

    fn descriptor(&self, number: u64) -> Option<PathBuf> {
        self.link(&format!("fd/{}", number as u32 as i32))
    }

    /// A path beneath a directory's descriptor, or the working directory.
    fn path(&self, directory: Option<u64>, address: u64) -> Option<PathBuf> {
        // Calls that take a descriptor and no path have none at all.
        let text =
            if address == 0 && directory.is_some() { Vec::new() } else { self.string(address)? };
        let path = PathBuf::from(OsString::from_vec(text));
        if path.is_absolute() {
            return self.through_proc(plain(&path));
        }
        // Descriptors are numbers of 32 bits.
        let base = match directory.map(|number| number as u32 as i32) {
            None | Some(libc::AT_FDCWD) => self.link("cwd")?,
            Some(number) => self.link(&format!("fd/{number}"))?,
        };
        Some(plain(&base.join(path)))
    }

    /// Where a path leads that goes through the process's own entries in `/proc`: their links mean
    /// something else for us. Another process's are taken for its own, which is as good as can be said.
    /// A descriptor without a path, such as a pipe's, leads nowhere.
    fn through_proc(&self, path: PathBuf) -> Option<PathBuf> {
        /// Links that lead to links; a path that goes on for longer is shown as it is.
        const MOST: usize = 8;
        let mut path = path;
        for _ in 0..MOST {
            let Some(inner) = own_entry(&path) else { break };
            let mut parts = inner.components();
            let first = parts.next().map(|part| part.as_os_str().to_owned()).unwrap_or_default();
            let base = match first.to_str() {
                Some("root") => PathBuf::from("/"),
                Some("cwd") => self.link("cwd")?,
                Some("fd") => {
                    let number =
                        parts.next().and_then(|part| part.as_os_str().to_str()?.parse().ok());
                    let Some::<u32>(number) = number else { break };
                    self.link(&format!("fd/{number}"))?
                }
                _ => break,
            };
            path = plain(&base.join(parts.as_path()));
        }
        Some(path)
    }

    /// `struct sockaddr` of the families that are known.
    fn address(&self, bytes: &[u8]) -> Option<Target> {
        let (family, rest) = bytes.split_at_checked(2)?;
        match i32::from(u16::from_ne_bytes(family.try_into().ok()?)) {
            libc::AF_UNIX => Some(match rest {
                [] => return None,
                [0, name @ ..] => Target::Abstract(name.to_vec()),
                path => {
                    let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
                    let path = PathBuf::from(OsString::from_vec(path[..end].to_vec()));
                    let path = if path.is_absolute() { path } else { self.link("cwd")?.join(path) };
                    Target::Socket(plain(&path))
                }
            }),
            libc::AF_INET => {
                let address: [u8; 4] = rest.get(2..6)?.try_into().ok()?;
                let address = std::net::Ipv4Addr::from(address);
                Some(network(address.into(), rest))
            }
            libc::AF_INET6 => {
                let address: [u8; 16] = rest.get(6..22)?.try_into().ok()?;
                let address = std::net::Ipv6Addr::from(address);
                Some(network(address.to_canonical(), rest))
            }
            _ => None,
        }
    }
}

/// What is asked of a process's own directory in `/proc`, also by the names that `/dev` has for it.
fn own_entry(path: &Path) -> Option<PathBuf> {
    if let Ok(number) = path.strip_prefix("/dev/fd") {
        return Some(Path::new("fd").join(number));
    }
    for (index, name) in ["/dev/stdin", "/dev/stdout", "/dev/stderr"].iter().enumerate() {
        if path == Path::new(name) {
            return Some(Path::new("fd").join(index.to_string()));
        }
    }
    let mut parts = path.strip_prefix("/proc").ok()?.components();
    let who = parts.next()?.as_os_str().to_str()?;
    let process =
        matches!(who, "self" | "thread-self") || who.bytes().all(|byte| byte.is_ascii_digit());
    process.then(|| parts.as_path().to_owned())
}

fn network(address: std::net::IpAddr, rest: &[u8]) -> Target {
    let port = rest.first_chunk().map_or(0, |port| u16::from_be_bytes(*port));
    let inside = address.is_loopback() || address.is_unspecified();
    let reach = if inside { Reach::Loopback } else { Reach::Outside };
    Target::Network(std::net::SocketAddr::new(address, port).to_string(), reach)
}

/// A path without `.` and, as far as can be said from the text, without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                plain.pop();
            }
            Component::CurDir => {}
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_hostile_ones_are_nothing() {
        let process = Process(std::process::id());
        let unix = |name: &[u8]| {
            let mut bytes = (libc::AF_UNIX as u16).to_ne_bytes().to_vec();
            bytes.extend(name);
            process.address(&bytes)
        };
        assert_eq!(unix(b"/run/x\0rest"), Some(Target::Socket("/run/x".into())));
        assert_eq!(unix(b"/run/../x"), Some(Target::Socket("/x".into())));
        assert_eq!(unix(b"\0name"), Some(Target::Abstract(b"name".to_vec())));
        assert_eq!(unix(b""), None);
        let mut four = (libc::AF_INET as u16).to_ne_bytes().to_vec();
        four.extend([0, 80, 127, 0, 0, 1]);
        let shown = |address: &str, reach| Some(Target::Network(address.into(), reach));
        assert_eq!(process.address(&four), shown("127.0.0.1:80", Reach::Loopback));
        four[4] = 8;
        assert_eq!(process.address(&four), shown("8.0.0.1:80", Reach::Outside));
        assert_eq!(process.address(&four[..6]), None);
        assert_eq!(process.address(&[1]), None);
    }

    #[test]
    fn a_process_own_links_are_followed() {
        let process = Process(std::process::id());
        let through = |path: &str| process.through_proc(path.into()).unwrap();
        let cwd = std::env::current_dir().unwrap();
        assert_eq!(through("/proc/self/root/etc/x"), Path::new("/etc/x"));
        assert_eq!(through("/proc/1/root/proc/self/root/x"), Path::new("/x"));
        assert_eq!(through("/proc/thread-self/cwd/x"), cwd.join("x"));
        let file = std::fs::File::open("/etc/passwd").unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&file);
        assert_eq!(through(&format!("/dev/fd/{number}")), Path::new("/etc/passwd"));
        for plain in
            ["/proc/self/status", "/proc/meminfo", "/proc", "/etc/passwd", "/proc/self/fd/x"]
        {
            assert_eq!(through(plain), Path::new(plain));
        }
        let (pipe, _other) = std::io::pipe().unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&pipe);
        assert_eq!(process.through_proc(format!("/proc/self/fd/{number}").into()), None);
    }

    #[test]
    fn memory_that_is_not_there_is_nothing() {
        let process = Process(std::process::id());
        assert_eq!(process.string(8), None);
        assert_eq!(process.string(c"/a/b".as_ptr() as u64), Some(b"/a/b".to_vec()));
        assert_eq!(plain(Path::new("/a/./b/../c")), Path::new("/a/c"));
        assert_eq!(plain(Path::new("/../../c")), Path::new("/c"));
    }
}
