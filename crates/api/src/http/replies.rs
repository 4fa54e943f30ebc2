//! Streams of replies: events, lines or bytes.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderMap;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use tonic::{Status, Streaming};

use super::call::Call;
use super::contract::{Message, Operation};
use super::failure::Failure;
use super::json::{Encoded, Value, last};

/// How often a quiet stream of events says that it is alive. Proxies give up after 30 to 60 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How a stream of replies is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Server-Sent Events.
    Events,
    /// One JSON object a line.
    Lines,
    /// The bytes that the messages carry, and nothing else.
    Bytes,
}

/// The form that the client asks for: the first in `Accept` that there is.
pub(super) fn form(operation: &Operation, headers: &HeaderMap) -> Result<Form, Failure> {
    let mut asked = headers.get_all(ACCEPT).iter().peekable();
    if asked.peek().is_none() {
        return Ok(Form::Events);
    }
    let has_bytes = operation.download().is_some();
    let kinds = asked.flat_map(|value| value.to_str().unwrap_or_default().split(','));
    let mut forms = kinds.filter_map(|kind| {
        match kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            "text/event-stream" | "text/*" | "*/*" => Some(Form::Events),
            "application/x-ndjson" | "application/json" => Some(Form::Lines),
            "application/octet-stream" if has_bytes => Some(Form::Bytes),
            _ => None,
        }
    });
    forms.next().ok_or_else(|| {
        Failure::not_acceptable(if has_bytes {
            "text/event-stream, application/x-ndjson or application/octet-stream"
        } else {
            "text/event-stream or application/x-ndjson"
        })
    })
}

/// Calls, and answers with the stream. Nothing is read ahead: a client that does not read holds the
/// stream back, and one that goes away ends the call.
pub(super) async fn answer(form: Form, call: Call, request: Bytes) -> Result<Response, Failure> {
    let operation = call.operation;
    let output = operation.output();
    let replies = call.many(stream::once(async { request })).await?;
    match (form, operation.download()) {
        (Form::Bytes, Some(field)) => bytes(replies, field.number).await,
        (Form::Lines, _) => Ok(lines(replies, output)),
        _ => Ok(events(replies, output)),
    }
}

fn events(replies: Streaming<Bytes>, output: &'static Message) -> Response {
    let events = stream::unfold(Some(replies), move |replies| async move {
        let mut replies = replies?;
        let event = match replies.message().await {
            Ok(Some(message)) => event(output, &message),
            Ok(None) => {
                // An event without data is not delivered by browsers.
                return Some((Ok::<_, Infallible>(Event::default().event("end").data("{}")), None));
            }
            Err(status) => Err(status.into()),
        };
        Some(match event {
            Ok(event) => (Ok(event), Some(replies)),
            Err(failure) => (Ok(Event::default().event("error").data(failure.json())), None),
        })
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

/// A message as an event: its offset is the id, the case of its oneof the name.
fn event(output: &'static Message, message: &Bytes) -> Result<Event, Failure> {
    let mut cases = output.fields.iter().filter(|field| field.oneof.is_some());
    let case = cases.find(|field| last(message, field.number).is_some());
    let event = Event::default().event(case.map_or("message", |case| &case.name));
    let next = output.offset_field("next").map(|next| last(message, next.number));
    let event = match next {
        Some(Some(Value::Varint(next))) => event.id(next.to_string()),
        Some(_) => event.id("0"),
        None => event,
    };
    let json = String::from_utf8(Encoded::new(output, message).to_vec()?);
    Ok(event.data(json.unwrap_or_default()))
}

fn lines(replies: Streaming<Bytes>, output: &'static Message) -> Response {
    let lines = stream::unfold(Some(replies), move |replies| async move {
        let mut replies = replies?;
        let line = match replies.message().await {
            Ok(Some(message)) => Encoded::new(output, &message).to_vec().map_err(Failure::from),
            Ok(None) => return None,
            Err(status) => Err(status.into()),
        };
        let (mut line, rest) = match line {
            Ok(line) => (line, Some(replies)),
            Err(failure) => (failure.json().into_bytes(), None),
        };
        line.push(b'\n');
        Some((Ok::<_, Infallible>(line), rest))
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-cache")];
    (headers, Body::from_stream(lines)).into_response()
}

/// The bytes as they are. An error before the first is an answer of its own; a later one breaks the
/// connection off, because there is no other way to say that bytes are missing.
async fn bytes(mut replies: Streaming<Bytes>, number: u32) -> Result<Response, Failure> {
    let first = replies.message().await?;
    let rest = stream::unfold((first, Some(replies)), move |(first, replies)| async move {
        if let Some(message) = first {
            return Some((Ok(piece(&message, number)), (None, replies)));
        }
        let mut replies = replies?;
        match replies.message().await {
            Ok(Some(message)) => Some((Ok(piece(&message, number)), (None, Some(replies)))),
            Ok(None) => None,
            Err(status) => Some((Err::<Bytes, Status>(status), (None, None))),
        }
    });
    let headers = [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, "no-cache")];
    Ok((headers, Body::from_stream(rest)).into_response())
}

/// The bytes that a message carries, without a copy.
fn piece(message: &Bytes, number: u32) -> Bytes {
    match last(message, number) {
        Some(Value::Bytes(piece)) => message.slice_ref(piece),
        _ => Bytes::new(),
    }
}
