//! The bodies of requests: bounded one by one and together, and they may not dawdle.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stigmer_core::{ErrorCode, ToolError};
use tokio::time::{Instant, Sleep};

use super::connection::lock;
use super::operations::Operation;
use super::shared::Shared;

/// The largest body of a request without a token: a question about health has a service's name.
const STRANGERS_BODY_BYTES: u64 = 1 << 10;

/// What was wrong with a request's body. The handler only sees that it broke off.
#[derive(Clone, Debug, Default)]
pub(super) struct Fault(Arc<Mutex<Option<ToolError>>>);

impl Fault {
    pub(super) fn take(&self) -> Option<ToolError> {
        lock(&self.0).take()
    }

    fn set(&self, error: ToolError) -> io::Error {
        let text = error.message.clone();
        *lock(&self.0) = Some(error);
        io::Error::other(text)
    }
}

/// Too large by its own account.
pub(super) fn check_length(
    body: &Incoming,
    shared: &Shared,
    operation: &Operation,
    trusted: bool,
) -> Option<ToolError> {
    let (size, limit) = (body.size_hint().lower(), largest(shared, trusted));
    (!operation.streams_in && size > limit).then(|| too_large(size, limit))
}

fn largest(shared: &Shared, trusted: bool) -> u64 {
    let limit = shared.limits.body_bytes;
    if trusted { limit } else { limit.min(STRANGERS_BODY_BYTES) }
}

fn too_large(size: u64, limit: u64) -> ToolError {
    ToolError::new(
        ErrorCode::TooLarge,
        format!("a request body of {size} bytes or more is over the limit of {limit}"),
    )
    .with_detail("size", size)
    .with_detail("limit", limit)
    .with_hint("upload large files as a stream")
}

/// The body of one request.
pub(super) struct RequestBody {
    inner: Incoming,
    shared: Arc<Shared>,
    fault: Fault,
    /// What may come.
    limit: u64,
    /// What came so far.
    received: u64,
    /// What of it counts as held in memory.
    held: Held,
    /// A stream is used as it comes; everything else is held until it is whole.
    streams: bool,
    /// When it has dawdled.
    late: Option<Pin<Box<Sleep>>>,
}

impl RequestBody {
    pub(super) fn new(
        inner: Incoming,
        shared: Arc<Shared>,
        operation: &Operation,
        trusted: bool,
        fault: Fault,
    ) -> Self {
        Self {
            limit: largest(&shared, trusted),
            inner,
            held: Held { shared: Arc::clone(&shared), bytes: 0 },
            shared,
            fault,
            received: 0,
            streams: operation.streams_in,
            late: None,
        }
    }

    fn take(&mut self, bytes: u64) -> io::Result<()> {
        if self.streams {
            return Ok(());
        }
        self.received = self.received.saturating_add(bytes);
        if self.received > self.limit {
            return Err(self.fault.set(too_large(self.received, self.limit)));
        }
        let all = self.received.saturating_sub(self.shared.limits.uncounted_bytes);
        let counted = all - self.held.bytes;
        if !self.shared.buffer(counted) {
            let error = ToolError::new(
                ErrorCode::OutOfResources,
                format!(
                    "the requests that the server has taken in hold {} bytes together; nothing was done",
                    self.shared.limits.buffered_bytes
                ),
            )
            .with_detail("limit", self.shared.limits.buffered_bytes)
            .with_hint("send fewer large requests at once, and this one again in a moment");
            return Err(self.fault.set(error));
        }
        self.held.bytes += counted;
        Ok(())
    }

    fn dawdles(&mut self, context: &mut Context<'_>) -> Option<io::Error> {
        let timeout: Duration = self.shared.limits.body_timeout;
        let late = self.late.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        late.as_mut().poll(context).is_ready().then(|| {
            let seconds = timeout.as_secs_f64();
            let message = format!(
                "the request's body made no progress for {seconds} seconds; nothing was done"
            );
            self.fault.set(ToolError::new(ErrorCode::DeadlineExceeded, message))
        })
    }
}

/// What a request's body holds in memory. It counts until this is dropped: what was decoded from the
/// body holds as much as the body did.
pub(super) struct Held {
    shared: Arc<Shared>,
    bytes: u64,
}

/// Takes a whole body in. The pieces are joined: kept as they came, a body that comes byte by byte
/// would hold a hundred times what is counted.
pub(super) async fn gather(body: RequestBody, trusted: bool) -> io::Result<(Bytes, Held)> {
    if trusted {
        return gather_all(body).await;
    }
    // A stranger's has as long as its head, whatever progress it makes.
    let (timeout, fault) = (body.shared.limits.head_timeout, body.fault.clone());
    tokio::time::timeout(timeout, gather_all(body)).await.unwrap_or_else(|_| {
        let seconds = timeout.as_secs_f64();
        let message =
            format!("the body of a request without a token took more than {seconds} seconds");
        Err(fault.set(ToolError::new(ErrorCode::DeadlineExceeded, message)))
    })
}

async fn gather_all(mut body: RequestBody) -> io::Result<(Bytes, Held)> {
    let mut data = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame?.data_ref() {
            data.extend_from_slice(piece);
        }
    }
    Ok((data.freeze(), body.held))
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shared.buffered.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.inner).poll_frame(context) {
            Poll::Pending if self.streams => Poll::Pending,
            Poll::Pending => match self.dawdles(context) {
                Some(error) => Poll::Ready(Some(Err(error))),
                None => Poll::Pending,
            },
            Poll::Ready(Some(Ok(frame))) => {
                let timeout = self.shared.limits.body_timeout;
                if let Some(late) = &mut self.late {
                    late.as_mut().reset(Instant::now() + timeout);
                }
                let bytes = frame.data_ref().map_or(0, Bytes::len) as u64;
                Poll::Ready(Some(self.take(bytes).map(|()| frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(io::Error::other(error)))),
            Poll::Ready(None) => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
