//! Handing a descriptor to a server on the same machine.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};
use tokio::io::{AsyncReadExt as _, Interest};
use tokio::net::UnixStream;

use super::connect;
use super::failure::Failure;
use super::patience::random;

/// What the server says when it has the descriptor.
const TAKEN: u8 = b'k';

/// Hands over a descriptor and returns the ticket that a request names it by.
///
/// One message goes to the socket: the ticket, a line feed, and the descriptor beside them. The
/// server answers with one byte.
pub(super) async fn hand_over(
    socket: &Path,
    descriptor: BorrowedFd<'_>,
    timeout: Duration,
) -> Result<String> {
    let ticket = format!("{:016x}{:016x}", random()?, random()?);
    let handing = async {
        let stream =
            connect::unix(socket).await.map_err(|trouble| Failure::from(trouble).into_reason())?;
        give(stream, &ticket, descriptor).await.map_err(|error| failed(socket, &error))
    };
    tokio::time::timeout(timeout, handing).await.unwrap_or_else(|_| {
        let error = io::Error::new(io::ErrorKind::TimedOut, "the server does not take it");
        Err(failed(socket, &error))
    })?;
    Ok(ticket)
}

async fn give(mut stream: UnixStream, ticket: &str, descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let line = format!("{ticket}\n");
    let sent = stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let descriptors = [descriptor];
            if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
                return Err(io::Error::other("no room for a descriptor"));
            }
            let parts = [IoSlice::new(line.as_bytes())];
            Ok(sendmsg(stream.as_fd(), &parts, &mut control, SendFlags::NOSIGNAL)?)
        })
        .await?;
    if sent != line.len() {
        return Err(io::Error::new(io::ErrorKind::WriteZero, "the message was cut"));
    }
    if stream.read_u8().await? != TAKEN {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is not understood"));
    }
    Ok(())
}

fn failed(socket: &Path, error: &io::Error) -> ToolError {
    let reason = format!("{}: cannot hand over standard input: {error}", socket.display());
    ToolError::new(ErrorCode::Unavailable, reason).with_detail("path", ByteString::from(socket))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::OwnedFd;
    use std::os::unix::net::{UnixListener, UnixStream as BlockingStream};

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// The other end: takes one descriptor and answers.
    fn take(listener: &UnixListener, answer: &[u8]) -> (String, Option<OwnedFd>) {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = [0; 64];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [io::IoSliceMut::new(&mut line)];
        let read = recvmsg(&stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
        let descriptor = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut all) => all.next(),
            _ => None,
        });
        stream.write_all(answer).unwrap();
        (String::from_utf8(line[..read.bytes].to_vec()).unwrap(), descriptor)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn the_server_gets_the_ticket_and_the_very_descriptor() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("descriptors");
        let listener = UnixListener::bind(&path).unwrap();
        let server = std::thread::spawn(move || take(&listener, b"k"));
        let (ours, mut theirs) = BlockingStream::pair().unwrap();
        let ticket =
            runtime().block_on(hand_over(&path, ours.as_fd(), Duration::from_secs(5))).unwrap();
        assert_eq!(ticket.len(), 32);
        assert!(ticket.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)));
        let (line, descriptor) = server.join().unwrap();
        assert_eq!(line, format!("{ticket}\n"));
        theirs.write_all(b"x").unwrap();
        let mut byte = [0];
        BlockingStream::from(descriptor.unwrap()).read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }

    #[test]
    fn an_answer_that_is_wrong_missing_or_late_is_an_error() {
        let home = tempfile::tempdir().unwrap();
        for (name, answer) in [("wrong", &b"n"[..]), ("none", &b""[..])] {
            let path = home.path().join(name);
            let listener = UnixListener::bind(&path).unwrap();
            let server = std::thread::spawn(move || take(&listener, answer));
            let handing = hand_over(&path, listener_of_nothing(), Duration::from_secs(5));
            let error = runtime().block_on(handing).unwrap_err();
            assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
            server.join().unwrap();
        }
        let path = home.path().join("late");
        let _listener = UnixListener::bind(&path).unwrap();
        let handing = hand_over(&path, listener_of_nothing(), Duration::from_millis(20));
        let error = runtime().block_on(handing).unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    }

    fn listener_of_nothing() -> BorrowedFd<'static> {
        rustix::stdio::stdin()
    }
}
