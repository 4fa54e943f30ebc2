//! Connections, and requests over them.
//!
//! Not tonic's own channel, because that does not tell whether a request was sent before it failed,
//! and that is what decides whether it may be repeated.

use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use stigmer_core::{ErrorCode, ToolError};
use tonic::body::Body;

use super::connect::connect;
use super::endpoint::Endpoint;
use super::failure::Trouble;
use crate::convert::errors::disarm;
use crate::message_size::MAX_HEADER_LIST_BYTES;

/// Bytes of one stream that may be on their way unread. Large enough for a gigabyte in a second
/// with a millisecond between question and answer.
const STREAM_WINDOW: u32 = 1 << 20;

/// Requests on one connection. More of them take another one, because a server limits them, too.
const STREAMS: usize = 64;

/// Bytes of one connection that may be on their way: enough for every stream's window, so that one
/// that nobody reads does not stop the others.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;

/// The largest frame that is taken: fewer, larger ones cost less.
const FRAME: u32 = 256 << 10;

/// The most bytes of one stream that wait in memory to be sent.
const SEND_BUFFER: usize = 1 << 20;

/// How long a connection with open requests may be silent before the other side is asked whether it
/// is there, and how long that may take. A machine that is very busy must not count as dead.
const PING: Duration = Duration::from_secs(15);

/// How many connections a request is given to that could not even be sent.
const FRESH_TRIES: u32 = 3;

/// A client's connections. Made when they are needed, and made anew when they are broken.
#[derive(Clone)]
pub(super) struct Channel {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: Endpoint,
    timeout: Duration,
    connections: Mutex<Vec<Connection>>,
    /// Held while a connection is made, so that a thousand requests at once do not make as many.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Connection {
    sender: SendRequest<Body>,
    streams: Arc<AtomicUsize>,
}

/// One request's place on a connection.
struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    fn lease(&self) -> (SendRequest<Body>, Lease) {
        self.streams.fetch_add(1, Ordering::Relaxed);
        (self.sender.clone(), Lease(Arc::clone(&self.streams)))
    }
}

impl Channel {
    pub(super) fn new(endpoint: Endpoint, timeout: Duration) -> Self {
        let connections = Mutex::default();
        let connecting = tokio::sync::Mutex::default();
        Self { shared: Arc::new(Shared { endpoint, timeout, connections, connecting }) }
    }

    /// Makes sure that there is a connection, without sending anything.
    pub(super) async fn ready(&self) -> Result<(), Trouble> {
        self.shared.connection().await.map(drop)
    }
}

impl Shared {
    async fn connection(&self) -> Result<(SendRequest<Body>, Lease), Trouble> {
        if let Some(found) = self.find() {
            return Ok(found);
        }
        let _one_at_a_time = self.connecting.lock().await;
        if let Some(found) = self.find() {
            return Ok(found);
        }
        let connection = self.make().await?;
        let lease = connection.lease();
        self.connections.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(lease)
    }

    /// A connection that has room, or the one with the most room if there may be no more.
    fn find(&self) -> Option<(SendRequest<Body>, Lease)> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| !connection.sender.is_closed());
        let streams = |connection: &&Connection| connection.streams.load(Ordering::Relaxed);
        let full = connections.len() >= self.endpoint.most_connections();
        let best = connections.iter().min_by_key(streams)?;
        (full || streams(&best) < STREAMS).then(|| best.lease())
    }

    async fn make(&self) -> Result<Connection, Trouble> {
        let io = connect(&self.endpoint, self.timeout).await?;
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST_BYTES)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING)
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| {
                let reason = format!("{}: cannot connect: {error}", self.endpoint);
                Trouble::unseen(ToolError::new(ErrorCode::Unavailable, reason))
            })?;
        // Ends when the last request and the channel are gone, or the connection is broken; how it
        // broke is told to the requests.
        tokio::spawn(connection);
        Ok(Connection { sender, streams: Arc::default() })
    }
}

impl tower::Service<Request<Body>> for Channel {
    type Response = Response<LeasedBody>;
    type Error = Trouble;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Trouble>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Trouble>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let mut request = request;
            let mut tries = 0;
            loop {
                let (mut sender, lease) = shared.connection().await?;
                let mut error = match sender.try_send_request(request).await {
                    Ok(mut response) => {
                        disarm(response.headers_mut());
                        return Ok(response.map(|body| LeasedBody { body, _lease: lease }));
                    }
                    Err(error) => error,
                };
                tries += 1;
                let unsent = error.take_message();
                let error = error.into_error();
                let reason = format!("{}: {}", shared.endpoint, reasons(&error));
                match unsent {
                    // The connection had ended before, which is noticed only when it is used.
                    Some(unsent) if tries < FRESH_TRIES => request = unsent,
                    None if !was_refused(&error) => return Err(Trouble::broken(reason)),
                    _ => {
                        let error = ToolError::new(ErrorCode::Unavailable, reason);
                        return Err(Trouble::unseen(error));
                    }
                }
            }
        })
    }
}

/// Whether the server said that it has not looked at the request.
fn was_refused(error: &hyper::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_remote() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    false
}

/// An error with what caused it, on one line.
pub(super) fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let reason = error.to_string();
        if !text.contains(&reason) {
            text = format!("{text}: {reason}");
        }
        cause = error.source();
    }
    text
}

/// An answer's body, which keeps the request's place on the connection while it is read.
pub(super) struct LeasedBody {
    body: Incoming,
    _lease: Lease,
}

impl HttpBody for LeasedBody {
    type Data = Bytes;
    type Error = Trouble;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Trouble>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| match frame {
            Ok(mut frame) => {
                if let Some(trailers) = frame.trailers_mut() {
                    disarm(trailers);
                }
                Ok(frame)
            }
            Err(error) => Err(Trouble::broken(reasons(&error))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Channel").field("endpoint", &self.shared.endpoint).finish()
    }
}
