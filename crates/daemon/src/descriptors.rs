//! The door for descriptors: a client on this machine hands one over under a ticket, and names the
//! ticket in a request. That is how a command reads the very standard input that its caller has.

use std::collections::HashMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::cmsg_space;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use stigmer_core::{ErrorCode, Result, ToolError};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

/// Hexadecimal digits of a ticket: 128 bits, which nobody guesses in the time that it is good for.
const TICKET_DIGITS: usize = 32;

/// The most descriptors that wait to be asked for: each is an open file of ours.
const MAX_TICKETS: usize = 256;

/// How long a descriptor waits. The request follows at once, and while it waits nobody sees the end
/// of a pipe whose other end it is.
const TICKET_LIFE: Duration = Duration::from_secs(10);

/// Clients that are served at the same time; the others wait in the socket's queue.
const MAX_CLIENTS: usize = 32;

/// How long a client may take for its thirty-three bytes.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait when no connection can be taken, for want of descriptors most of all.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Descriptors that wait to be asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Descriptors {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The number tells a descriptor from a later one under the same ticket.
    tickets: HashMap<String, (u64, OwnedFd)>,
    next: u64,
}

impl Descriptors {
    /// The descriptor of a ticket; each is given once.
    pub(crate) fn take(&self, ticket: &str) -> Result<OwnedFd> {
        let found = self.lock().tickets.remove(ticket);
        found.map(|(_, descriptor)| descriptor).ok_or_else(|| {
            let message = "no descriptor waits under this ticket";
            ToolError::new(ErrorCode::InvalidArgument, message).with_hint(format!(
                "hand it over on the descriptor socket first; it waits {} s",
                TICKET_LIFE.as_secs()
            ))
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        // Nothing panics while it is held, and the map is whole at every moment.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a descriptor; not under a ticket that is taken, and not too many.
    fn keep(&self, ticket: String, descriptor: OwnedFd) -> Option<u64> {
        let mut waiting = self.lock();
        if waiting.tickets.len() >= MAX_TICKETS || waiting.tickets.contains_key(&ticket) {
            return None;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.tickets.insert(ticket, (number, descriptor));
        Some(number)
    }

    fn expire(&self, ticket: &str, number: u64) {
        let mut waiting = self.lock();
        if waiting.tickets.get(ticket).is_some_and(|(kept, _)| *kept == number) {
            waiting.tickets.remove(ticket);
        }
    }

    /// Takes descriptors for ever.
    pub(crate) async fn serve(self, listener: UnixListener) {
        let clients = Arc::new(Semaphore::new(MAX_CLIENTS));
        loop {
            let Ok(permit) = Arc::clone(&clients).acquire_owned().await else { return };
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "no connection for a descriptor could be taken");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let descriptors = self.clone();
            tokio::spawn(async move {
                let served = descriptors.client(stream);
                if !matches!(tokio::time::timeout(CLIENT_PATIENCE, served).await, Ok(Ok(()))) {
                    tracing::debug!("a descriptor was not taken");
                }
                drop(permit);
            });
        }
    }

    /// Serves one client: its ticket and descriptor, and our answer.
    async fn client(&self, mut stream: UnixStream) -> io::Result<()> {
        let uid = stream.peer_cred()?.uid();
        if uid != rustix::process::geteuid().as_raw() && uid != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let (ticket, descriptor) = receive(&stream).await?;
        let number = self.keep(ticket.clone(), descriptor).ok_or(io::ErrorKind::ResourceBusy)?;
        let descriptors = self.clone();
        let kept = ticket.clone();
        tokio::spawn(async move {
            tokio::time::sleep(TICKET_LIFE).await;
            descriptors.expire(&kept, number);
        });
        if let Err(error) = stream.write_all(b"k").await {
            self.expire(&ticket, number);
            return Err(error);
        }
        Ok(())
    }
}

/// A ticket, its line end, and one descriptor: nothing less and nothing more.
async fn receive(stream: &UnixStream) -> io::Result<(String, OwnedFd)> {
    const MESSAGE: usize = TICKET_DIGITS + 1;
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let mut message = Vec::with_capacity(MESSAGE);
    let mut descriptors = Vec::new();
    while message.len() < MESSAGE {
        // One byte more than there is room for shows a message that is too long.
        let mut buffer = [0; MESSAGE + 1];
        let room = MESSAGE + 1 - message.len();
        let count = stream
            .async_io(Interest::READABLE, || {
                receive_once(stream.as_fd(), &mut buffer[..room], &mut descriptors)
            })
            .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        message.extend_from_slice(&buffer[..count]);
        if message.len() > MESSAGE || descriptors.len() > 1 {
            return Err(malformed());
        }
    }
    let (digits, end) = message.split_at(TICKET_DIGITS);
    let hexadecimal = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let descriptor = descriptors.pop().ok_or_else(malformed)?;
    if end != b"\n" || !digits.iter().all(hexadecimal) {
        return Err(malformed());
    }
    let ticket = String::from_utf8(digits.to_vec()).map_err(|_| malformed())?;
    Ok((ticket, descriptor))
}

fn receive_once(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    // Room for two, so that a second one is seen; the kernel closes those that have no room.
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(buffer)];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut parts, &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::io::{IoSlice, Read, Write};
    use std::os::unix::net::UnixStream as Client;

    const TICKET: &str = "00112233445566778899aabbccddeeff";

    fn send(client: &Client, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(3))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(
            descriptors.is_empty() || control.push(SendAncillaryMessage::ScmRights(descriptors))
        );
        let sent = sendmsg(client, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL);
        assert_eq!(sent.unwrap(), bytes.len());
    }

    /// A door, and what a client says at it; returns the door and its answer.
    fn say(said: impl FnOnce(&Client) + Send + 'static) -> (Descriptors, Vec<u8>) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("d");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let descriptors = Descriptors::default();
        let answer = runtime.block_on(async {
            let listener = UnixListener::bind(&path).unwrap();
            tokio::spawn(descriptors.clone().serve(listener));
            let client = tokio::task::spawn_blocking(move || {
                let mut client = Client::connect(path).unwrap();
                said(&client);
                let _ = client.shutdown(std::net::Shutdown::Write);
                let mut answer = Vec::new();
                // A connection that was closed over bytes that nobody read is reset.
                let _ = client.read_to_end(&mut answer);
                answer
            });
            client.await.unwrap()
        });
        (descriptors, answer)
    }

    #[test]
    fn a_descriptor_is_kept_under_its_ticket_and_given_once() {
        let (mut reader, writer) = io::pipe().unwrap();
        let (descriptors, answer) = say(move |client| {
            send(client, format!("{TICKET}\n").as_bytes(), &[writer.as_fd()]);
        });
        assert_eq!(answer, b"k");
        assert!(descriptors.take(&TICKET.replace('0', "1")).is_err());
        let mut file = std::fs::File::from(descriptors.take(TICKET).unwrap());
        file.write_all(b"x").unwrap();
        drop(file);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "x");
        let error = descriptors.take(TICKET).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument);
        assert!(!error.message.contains(TICKET));
    }

    #[test]
    fn a_message_may_come_in_pieces() {
        let (_reader, writer) = io::pipe().unwrap();
        let (descriptors, answer) = say(move |client| {
            send(client, &TICKET.as_bytes()[..5], &[]);
            send(client, &TICKET.as_bytes()[5..], &[writer.as_fd()]);
            send(client, b"\n", &[]);
        });
        assert_eq!(answer, b"k");
        descriptors.take(TICKET).unwrap();
    }

    #[test]
    fn whatever_is_malformed_is_closed_and_leaves_nothing_open() {
        let whole = format!("{TICKET}\n");
        let cases: Vec<(String, usize)> = vec![
            (whole.clone(), 0),
            (whole.clone(), 2),
            (whole.clone(), 3),
            (format!("{whole}x"), 1),
            (TICKET.to_owned(), 1),
            (format!("{TICKET}x"), 1),
            (whole.replace('f', "F"), 1),
            (whole.replace('f', "/"), 1),
            ("\n".to_owned(), 1),
        ];
        for (bytes, count) in cases {
            let (mut reader, writer) = io::pipe().unwrap();
            let sent = bytes.clone();
            let (descriptors, answer) = say(move |client| {
                send(client, sent.as_bytes(), &vec![writer.as_fd(); count]);
            });
            assert_eq!(answer, b"", "{bytes:?} with {count}");
            assert!(descriptors.take(TICKET).is_err());
            // The end of the pipe is seen only if nobody holds its other end.
            assert_eq!(reader.read(&mut [0]).unwrap(), 0, "{bytes:?} with {count}");
        }
    }

    #[test]
    fn no_more_are_kept_than_the_limit_and_none_twice() {
        let descriptors = Descriptors::default();
        let descriptor = || io::pipe().unwrap().0.into();
        for number in 0..MAX_TICKETS {
            assert!(descriptors.keep(format!("{number}"), descriptor()).is_some());
        }
        assert_eq!(descriptors.keep("more".into(), descriptor()), None);
        descriptors.take("7").unwrap();
        assert_eq!(descriptors.keep("8".into(), descriptor()), None, "it is taken");
        let later = descriptors.keep("7".into(), descriptor()).unwrap();
        descriptors.expire("7", 7);
        assert!(descriptors.lock().tickets.contains_key("7"), "the time of another was up");
        descriptors.expire("7", later);
        assert!(!descriptors.lock().tickets.contains_key("7"));
    }
}
