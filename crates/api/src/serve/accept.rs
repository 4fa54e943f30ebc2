//! Listeners: taking connections in, and serving each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, UnixListener};
use tokio_vsock::VsockListener;

use super::access::{Access, peer_may_ask};
use super::connection::{Admitted, Connections};
use super::io_stream::{Duplex, Stream};
use super::record::{Rarely, refused};
use super::service::Service;
use super::shared::Shared;
use super::{Limits, Peer, Transport};

/// How long to wait when the system has no descriptor or memory for one more connection. Others
/// end in the meantime; without the pause the loop would only turn.
const NO_RESOURCES_PAUSE: Duration = Duration::from_millis(50);

/// What connections come from.
pub(super) enum Listener {
    Unix {
        listener: UnixListener,
        owner: u32,
    },
    Tcp {
        listener: TcpListener,
        access: Arc<Access>,
    },
    Vsock {
        listener: VsockListener,
        access: Arc<Access>,
    },
    /// One that is there already.
    Given(Option<Box<dyn Duplex>>),
}

/// A connection that has come, before anything was read from it.
struct Arrival {
    stream: Box<dyn Duplex>,
    peer: Peer,
    access: Option<Arc<Access>>,
    local: Option<SocketAddr>,
}

impl Listener {
    fn transport(&self) -> Transport {
        match self {
            Self::Unix { .. } => Transport::Unix,
            Self::Tcp { .. } => Transport::Tcp,
            Self::Vsock { .. } => Transport::Vsock,
            Self::Given(_) => Transport::Stream,
        }
    }

    /// The next connection; nothing for one that may not be.
    async fn next(&mut self, strangers: &Rarely) -> io::Result<Option<Arrival>> {
        let transport = self.transport();
        let of = |uid| Peer { transport, uid };
        match self {
            Self::Unix { listener, owner } => {
                let (stream, _) = listener.accept().await?;
                let uid = stream.peer_cred()?.uid();
                if !peer_may_ask(*owner, uid) {
                    refused("other_user");
                    if let Some(count) = strangers.now() {
                        tracing::warn!(uid, owner, count, "refused another user's connection");
                    }
                    return Ok(None);
                }
                let stream = Box::new(stream);
                Ok(Some(Arrival { stream, peer: of(Some(uid)), access: None, local: None }))
            }
            Self::Tcp { listener, access } => {
                let (stream, _) = listener.accept().await?;
                // Small answers leave at once; a peer whose machine is gone is noticed.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                let local = Some(stream.local_addr()?);
                let access = Some(Arc::clone(access));
                Ok(Some(Arrival { stream: Box::new(stream), peer: of(None), access, local }))
            }
            Self::Vsock { listener, access } => {
                let accepted =
                    std::future::poll_fn(|context| listener.poll_accept(context)).await?;
                let access = Some(Arc::clone(access));
                let stream = Box::new(accepted.0);
                Ok(Some(Arrival { stream, peer: of(None), access, local: None }))
            }
            Self::Given(stream) => match stream.take() {
                Some(stream) => {
                    Ok(Some(Arrival { stream, peer: of(None), access: None, local: None }))
                }
                None => std::future::pending().await,
            },
        }
    }
}

/// Takes connections in until the server drains.
pub(super) async fn accept(
    mut listener: Listener,
    connections: Arc<Connections>,
    shared: Arc<Shared>,
) {
    let builder = Arc::new(builder(&shared.limits));
    let (strangers, full, failures) = (Rarely::default(), Rarely::default(), Rarely::default());
    loop {
        let next = tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            next = listener.next(&strangers) => next,
        };
        match next {
            Ok(Some(arrival)) => {
                let admitted = connections.admit(shared.number(), arrival.peer);
                let connection = match admitted {
                    Admitted::Yes(connection) => connection,
                    Admitted::InsteadOfIdle(connection) => {
                        refused("idle");
                        connection
                    }
                    Admitted::Full => {
                        refused("full");
                        if let Some(count) = full.now() {
                            tracing::warn!(
                                count,
                                "refused connections: all that there may be are working"
                            );
                        }
                        continue;
                    }
                };
                shared.arrived();
                let stream = Stream::new(
                    arrival.stream,
                    Arc::clone(&connection),
                    Arc::clone(&connections),
                    &shared,
                );
                let (access, local) = (arrival.access, arrival.local);
                let service = Service { shared: Arc::clone(&shared), connection, access, local };
                shared.running.spawn(serve(Arc::clone(&builder), stream, service));
            }
            Ok(None) => {}
            Err(error) => {
                let gone = matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::NotConnected
                        | io::ErrorKind::Interrupted
                );
                if gone {
                    continue;
                }
                refused("no_resources");
                let room = connections.make_room();
                if let Some(count) = failures.now() {
                    tracing::warn!(%error, count, room, "cannot take in a connection");
                }
                tokio::select! {
                    () = shared.draining.cancelled() => return,
                    () = tokio::time::sleep(NO_RESOURCES_PAUSE) => {}
                }
            }
        }
    }
}

type Builder = auto::Builder<TokioExecutor>;

fn builder(limits: &Limits) -> Builder {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .max_buf_size(limits.head_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_pending_accept_reset_streams(limits.pending_resets)
        .initial_stream_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .max_frame_size(limits.frame_bytes)
        .max_send_buf_size(limits.send_buffer)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(limits.ping_interval)
        .keep_alive_timeout(limits.ping_timeout);
    builder
}

/// Serves one connection to its end.
async fn serve(builder: Arc<Builder>, stream: Stream, service: Service) {
    let (closed, draining) = (service.connection.closed.clone(), service.shared.draining.clone());
    let given = service.connection.peer.transport == Transport::Stream;
    let shared = Arc::clone(&service.shared);
    {
        let serving = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
        tokio::pin!(serving);
        let mut asked = false;
        loop {
            tokio::select! {
                biased;
                () = closed.cancelled() => break,
                // What a connection ends with is its peer's doing.
                _ = serving.as_mut() => break,
                () = draining.cancelled(), if !asked => {
                    asked = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }
    if given {
        shared.given_stream_ended.cancel();
    }
}
