//! A container that waits for its workspace, and what gives it one.
//!
//! ```text
//!  manager ── the workspace's path ────────► process 1 of a container that waits   (wait)
//!     │   ◄── its mounts, two directories ──     │
//!     ├────── all that, its own mounts and ─► keeper: mounts the two                (keep)
//!     │       two directories of its own
//!     └────── which directories these are ──►    │ looks at them, and serves from then on
//! ```
//!
//! A container gets no mounts once it runs, and its process 1 may not mount. The keeper may, and does
//! nothing else. It is given descriptors and never a name: what the manager could not open, it cannot
//! have mounted.

mod keep;
mod wait;

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

pub(crate) use keep::run as keep;
pub(crate) use wait::wait_for_workspace;

/// Descriptors in a message at most.
const MOST_DESCRIPTORS: usize = 6;

/// How long the other side may take for each thing that it has to say: it has it ready, and may be
/// on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Takes a peer in whom the kernel says to be this user, and who is not waited for without end.
fn admit(connection: &UnixStream, uid: u32) -> io::Result<()> {
    if peer(connection)? != uid {
        return Err(io::Error::from(io::ErrorKind::PermissionDenied));
    }
    connection.set_nonblocking(false)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))
}

/// Who connected. Not asked through rustix, which takes it that the number of the peer's process is
/// known: that of one outside of the container is 0 here.
fn peer(connection: &UnixStream) -> io::Result<u32> {
    let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut length = libc::socklen_t::try_from(size_of::<libc::ucred>()).unwrap_or_default();
    // SAFETY: the pointers are to local values, the second of which says how long the first is.
    let done = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    if done == 0 { Ok(found.uid) } else { Err(io::Error::last_os_error()) }
}

/// Reads what is there, and the descriptors that came with it.
fn receive(connection: &UnixStream, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(bytes)];
    let received = recvmsg(connection, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    let descriptors = rights.flatten().collect();
    Ok((received.bytes, descriptors))
}

/// Sends bytes, and descriptors with them.
fn send(connection: &UnixStream, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let sent = sendmsg(connection, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    if sent == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
}
