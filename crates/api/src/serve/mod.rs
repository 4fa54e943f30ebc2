//! The loop that serves: listeners, access, limits, draining. It is the same in the daemon and the
//! sidecar, and knows nothing of what it serves but the names of its operations.
//!
//! Whatever a peer does, what is spent on it is bounded by [`Limits`]: one that asks too much is
//! told so, one that does not ask makes room for others, one that does not read loses its
//! connection. Questions about health are answered throughout.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_vsock::VsockListener;

mod accept;
mod access;
mod activity;
mod admission;
mod bodies;
mod connection;
mod io_stream;
mod limits;
mod operations;
mod record;
mod refusal;
mod responses;
mod service;
mod shared;
mod unix;

use accept::Listener;
pub use activity::Activity;
use connection::Connections;
use shared::Shared;

pub use access::{Access, PLACEHOLDER_KEY, Token};
pub use io_stream::Duplex;
pub use limits::Limits;
pub use unix::{SocketFile, bind_unix};

/// Connections that the kernel keeps until they are taken in: a burst of a few thousand must not
/// lose one, because a lost one is only sent again after a second. The kernel's own default limit.
const BACKLOG: i32 = 4_096;

/// How long a WebSocket may go on when the server drains, so that its handler can say good-bye.
const UPGRADED_GRACE: Duration = Duration::from_secs(1);

/// How long requests that were broken off have to tell their clients.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// How often a draining server looks for connections that have nothing left to do.
const DRAIN_TICK: Duration = Duration::from_millis(20);

/// What a connection came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A unix socket.
    Unix,
    /// TCP.
    Tcp,
    /// A virtual machine's socket.
    Vsock,
    /// A stream that was given, such as standard input and output.
    Stream,
}

impl Transport {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
            Self::Vsock => "vsock",
            Self::Stream => "stream",
        }
    }
}

/// Who is at the other end. It is among the extensions of every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What the connection came over.
    pub transport: Transport,
    /// The user of the process, where the kernel says it.
    pub uid: Option<u32>,
}

/// Among the extensions of every request: cancelled when the server drains, for handlers whose
/// connection has left HTTP (WebSocket). They have a second to say good-bye.
#[derive(Clone, Debug)]
pub struct Draining(pub CancellationToken);

/// How a server ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that still had a request when the time was over.
    pub cut: usize,
}

/// A server: a router, and what it listens on.
pub struct Server {
    router: Router,
    limits: Limits,
    listeners: Vec<Listener>,
    activity: Activity,
}

impl Server {
    /// A server that listens on nothing yet.
    pub fn new(router: Router, limits: Limits) -> Self {
        Self { router, limits, listeners: Vec::new(), activity: Activity::default() }
    }

    /// Says, now and later, whether anybody is connected.
    pub fn activity(&self) -> Activity {
        self.activity.clone()
    }

    /// Listens on a unix socket for `owner`, and root. See [`bind_unix`].
    #[must_use]
    pub fn unix(mut self, listener: UnixListener, owner: u32) -> Self {
        self.listeners.push(Listener::Unix { listener, owner });
        self
    }

    /// Listens on TCP.
    ///
    /// # Errors
    /// What `listen(2)` says when the queue of new connections is made longer.
    pub fn tcp(mut self, listener: TcpListener, access: Access) -> io::Result<Self> {
        rustix::net::listen(&listener, BACKLOG)?;
        self.listeners.push(Listener::Tcp { listener, access: Arc::new(access) });
        Ok(self)
    }

    /// Listens on a virtual machine's socket.
    #[must_use]
    pub fn vsock(mut self, listener: VsockListener, access: Access) -> Self {
        self.listeners.push(Listener::Vsock { listener, access: Arc::new(access) });
        self
    }

    /// Serves one stream; whoever holds its other end may do everything. The server ends with it.
    #[must_use]
    pub fn stream(mut self, stream: impl Duplex) -> Self {
        self.listeners.push(Listener::Given(Some(Box::new(stream))));
        self
    }

    /// Serves until `shutdown` is cancelled, or a given stream has ended. Then nothing new is taken
    /// in, streams end, and what is being done may take until `drain` is over.
    pub async fn run(self, shutdown: CancellationToken, drain: Duration) -> Drained {
        let listeners: Vec<_> = self
            .listeners
            .iter()
            .map(|_| Arc::new(Connections::new(self.limits.clone())))
            .collect();
        let shared =
            Arc::new(Shared::new(self.limits, self.router, self.activity, listeners.clone()));
        for (listener, connections) in self.listeners.into_iter().zip(listeners) {
            shared.running.spawn(accept::accept(listener, connections, Arc::clone(&shared)));
        }
        shared.running.close();
        let tick = shared.limits.tick();
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                () = shared.given_stream_ended.cancelled() => break,
                // A server without connections has nothing to look after, and sleeps.
                () = shared.occupied() => {}
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                () = shared.given_stream_ended.cancelled() => break,
                () = tokio::time::sleep(tick) => shared.close_late(),
            }
        }
        shared.drain(drain).await
    }
}
