//! What a command's process tells its supervisor before it begins: a descriptor, and who it is.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};
use rustix::process::Pid;

/// Longer than the name of any step and an error.
const LONGEST: usize = 256;

/// The supervisor's end, and the command's.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_passcred(&ours, true)?;
    Ok((ours, theirs))
}

/// Hands over the descriptor of a filter.
pub(crate) fn ready(socket: &OwnedFd, listener: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(b"R")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Says at which step the command's process failed, and why.
pub(crate) fn failed(socket: &OwnedFd, step: &str, error: &io::Error) {
    let text = format!("{step}: {error}");
    let _ = rustix::net::send(socket, text.as_bytes(), SendFlags::NOSIGNAL);
}

/// What came from a command's process.
#[derive(Debug)]
pub(crate) enum Message {
    /// It is confined. Its number, as this process sees it.
    Ready(OwnedFd, Pid),
    /// It failed at a step.
    Failed(String),
    /// Nothing.
    Nothing,
}

/// Reads what came; does not wait.
pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Message> {
    let mut bytes = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let count = match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags) {
        Ok(received) => received.bytes,
        Err(rustix::io::Errno::AGAIN) => 0,
        Err(error) => return Err(error.into()),
    };
    let (mut descriptor, mut pid) = (None, None);
    for message in control.drain() {
        match message {
            RecvAncillaryMessage::ScmRights(mut all) => descriptor = all.next(),
            RecvAncillaryMessage::ScmCredentials(from) => pid = Some(from.pid),
            _ => {}
        }
    }
    Ok(match (descriptor, pid) {
        (Some(descriptor), Some(pid)) => Message::Ready(descriptor, pid),
        _ if count > 0 => Message::Failed(String::from_utf8_lossy(&bytes[..count]).into_owned()),
        _ => Message::Nothing,
    })
}
