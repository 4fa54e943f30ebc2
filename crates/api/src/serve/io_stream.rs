//! The stream of a connection: counted, and closed from outside when it must end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::activity::Open;
use super::connection::{Connection, Connections};
use super::shared::Shared;

/// Any stream of bytes, both ways.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// A connection's stream. While it exists the connection has its place, also after a WebSocket has
/// taken it over.
pub(super) struct Stream {
    inner: Box<dyn Duplex>,
    connection: Arc<Connection>,
    connections: Arc<Connections>,
    received: metrics::Counter,
    sent: metrics::Counter,
    _running: TaskTrackerToken,
    _open: Open,
}

impl Stream {
    pub(super) fn new(
        inner: Box<dyn Duplex>,
        connection: Arc<Connection>,
        connections: Arc<Connections>,
        shared: &Shared,
    ) -> Self {
        let transport = connection.peer.transport.name();
        let bytes = |direction: &'static str| metrics::counter!("stigmer_transport_bytes_total", "transport" => transport, "direction" => direction);
        metrics::gauge!("stigmer_connections", "transport" => transport).increment(1);
        let running = shared.running.token();
        Self {
            inner,
            connection,
            connections,
            received: bytes("received"),
            sent: bytes("sent"),
            _running: running,
            _open: shared.activity.begin(),
        }
    }

    fn ended(&self) -> bool {
        self.connection.closed.is_cancelled()
    }

    fn wrote(&self, result: &Poll<io::Result<usize>>) {
        match result {
            Poll::Ready(Ok(bytes)) => {
                let bytes = *bytes as u64;
                self.sent.increment(bytes);
                self.connection.wrote(bytes);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.connection.block(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let transport = self.connection.peer.transport.name();
        metrics::gauge!("stigmer_connections", "transport" => transport).decrement(1);
        self.connections.remove(self.connection.id);
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the server closed the connection")
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.connection.readers.register(context.waker());
        if self.ended() {
            return Poll::Ready(Err(closed()));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(context, buffer);
        self.received.increment((buffer.filled().len() - before) as u64);
        result
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.connection.writers.register(context.waker());
        if self.ended() {
            return Poll::Ready(Err(closed()));
        }
        let result = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.writers.register(context.waker());
        if self.ended() {
            return Poll::Ready(Err(closed()));
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(context, parts);
        self.wrote(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
