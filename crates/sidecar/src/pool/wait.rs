//! Process 1 of a container that has no workspace yet. No command runs before it has one, and it has
//! one for good.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{WaitOptions, wait};

use super::{admit, receive, send};
use crate::arguments::Init;
use crate::container::signals::Signals;
use crate::say;

/// Where it is claimed, in the directory in which it waits. Once claimed, that is there no more.
const SOCKET: &str = "wait";

/// The longest path of a workspace (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;

/// What is known of a directory: device and number, eight bytes each; two directories.
const IDENTITIES: usize = 32;

/// The answer to a claim, and to the word that all is mounted.
const YES: u8 = 0;

const MOUNTS: &str = "/proc/self/ns/mnt";

/// Waits until it is claimed; returns the workspace's directory, which is mounted then as the shared
/// one is. Nothing if it is told to end, or nobody came in its time to live.
///
/// # Errors
/// In words, if it cannot wait, or a claim fails: it is of no use to anybody then.
pub(crate) fn wait_for_workspace(
    wanted: &Init,
    place: &Path,
    signals: &Signals,
) -> Result<Option<PathBuf>, String> {
    let unusable = |error: io::Error| format!("cannot wait for a workspace: {error}");
    let listener = listen(&place.join(SOCKET)).map_err(unusable)?;
    say("waiting for a workspace");
    let began = Instant::now();
    loop {
        let left = wanted.ttl.map(|ttl| ttl.saturating_sub(began.elapsed()));
        if left == Some(Duration::ZERO) {
            return Ok(None);
        }
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut polled = [
            PollFd::new(signals.descriptor(), PollFlags::IN),
            PollFd::new(&listener, PollFlags::IN),
        ];
        let _ = poll(&mut polled, left.as_ref());
        if signals.take().iter().any(|signal| *signal != libc::SIGCHLD) {
            return Ok(None);
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let Ok((mut connection, _)) = listener.accept() else { continue };
        if admit(&connection, wanted.uid).is_err() {
            continue;
        }
        // Who says nothing looked whether it waits.
        let Some(root) = asked(&mut connection) else { continue };
        // From here on it is somebody's: what fails now ends it.
        drop(listener);
        claim(&connection, &root, &wanted.shared, place)
            .map_err(|error| format!("cannot have the workspace {}: {error}", root.display()))?;
        return Ok(Some(root));
    }
}

fn listen(socket: &Path) -> io::Result<UnixListener> {
    match fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(socket)?;
    // The directory is the caller's alone, and the kernel says who connects.
    fs::set_permissions(socket, Permissions::from_mode(0o666))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// The workspace's path; nothing if that is not what was said.
fn asked(connection: &mut UnixStream) -> Option<PathBuf> {
    let mut length = [0; 4];
    connection.read_exact(&mut length).ok()?;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    if length > LONGEST_PATH {
        return None;
    }
    let mut bytes = vec![0; length];
    connection.read_exact(&mut bytes).ok()?;
    let root = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
    let plain =
        root.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let fits = root.is_absolute() && plain && root != Path::new("/") && !bytes.contains(&0);
    fits.then_some(root)
}

/// Makes what is to be mounted on, lets it be mounted on, and makes sure that it was.
fn claim(connection: &UnixStream, root: &Path, shared: &Path, place: &Path) -> io::Result<()> {
    // As an engine makes it.
    for directory in [root, shared] {
        DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    }
    let mounts = rustix::fs::open(MOUNTS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let targets = [directory(root)?, directory(shared)?];
    send(connection, &[YES], &[mounts.as_fd(), targets[0].as_fd(), targets[1].as_fd()])?;
    drop((mounts, targets));
    let mut wanted = [0; IDENTITIES];
    let (count, _) = receive(connection, &mut wanted)?;
    if count != IDENTITIES {
        return Err(io::Error::other("whoever claimed it went away"));
    }
    let mut found = Vec::with_capacity(IDENTITIES);
    for path in [root, shared] {
        let about = rustix::fs::stat(path)?;
        found.extend_from_slice(&about.st_dev.to_le_bytes());
        found.extend_from_slice(&about.st_ino.to_le_bytes());
    }
    if found != wanted {
        return Err(io::Error::other("something else is mounted there"));
    }
    // Nothing is left that tells it from a container that never waited.
    fs::remove_dir(place)?;
    send(connection, &[YES], &[])
}

fn directory(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn said(bytes: &[u8]) -> Option<PathBuf> {
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&u32::try_from(bytes.len()).unwrap().to_le_bytes()).unwrap();
        theirs.write_all(bytes).unwrap();
        drop(theirs);
        asked(&mut ours)
    }

    #[test]
    fn only_an_absolute_path_without_turns_is_a_workspace() {
        assert_eq!(
            said(b"/srv/a b\xff"),
            Some(Path::new(std::ffi::OsStr::from_bytes(b"/srv/a b\xff")).into())
        );
        for bad in [&b""[..], b"/", b"work", b"/srv/../etc", b"/a\0b", &[b'/'; 5000]] {
            assert_eq!(said(bad), None, "{bad:?}");
        }
        let (mut ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&[255; 4]).unwrap();
        assert_eq!(asked(&mut ours), None);
    }

    #[test]
    fn what_is_not_mounted_is_not_served() {
        let home = tempfile::tempdir().unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let other = std::thread::spawn(move || {
            let mut answer = [1];
            let (count, descriptors) = receive(&theirs, &mut answer).unwrap();
            assert_eq!((count, answer, descriptors.len()), (1, [YES], 3));
            theirs.set_nonblocking(false).unwrap();
            send(&theirs, &[7; IDENTITIES], &[]).unwrap();
            theirs
        });
        claim(&ours, &home.path().join("a/b"), home.path(), home.path()).unwrap_err();
        other.join().unwrap();
    }
}
