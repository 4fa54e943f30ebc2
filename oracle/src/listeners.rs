//! Servers of the world that no command in a lane should reach.

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

use crate::trial::{Change, What};

/// Ports of the loopback interface that commands and tests name.
const PORTS: &[u16] = &[80, 2375, 3000, 5000, 5432, 6379, 8000, 8080];

/// Sockets in the file system: an engine's, a bus's, an agent's of keys.
const SOCKETS: &[&str] = &["/run/docker.sock", "/run/dbus.sock", "/home/ada/.agent.sock"];

/// A name in the abstract space.
const ABSTRACT: &str = "oracle";

/// The servers.
pub(crate) struct Listeners {
    tcp: Vec<(String, TcpListener)>,
    udp: UdpSocket,
    unix: Vec<(String, UnixListener)>,
    datagrams: UnixDatagram,
}

impl Listeners {
    /// Begins to listen.
    pub(crate) fn open() -> Self {
        let mut tcp = Vec::new();
        for port in PORTS {
            for host in ["127.0.0.1", "[::1]"] {
                let name = format!("{host}:{port}");
                // A kernel without version 6 of the protocol has only the first.
                if let Ok(listener) = TcpListener::bind(&name) {
                    listener.set_nonblocking(true).unwrap();
                    tcp.push((name, listener));
                }
            }
        }
        assert!(tcp.len() >= PORTS.len(), "the world's loopback interface serves");
        let mut unix: Vec<(String, UnixListener)> = SOCKETS
            .iter()
            .map(|path| ((*path).to_owned(), UnixListener::bind(path).unwrap()))
            .collect();
        let address = SocketAddr::from_abstract_name(ABSTRACT).unwrap();
        unix.push((format!("@{ABSTRACT}"), UnixListener::bind_addr(&address).unwrap()));
        for (_, listener) in &unix {
            listener.set_nonblocking(true).unwrap();
        }
        let udp = UdpSocket::bind("127.0.0.1:53").unwrap();
        udp.set_nonblocking(true).unwrap();
        let datagrams = UnixDatagram::bind("/run/log.sock").unwrap();
        datagrams.set_nonblocking(true).unwrap();
        Self { tcp, udp, unix, datagrams }
    }

    /// Who was reached since the last question.
    pub(crate) fn reached(&self) -> Vec<Change> {
        let mut reached = Vec::new();
        for (name, listener) in &self.tcp {
            while listener.accept().is_ok() {
                reached.push(Change::new(What::Reached, name));
            }
        }
        for (name, listener) in &self.unix {
            while listener.accept().is_ok() {
                reached.push(Change::new(What::Reached, name));
            }
        }
        let mut buffer = [0; 64];
        while self.udp.recv(&mut buffer).is_ok() {
            reached.push(Change::new(What::Reached, "udp 127.0.0.1:53"));
        }
        while self.datagrams.recv(&mut buffer).is_ok() {
            reached.push(Change::new(What::Reached, "/run/log.sock"));
        }
        reached
    }
}
