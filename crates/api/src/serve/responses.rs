//! The bodies of responses: counted while nobody reads them, ended when the server ends, and the
//! end of a request's record.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use stigmer_core::{ErrorCode, ToolError};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::admission::Permit;
use super::connection::Connection;
use super::record::{self, Record};
use super::refusal;
use super::shared::Shared;

type Error = axum::Error;

/// What the connection gets at once. As long as a pipe's buffer: fewer cost more, and more would be
/// counted as read while nobody has read them.
const PIECE_BYTES: usize = 64 << 10;

/// A request in flight. Dropping it is its end, for the connection and the record.
pub(super) struct Flight {
    pub(super) connection: Arc<Connection>,
    pub(super) record: Record,
    /// The connection counts it.
    pub(super) begun: bool,
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.begun {
            self.connection.end();
        }
    }
}

/// What kind of response.
pub(super) enum Kind {
    /// One answer, whose first part is already made.
    Answer(Option<Frame<Bytes>>),
    /// A stream, with the right to wait.
    Stream(Option<Permit>),
}

/// The body of one response.
///
/// What it holds goes to the connection in pieces, because the connection takes the next one only
/// when its peer has read of the last. So what is unread is here, where it is counted.
pub(super) struct ResponseBody {
    inner: Body,
    /// What is made and not yet handed over.
    next: Option<Frame<Bytes>>,
    shared: Arc<Shared>,
    flight: Flight,
    grpc: bool,
    /// The code, as far as the head says it.
    code: Option<&'static str>,
    /// Bytes of what is made and counts as unread, the piece that was handed over last included.
    held: u64,
    done: bool,
    number: u64,
    stream: Option<Streaming>,
}

struct Streaming {
    draining: Pin<Box<WaitForCancellationFutureOwned>>,
    _permit: Option<Permit>,
}

impl ResponseBody {
    pub(super) fn new(
        inner: Body,
        kind: Kind,
        shared: Arc<Shared>,
        flight: Flight,
        grpc: bool,
        code: Option<&'static str>,
    ) -> Self {
        let number = shared.number();
        let mut held = 0;
        let (first, stream) = match kind {
            Kind::Answer(first) => {
                flight.connection.answer_begins(number);
                held = length(first.as_ref());
                (first, None)
            }
            Kind::Stream(permit) => {
                flight.connection.stream_begins();
                let draining = Box::pin(shared.draining.clone().cancelled_owned());
                (None, Some(Streaming { draining, _permit: permit }))
            }
        };
        let done = first.is_none() && inner.is_end_stream();
        let next = first;
        Self { inner, next, shared, flight, grpc, code, held, done, number, stream }
    }

    /// Counts what is still held, after a piece has been read.
    fn recount(&mut self) {
        let now = length(self.next.as_ref());
        self.shared.read(&self.flight.connection, self.held - now);
        self.held = now;
    }

    /// The next piece of what is made.
    fn piece(&mut self) -> Option<Frame<Bytes>> {
        let frame = self.next.take()?;
        match frame.into_data() {
            Ok(mut bytes) if bytes.len() > PIECE_BYTES => {
                let piece = bytes.split_to(PIECE_BYTES);
                self.next = Some(Frame::data(bytes));
                Some(Frame::data(piece))
            }
            Ok(bytes) => Some(Frame::data(bytes)),
            Err(frame) => Some(frame),
        }
    }

    /// The server ends, and the stream with it.
    fn break_off(&mut self) -> Option<Result<Frame<Bytes>, Error>> {
        let error = ToolError::new(ErrorCode::Unavailable, "the server is shutting down")
            .with_hint("connect again and go on from the last offset");
        self.done = true;
        self.flight.record.ended(error.code.name());
        // A plain stream that just ended would look whole.
        Some(if self.grpc {
            Ok(Frame::trailers(refusal::trailers(&error)))
        } else {
            Err(Error::new(error))
        })
    }
}

/// The bytes of a frame.
pub(super) fn length(frame: Option<&Frame<Bytes>>) -> u64 {
    frame.and_then(Frame::data_ref).map_or(0, Bytes::len) as u64
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        self.shared.read(&self.flight.connection, self.held);
        if self.stream.is_some() {
            self.flight.connection.stream_ends();
        } else {
            self.flight.connection.answer_ends(self.number);
        }
        let whole = self.done || self.inner.is_end_stream();
        if let Some(code) = self.code.filter(|_| whole) {
            self.flight.record.ended(code);
        }
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.recount();
        if let Some(piece) = self.piece() {
            if let Some(trailers) = piece.trailers_ref() {
                self.code = record::grpc_code(trailers).or(self.code);
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if self.done {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        if let Some(stream) = &mut self.stream
            && !matches!(polled, Poll::Ready(None))
            && stream.draining.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(self.break_off());
        }
        match polled {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => {
                self.done = true;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.code = Some(ErrorCode::Io.name());
                self.done = true;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.code = record::grpc_code(trailers).or(self.code);
                    self.done = true;
                }
                self.held = length(Some(&frame));
                if self.held > 0 {
                    let _ = self.shared.hand_over(&self.flight.connection, self.held);
                }
                self.next = Some(frame);
                Poll::Ready(self.piece().map(Ok))
            }
        }
    }

    /// Only an empty body says that it has ended: after any other the connection comes back once
    /// more, when it has got rid of the last part.
    fn is_end_stream(&self) -> bool {
        self.done && self.held == 0 && self.next.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let first = length(self.next.as_ref());
        let inner = self.inner.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + first);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + first);
        }
        hint
    }
}
