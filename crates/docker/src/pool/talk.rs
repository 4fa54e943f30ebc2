//! What is said to a container that waits and to the keeper (`crates/sidecar/src/pool`).
//!
//! Both are root's programs in containers of ours, in directories that nobody else gets to, and neither
//! is waited for without end.

use std::fmt;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The sockets' names in their directories.
const WAIT: &str = "wait";
pub(super) const SOCKET: &str = "socket";

/// How long either may take for an answer: they need a millisecond, and a machine may be very busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the keeper is asked.
const MOUNT: u8 = b'm';
const STAY: u8 = b's';

/// Descriptors that a container answers with, and that go to the keeper.
const ANSWERED: usize = 3;
const ASKED: usize = 6;

const MOUNTS: &str = "/proc/self/ns/mnt";

/// Why a container could not be given a workspace.
#[derive(Debug)]
pub(super) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> Refused {
    move |error| Refused(format!("{what}: {error}"))
}

/// Connects to process 1 of a container that waits.
pub(super) async fn container(run: &Path) -> io::Result<UnixStream> {
    connect(run, WAIT).await
}

/// Connects to the keeper.
pub(super) async fn keeper(directory: &Path) -> io::Result<UnixStream> {
    connect(directory, SOCKET).await
}

/// Connects to root's server in a directory.
async fn connect(directory: &Path, name: &str) -> io::Result<UnixStream> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::open(directory, flags, Mode::empty())?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let socket = rustix::fs::openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(rustix::fs::fstat(&socket)?.st_mode) != FileType::Socket {
        return Err(io::Error::other("it is no socket"));
    }
    // The descriptor's own name is short enough for a socket.
    let name = format!("/proc/self/fd/{}", socket.as_raw_fd());
    let stream = tokio::net::UnixStream::connect(name).await?;
    let peer = stream.peer_cred()?.uid();
    if peer != 0 {
        return Err(io::Error::other(format!("its server runs as user {peer}")));
    }
    // What follows is short, and done where waiting holds nobody up.
    let stream = stream.into_std()?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Tells the keeper that it is needed.
pub(super) fn stay(mut keeper: UnixStream) -> io::Result<()> {
    keeper.write_all(&[STAY])?;
    answer(&mut keeper)
}

/// Gives a container its workspace. Both directories are opened here, as whoever runs this: what they
/// may not reach they cannot have mounted.
pub(super) fn hand_over(
    mut container: UnixStream,
    mut keeper: UnixStream,
    root: &Path,
    shared: &Path,
) -> Result<(), Refused> {
    let directories = [
        plain(root).map_err(failed("open the workspace"))?,
        plain(shared).map_err(failed("open the shared directory"))?,
    ];
    let mounts = rustix::fs::open(MOUNTS, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let mounts = mounts.map_err(|error| failed("open this program's mounts")(error.into()))?;

    let path = root.as_os_str().as_bytes();
    let mut request = u32::try_from(path.len()).unwrap_or(u32::MAX).to_le_bytes().to_vec();
    request.extend_from_slice(path);
    container.write_all(&request).map_err(failed("ask the container"))?;
    let theirs = receive(&container).map_err(failed("hear from the container"))?;

    let all = [&mounts, &directories[0], &directories[1], &theirs[0], &theirs[1], &theirs[2]];
    send(&keeper, &all.map(|one| one.as_fd())).map_err(failed("ask the keeper"))?;
    answer(&mut keeper).map_err(failed("have the keeper mount"))?;

    let mut identities = Vec::new();
    for directory in &directories {
        let about = rustix::fs::fstat(directory)
            .map_err(|error| failed("look at a directory")(error.into()))?;
        identities.extend_from_slice(&about.st_dev.to_le_bytes());
        identities.extend_from_slice(&about.st_ino.to_le_bytes());
    }
    container.write_all(&identities).map_err(failed("tell the container"))?;
    let mut yes = [1];
    container.read_exact(&mut yes).map_err(failed("have the container look at its mounts"))?;
    match yes {
        [0] => Ok(()),
        _ => Err(Refused("the container does not want its mounts".to_owned())),
    }
}

/// A directory, by a path that no link is in.
fn plain(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    Ok(rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve)?)
}

/// The keeper's answer: which step failed and why, or zeros.
fn answer(keeper: &mut UnixStream) -> io::Result<()> {
    let mut answer = [0; 5];
    keeper.read_exact(&mut answer)?;
    let [step, number @ ..] = answer;
    match (step, i32::from_le_bytes(number)) {
        (0, 0) => Ok(()),
        (step, number) => {
            let error = io::Error::from_raw_os_error(number);
            Err(io::Error::new(error.kind(), format!("step {step}: {error}")))
        }
    }
}

fn receive(connection: &UnixStream) -> io::Result<[OwnedFd; ANSWERED]> {
    let mut byte = [1];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(ANSWERED))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut byte)];
    let received = recvmsg(connection, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let all: Vec<OwnedFd> = rights.flatten().collect();
    match (received.bytes, byte, <[OwnedFd; ANSWERED]>::try_from(all)) {
        (1, [0], Ok(all)) => Ok(all),
        _ => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
    }
}

fn send(connection: &UnixStream, descriptors: &[BorrowedFd<'_>; ASKED]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(ASKED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    sendmsg(connection, &[IoSlice::new(&[MOUNT])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn only_roots_server_at_a_socket_is_spoken_to() {
        let home = tempfile::tempdir().unwrap();
        assert!(container(home.path()).await.is_err());
        std::fs::write(home.path().join(WAIT), "").unwrap();
        assert!(container(home.path()).await.is_err(), "no socket");
        let listening = UnixListener::bind(home.path().join(SOCKET)).unwrap();
        assert_eq!(keeper(home.path()).await.is_ok(), rustix::process::geteuid().is_root());
        drop(listening);
        std::fs::remove_file(home.path().join(WAIT)).unwrap();
        std::os::unix::fs::symlink(home.path().join(SOCKET), home.path().join(WAIT)).unwrap();
        assert!(container(home.path()).await.is_err(), "a link");
    }

    #[test]
    fn no_link_leads_to_a_workspace() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        std::fs::create_dir_all(home.join("real/work")).unwrap();
        std::os::unix::fs::symlink(home.join("real"), home.join("link")).unwrap();
        plain(&home.join("real/work")).unwrap();
        plain(&home.join("link/work")).unwrap_err();
        plain(&home.join("link")).unwrap_err();
    }
}
