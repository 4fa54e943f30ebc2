//! What a command's process and its supervisor tell each other before the command begins.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
    sockopt,
};
use rustix::process::Pid;

/// Longer than the name of any step.
const LONGEST: usize = 256;

/// How many descriptors a command's process is sent.
const GIVEN: usize = 4;

/// The process is confined; the descriptor of its filter comes with this.
const READY: &[u8] = b"R";

/// The supervisor's end, and the command's, which is none of the standard streams.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_passcred(&ours, true)?;
    let theirs = match theirs.as_raw_fd() {
        0..=2 => rustix::io::fcntl_dupfd_cloexec(&theirs, 3)?,
        _ => theirs,
    };
    Ok((ours, theirs))
}

/// Sends a process that waits what it needs: its standard streams and Landlock's rules.
pub(crate) fn go(socket: &OwnedFd, descriptors: [BorrowedFd<'_>; GIVEN]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIVEN))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(b"G")], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Waits for that; `None` if nobody will send it any more.
pub(crate) fn wait(socket: &OwnedFd) -> io::Result<Option<[OwnedFd; GIVEN]>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(GIVEN))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    let mut given = [const { None }; GIVEN];
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(all) = message {
            given.iter_mut().zip(all).for_each(|(place, descriptor)| *place = Some(descriptor));
        }
    }
    Ok(match given {
        [Some(input), Some(output), Some(errors), Some(rules)] => {
            Some([input, output, errors, rules])
        }
        _ => None,
    })
}

/// Hands over the descriptor of a filter.
pub(crate) fn ready(socket: &OwnedFd, listener: &OwnedFd) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(socket, &[IoSlice::new(READY)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Says at which step the command's process failed, and why. Allocates nothing: the supervisor may just do so.
pub(crate) fn failed(socket: impl AsFd, step: &str, error: &io::Error) {
    let number = error.raw_os_error().unwrap_or(libc::EIO).to_ne_bytes();
    let parts = [IoSlice::new(&number), IoSlice::new(step.as_bytes())];
    let _ = sendmsg(socket, &parts, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL);
}

fn failure(bytes: &[u8]) -> Option<String> {
    let (number, step) = bytes.split_first_chunk()?;
    let error = io::Error::from_raw_os_error(i32::from_ne_bytes(*number));
    Some(format!("{}: {error}", String::from_utf8_lossy(step)))
}

/// What came from a command's process.
#[derive(Debug)]
pub(crate) enum Message {
    /// It is confined, and executes. Its filter, unless there was no room for a descriptor; its number, as this
    /// process sees it.
    Ready(Option<OwnedFd>, Pid),
    /// It failed at a step.
    Failed(String),
    /// It has executed its command, or is gone.
    End,
}

/// Waits for what comes next.
pub(crate) fn receive(socket: &OwnedFd) -> io::Result<Message> {
    let mut bytes = [0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)
    });
    let count = match received {
        Ok(received) => received.bytes,
        // Who is killed leaves what it did not read.
        Err(rustix::io::Errno::CONNRESET) => 0,
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
    Ok(match (&bytes[..count], pid) {
        (READY, Some(pid)) => Message::Ready(descriptor, pid),
        (other, _) => failure(other).map_or(Message::End, Message::Failed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_arrives_as_it_was_meant() {
        let (ours, theirs) = pair().unwrap();
        let own = rustix::process::getpid();
        ready(&theirs, &ours).unwrap();
        assert!(matches!(receive(&ours).unwrap(), Message::Ready(Some(_), pid) if pid == own));
        // The descriptor was lost: there was no room for it.
        rustix::net::send(&theirs, READY, SendFlags::empty()).unwrap();
        assert!(matches!(receive(&ours).unwrap(), Message::Ready(None, pid) if pid == own));
        failed(&theirs, "enter namespaces", &io::Error::from_raw_os_error(libc::ENOSPC));
        let Message::Failed(reason) = receive(&ours).unwrap() else { panic!("no failure") };
        assert_eq!(reason, "enter namespaces: No space left on device (os error 28)");
        let streams = [ours.as_fd(); GIVEN];
        go(&ours, streams).unwrap();
        assert!(wait(&theirs).unwrap().is_some());
        drop(theirs);
        assert!(matches!(receive(&ours).unwrap(), Message::End));
        let (ours, theirs) = pair().unwrap();
        drop(ours);
        assert!(wait(&theirs).unwrap().is_none());
    }
}
