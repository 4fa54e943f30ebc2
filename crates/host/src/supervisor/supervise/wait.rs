//! Waiting for something to do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketFlags;
use stigmer_core::process::EndReason;

use super::super::client::{Client, Waiting};
use super::super::lane::Lane;
use super::Supervisor;

/// The longest wait: there is always something that may end it sooner.
const MAX_WAIT: Duration = Duration::from_secs(3600);

impl Supervisor {
    /// Waits for something to do, and reads and writes what is ready.
    pub(super) fn wait(&mut self) {
        let timeout = Timespec::try_from(self.time_left()).ok();
        let readable = self.log.has_room(self.slowest_holder());
        let more = self.clients.len() < self.max_clients && !self.on_trial;
        let may_connect = if more { PollFlags::IN } else { PollFlags::empty() };
        let wants_stdin =
            self.clients.iter().any(|client| matches!(client.waiting, Some(Waiting::Stdin { .. })));
        let mut polled =
            vec![poll_for(&self.signals, PollFlags::IN), poll_for(&self.listener, may_connect)];
        for client in &self.clients {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, client.has_room());
            wanted.set(PollFlags::OUT, client.has_unsent());
            polled.push(poll_for(client.socket(), wanted));
        }
        let outputs_at = polled.len();
        if readable {
            polled.extend(self.outputs.descriptors().map(|output| poll_for(output, PollFlags::IN)));
        }
        let stdin_at = polled.len();
        if let Some(stdin) = self.stdin.as_ref().filter(|_| wants_stdin) {
            polled.push(poll_for(stdin, PollFlags::OUT));
        }
        let lane_at = polled.len();
        let lane = self.lane.as_ref().and_then(Lane::descriptor);
        polled.extend(lane.map(|lane| PollFd::from_borrowed_fd(lane, PollFlags::IN)));
        if poll(&mut polled, timeout.as_ref()).is_err() {
            return;
        }
        let ready: Vec<PollFlags> = polled.iter().map(PollFd::revents).collect();
        drop(polled);

        if let (Some(lane), Some(ready)) = (&mut self.lane, ready.get(lane_at)) {
            lane.answer(*ready);
        }
        if !ready[0].is_empty() {
            self.take_signals();
        }
        if !ready[1].is_empty() {
            self.accept();
        }
        let known = outputs_at - 2;
        for (client, ready) in self.clients[..known].iter_mut().zip(&ready[2..outputs_at]) {
            if ready.contains(PollFlags::OUT) {
                client.send();
            }
            if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                client.receive();
            }
        }
        let held = self.slowest_holder();
        self.outputs.read_ready(&ready[outputs_at..stdin_at], &mut self.log, held);
        if lane_at > stdin_at {
            self.write_stdin();
        }
        self.drop_closed_clients();
    }

    fn time_left(&self) -> Duration {
        let now = Instant::now();
        let mut until = now + MAX_WAIT;
        if self.on_trial {
            let denied = self.lane.as_ref().and_then(Lane::stopped);
            until = self.trial_end(denied.is_some());
        } else if let Some(ending) = &self.ending {
            until = until.min(ending.kill_at);
        } else if self.exit.is_none() {
            if let Some(timeout) = self.launch.timeout {
                until = until.min(self.started.checked_add(timeout).unwrap_or(until));
            }
            if let Some(grace) = self.launch.client_grace.filter(|_| !self.is_held()) {
                until = until.min(self.unheld_since.checked_add(grace).unwrap_or(until));
            }
        }
        until.saturating_duration_since(now)
    }

    fn write_stdin(&mut self) {
        let Some(stdin) = &self.stdin else { return };
        // One client's bytes are taken whole before another's.
        let next = self.clients.iter_mut().find_map(|client| match &mut client.waiting {
            Some(Waiting::Stdin { bytes, taken }) => Some((bytes, taken)),
            _ => None,
        });
        let Some((bytes, taken)) = next else { return };
        match rustix::io::write(stdin, &bytes[*taken..]) {
            Ok(count) => {
                *taken += count;
                self.last_typed = bytes[*taken - 1];
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.stdin = None,
        }
    }

    fn take_signals(&mut self) {
        let mut buffer = [0_u8; 16 * size_of::<libc::signalfd_siginfo>()];
        let Ok(count) = rustix::io::read(&self.signals, &mut buffer) else { return };
        for info in buffer[..count].chunks_exact(size_of::<libc::signalfd_siginfo>()) {
            // `ssi_signo` is the first field (`signalfd(2)`).
            let number = u32::from_ne_bytes([info[0], info[1], info[2], info[3]]);
            if number == libc::SIGTERM.unsigned_abs() {
                self.end(EndReason::Cancelled, self.launch.termination_grace);
            }
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let Ok(socket) = rustix::net::accept_with(&self.listener, flags) else { return };
        // The directory admits its owner only; this holds where somebody opened it wider.
        let peer = rustix::net::sockopt::socket_peercred(&socket);
        let owner = rustix::process::geteuid();
        if peer.is_ok_and(|peer| peer.uid == owner || peer.uid.is_root()) {
            self.clients.push(Client::new(socket, Vec::new()));
        }
    }
}

fn poll_for<'a>(descriptor: &'a OwnedFd, flags: PollFlags) -> PollFd<'a> {
    let descriptor: BorrowedFd<'a> = descriptor.as_fd();
    PollFd::from_borrowed_fd(descriptor, flags)
}
