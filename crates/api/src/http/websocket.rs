//! Streams of requests: a WebSocket.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::ready;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, WebSocketUpgrade, close_code};
use axum::response::Response;
use bytes::Bytes;
use futures_util::sink::{Sink, SinkExt};
use futures_util::stream::{self, BoxStream, SplitSink, SplitStream, StreamExt, TryStreamExt};
use http::request::Parts;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::body::{begin_of, part};
use super::call::Call;
use super::contract::{Operation, Shape};
use super::failure::Failure;
use super::json::{Encoded, decode, last};
use crate::serve::Draining;

/// The largest message from a client. Data is sent in pieces, and a begin has a kilobyte.
const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// The messages that wait for the service: one, so that a client that sends faster than the service
/// takes is held back by its own connection.
const WAITING_REQUESTS: usize = 1;

/// How often the client is asked whether it lives. Proxies give up after 30 to 60 seconds.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How many pings may stay without an answer.
const MAX_UNANSWERED: u32 = 3;

/// How long the client has to answer the end of the conversation.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the connection over.
pub(super) async fn answer(call: Call, parts: &mut Parts) -> Result<Response, Failure> {
    let path = parts.uri.path().to_owned();
    let begin = begin_of(call.operation.input(), parts.uri.query().unwrap_or_default())?;
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(parts, &()).await else {
        return Err(Failure::websocket_only(&path));
    };
    // What the server attached to the request counts the connection; it lives as long as this does.
    let extensions = std::mem::take(&mut parts.extensions);
    let draining = extensions.get::<Draining>().cloned();
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    Ok(upgrade.on_upgrade(move |socket| async move {
        let (sink, mut frames) = socket.split();
        let mut sending = Sending::new(sink);
        let ending = tokio::select! {
            ending = Session::new(call).run(&mut sending, &mut frames, begin) => ending,
            () = stopping(draining) => Ending::Stopping,
        };
        close(&mut sending.sink, &mut frames, ending).await;
        drop(extensions);
    }))
}

/// How a conversation ends.
enum Ending {
    /// The operation is done.
    Done,
    /// The operation or a message failed.
    Failed(Failure),
    /// The server is being stopped.
    Stopping,
    /// The client is gone.
    Gone,
}

impl From<Failure> for Ending {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

type Frames = SplitStream<WebSocket>;

/// What is sent, one message at a time. It goes on where it was when it is waited for again, so that
/// the client is heard while it does not read.
struct Sending {
    sink: SplitSink<WebSocket, Frame>,
    /// What the socket has not taken yet.
    next: Option<Frame>,
    /// Something has not left yet.
    busy: bool,
}

impl Sending {
    fn new(sink: SplitSink<WebSocket, Frame>) -> Self {
        Self { sink, next: None, busy: false }
    }

    /// Begins to send; nothing else is being sent.
    fn begin(&mut self, frame: Frame) {
        self.next = Some(frame);
        self.busy = true;
    }

    /// Waits until it has left.
    async fn finish(&mut self) -> Result<(), axum::Error> {
        poll_fn(|context| {
            let mut sink = Pin::new(&mut self.sink);
            if self.next.is_some() {
                ready!(sink.as_mut().poll_ready(context))?;
                if let Some(frame) = self.next.take() {
                    sink.as_mut().start_send(frame)?;
                }
            }
            sink.poll_flush(context)
        })
        .await?;
        self.busy = false;
        Ok(())
    }
}

struct Session {
    operation: &'static Operation,
    replies: BoxStream<'static, Result<Bytes, Status>>,
    /// Missing when there are no more requests.
    requests: Option<mpsc::Sender<Bytes>>,
    /// The request that the service has not taken yet.
    pending: Option<Bytes>,
    /// The last request was taken from the client.
    finished: bool,
}

impl Session {
    fn new(call: Call) -> Self {
        let operation = call.operation;
        let (requests, taken) = mpsc::channel(WAITING_REQUESTS);
        let taken = ReceiverStream::new(taken);
        let replies = match operation.shape {
            Shape::Both | Shape::Replies => stream::once(call.many(taken)).try_flatten().boxed(),
            Shape::Requests | Shape::Unary => stream::once(call.one(taken)).boxed(),
        };
        Self { operation, replies, requests: Some(requests), pending: None, finished: false }
    }

    /// Passes messages both ways. A client that does not read holds the replies back, a service that
    /// does not take requests holds the client back, and neither holds the other direction.
    async fn run(
        mut self,
        sending: &mut Sending,
        frames: &mut Frames,
        begin: Option<Bytes>,
    ) -> Ending {
        self.pending = begin;
        let mut pings = interval_at(Instant::now() + PING_EVERY, PING_EVERY);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut unanswered = 0;
        loop {
            let requests = self.requests.clone();
            tokio::select! {
                sent = sending.finish(), if sending.busy => {
                    if sent.is_err() {
                        return Ending::Gone;
                    }
                }
                reply = self.replies.next(), if !sending.busy => {
                    let reply = match reply {
                        Some(Ok(reply)) => Encoded::new(self.operation.output(), &reply).to_vec(),
                        Some(Err(status)) => return Failure::from(status).into(),
                        None => return Ending::Done,
                    };
                    let reply = match reply.map(String::from_utf8) {
                        Ok(reply) => reply.unwrap_or_default(),
                        Err(error) => return Failure::from(error).into(),
                    };
                    sending.begin(Frame::Text(reply.into()));
                }
                room = reserve(requests.as_ref()), if self.pending.is_some() => {
                    // Without room the service wants no more, and its reply says why.
                    if let (Some(room), Some(request)) = (room, self.pending.take()) {
                        room.send(request);
                    }
                    if self.finished {
                        self.requests = None;
                    }
                }
                frame = frames.next(), if self.pending.is_none() => {
                    unanswered = 0;
                    let request = match frame {
                        Some(Ok(Frame::Text(text))) => self.decode(text.as_bytes()),
                        Some(Ok(Frame::Binary(data))) => self.data(&data),
                        Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => continue,
                        Some(Ok(Frame::Close(_))) | None => return Ending::Gone,
                        Some(Err(_)) => Err(bad_message()),
                    };
                    if let Err(failure) = request.and_then(|request| self.offer(request)) {
                        return failure.into();
                    }
                }
                // A client that does not read yet will not see a ping before the rest.
                _ = pings.tick(), if !sending.busy => {
                    // While a request is pending nobody looks for answers.
                    if self.pending.is_none() {
                        unanswered += 1;
                    }
                    if unanswered > MAX_UNANSWERED {
                        return Ending::Gone;
                    }
                    sending.begin(Frame::Ping(Bytes::new()));
                }
            }
        }
    }

    /// Keeps a request until the service takes it.
    fn offer(&mut self, request: Bytes) -> Result<(), Failure> {
        if self.finished {
            return Err(Failure::invalid("message", "comes after the last one"));
        }
        let finish = self.operation.upload().map(|upload| upload.finish.number);
        self.finished = finish.is_some_and(|finish| last(&request, finish).is_some());
        self.pending = Some(request);
        Ok(())
    }

    /// A text is the JSON of a request.
    fn decode(&self, json: &[u8]) -> Result<Bytes, Failure> {
        Ok(decode(self.operation.input(), json)?.into())
    }

    /// Bytes are the request's field `data`.
    fn data(&self, data: &[u8]) -> Result<Bytes, Failure> {
        match self.operation.input().bytes_field() {
            Some(field) => Ok(part(field.number, data)),
            None => Err(Failure::invalid("message", "must be text: this operation takes no data")),
        }
    }
}

/// Waits until the server is being stopped.
async fn stopping(draining: Option<Draining>) {
    match draining {
        Some(Draining(stopped)) => stopped.cancelled().await,
        None => std::future::pending().await,
    }
}

async fn reserve(requests: Option<&mpsc::Sender<Bytes>>) -> Option<mpsc::Permit<'_, Bytes>> {
    requests?.reserve().await.ok()
}

/// The library does not say which of the two it was.
fn bad_message() -> Failure {
    let reason = format!("breaks the WebSocket protocol or the limit of {MAX_MESSAGE_BYTES} bytes");
    Failure::invalid("message", &reason)
}

/// Says how the conversation ended, and waits a little until the client has heard it.
async fn close(sink: &mut SplitSink<WebSocket, Frame>, frames: &mut Frames, ending: Ending) {
    let frame = match ending {
        Ending::Gone => return,
        Ending::Done => CloseFrame { code: close_code::NORMAL, reason: "".into() },
        Ending::Stopping => {
            CloseFrame { code: close_code::AWAY, reason: "the server is being stopped".into() }
        }
        Ending::Failed(failure) => {
            if sink.send(Frame::Text(failure.json().into())).await.is_err() {
                return;
            }
            CloseFrame { code: close_code::ERROR, reason: failure.code().name().into() }
        }
    };
    let goodbye = async {
        if sink.send(Frame::Close(Some(frame))).await.is_ok() {
            while let Some(Ok(_)) = frames.next().await {}
        }
    };
    let _ = timeout(CLOSE_TIMEOUT, goodbye).await;
}
