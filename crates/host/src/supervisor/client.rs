//! One connection to a supervisor, from the supervisor's side.

use std::os::fd::OwnedFd;

use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::Serialize;

use super::protocol::{self, Request, Watch};

/// Bytes that may wait to be sent before a connection is given up: a client that asks and never
/// reads is broken.
const MAX_UNSENT: usize = 4 << 20;

/// Bytes of requests that are taken in before those at their head are served.
const MAX_RECEIVED: usize = 2 * protocol::MAX_BODY;

/// What a connection is waiting for.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// More output, or the end.
    Watch(Watch),
    /// Standard input to take the rest of these bytes.
    Stdin {
        /// What was sent.
        bytes: Vec<u8>,
        /// How much of it was taken.
        taken: usize,
    },
    /// The end of everything.
    End,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    socket: OwnedFd,
    received: Vec<u8>,
    unsent: Vec<u8>,
    /// What its request waits for.
    pub(crate) waiting: Option<Waiting>,
    /// What it has read, if it holds the command.
    pub(crate) held: Option<u64>,
    /// It is gone.
    pub(crate) closed: bool,
    /// The command was started over it.
    pub(crate) launched: bool,
}

impl Client {
    /// A connection of which `received` was read already.
    pub(crate) fn new(socket: OwnedFd, received: Vec<u8>) -> Self {
        Self {
            socket,
            received,
            unsent: Vec::new(),
            waiting: None,
            held: None,
            closed: false,
            launched: false,
        }
    }

    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether it waits for output or the end of the command.
    pub(crate) fn follows(&self) -> bool {
        matches!(self.waiting, Some(Waiting::Watch(_)))
    }

    /// Whether a request more may be taken in; one that waits for standard input is enough.
    pub(crate) fn has_room(&self) -> bool {
        self.received.len() <= MAX_RECEIVED
    }

    /// Whether there is something to send.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads what is there.
    pub(crate) fn receive(&mut self) {
        loop {
            // Enough for any request but a large piece of standard input.
            self.received.reserve(16 << 10);
            let space = spare_capacity(&mut self.received);
            match rustix::net::recv(&self.socket, space, RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    self.closed = true;
                    return;
                }
                Ok(_) => {
                    if !self.has_room() {
                        return;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }

    /// The next request and its body, if one is whole and none is being waited for.
    pub(crate) fn next_request(&mut self) -> Option<(Request, Vec<u8>)> {
        // A connection has one request at a time; a new one ends the wait for the last.
        if matches!(self.waiting, Some(Waiting::Stdin { .. } | Waiting::End)) {
            return None;
        }
        match protocol::decode::<Request>(&self.received) {
            Ok(Some((request, body, used))) => {
                let body = body.to_vec();
                self.received.drain(..used);
                self.waiting = None;
                Some((request, body))
            }
            Ok(None) => None,
            Err(error) => {
                // After what was not understood nothing can be.
                let error = stigmer_core::ToolError::invalid_argument("request", error);
                self.reply(&protocol::Reply::Failed(error));
                self.closed = true;
                None
            }
        }
    }

    /// Sends a reply, now or as soon as the client takes it.
    pub(crate) fn reply(&mut self, reply: &impl Serialize) {
        match protocol::encode(reply, &[]) {
            Ok(message) => self.unsent.extend_from_slice(&message),
            Err(_) => self.closed = true,
        }
        self.send();
    }

    /// Sends what the client takes.
    pub(crate) fn send(&mut self) {
        while !self.unsent.is_empty() {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            match rustix::net::send(&self.socket, &self.unsent, flags) {
                Ok(count) => {
                    self.unsent.drain(..count);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) if self.unsent.len() <= MAX_UNSENT => return,
                Err(_) => {
                    self.closed = true;
                    return;
                }
            }
        }
    }
}
