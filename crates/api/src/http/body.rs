//! Bodies of requests: JSON that is read whole, and uploads that are passed on as they arrive.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::HeaderMap;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::BodyExt;

use super::contract::{Kind, Message, contract};
use super::failure::Failure;
use super::json::{decode_query, put_bytes};

/// The largest body of JSON. The largest content that an operation takes is 64 MiB
/// (`MAX_WRITE_BYTES`), which as base64 are 86 MiB; the rest is for what stands around it.
pub(super) const MAX_JSON_BYTES: usize = 96 << 20;

/// The most memory that is set aside because a client says that its body will be large.
const MAX_RESERVED_BYTES: usize = 1 << 20;

/// Reads a body of JSON.
///
/// `curl -d` says that its body is a form, which is taken at its word for nothing: a page of another
/// site could send the same, but it has neither the token that TCP wants nor a way to the socket.
pub(super) async fn json_body(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Failure> {
    match media_type(headers).as_deref() {
        None | Some("application/json" | "application/x-www-form-urlencoded") => {}
        Some(_) => return Err(Failure::unsupported_media_type("application/json")),
    }
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let length: usize = length.unwrap_or(0);
    if length > MAX_JSON_BYTES {
        return Err(Failure::too_large(MAX_JSON_BYTES));
    }
    let mut json = Vec::with_capacity(length.min(MAX_RESERVED_BYTES));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Err(Failure::body_broken_off()) };
        let Some(data) = frame.data_ref() else { continue };
        if json.len() + data.len() > MAX_JSON_BYTES {
            return Err(Failure::too_large(MAX_JSON_BYTES));
        }
        json.extend_from_slice(data);
    }
    Ok(json)
}

/// The type of a body in lower case, without its parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    // One that is no text is none that we know.
    let value = headers.get(CONTENT_TYPE)?.to_str().unwrap_or("?");
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// An upload whose bytes are the body of a POST.
pub(super) struct Upload;

impl Upload {
    /// The messages of an upload: `begin` from the query, the body in pieces, and `finish` if the
    /// body ended as it should. A body that was broken off is an upload that was broken off.
    pub(super) fn begin(
        upload: &super::contract::Upload,
        parts: &Parts,
        body: Body,
    ) -> Result<impl Stream<Item = Bytes> + Send + 'static, Failure> {
        match media_type(&parts.headers).as_deref() {
            None | Some("application/octet-stream" | "application/x-tar") => {}
            Some(_) => return Err(Failure::unsupported_media_type("application/octet-stream")),
        }
        let Kind::Message(begin) = upload.begin.kind else {
            return Err(Failure::invalid("query", "cannot begin this operation"));
        };
        let query = parts.uri.query().unwrap_or_default();
        let begin = part(upload.begin.number, &decode_query(&contract().messages[begin], query)?);
        let (data, finish) = (upload.data.number, upload.finish.number);
        let pieces = stream::unfold(Some(body), move |body| async move {
            let mut body = body?;
            loop {
                match body.frame().await {
                    Some(Ok(frame)) => {
                        let piece = frame.data_ref().filter(|piece| !piece.is_empty());
                        if let Some(piece) = piece {
                            return Some((part(data, piece), Some(body)));
                        }
                    }
                    Some(Err(_)) => return None,
                    None => return Some((part(finish, &[]), None)),
                }
            }
        });
        Ok(stream::StreamExt::chain(stream::once(async { begin }), pieces))
    }
}

/// A request message with nothing but this field.
pub(super) fn part(number: u32, value: &[u8]) -> Bytes {
    let mut message = Vec::new();
    put_bytes(&mut message, number, value);
    message.into()
}

/// The first message of a stream, if the query has it: the field `begin`.
pub(super) fn begin_of(input: &'static Message, query: &str) -> Result<Option<Bytes>, Failure> {
    if query.is_empty() {
        return Ok(None);
    }
    let Some(field) = input.field("begin") else {
        return Err(Failure::invalid("query", "this operation takes none"));
    };
    let Kind::Message(begin) = field.kind else {
        return Err(Failure::invalid("query", "this operation takes none"));
    };
    Ok(Some(part(field.number, &decode_query(&contract().messages[begin], query)?)))
}
