//! Methods and fields that this build does not know.
//!
//! Protocol Buffers pass over what they do not know, and an option that is passed over is one that
//! the client believes in. A client of the same version has no such fields; any other is looked at.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Buf as _, Bytes, BytesMut};
use http::Request;
use http_body::Frame;
use prost_reflect::MethodDescriptor;
use stigmer_core::{ErrorCode, ToolError};

use super::context::{CLIENT_VERSION, most_error};
use crate::convert::errors;
use crate::message_size::MAX_REQUEST_BYTES;
use crate::methods;
use crate::shape::{POOL, Shape};

/// Our version.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a gRPC message begins with: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// The longest version that is repeated to the client.
const MAX_VERSION_BYTES: usize = 64;

/// The longest name of a method that is repeated to the client.
const MAX_METHOD_BYTES: usize = 128;

/// What the methods of the contract begin with.
const PACKAGE: &str = "/stigmer.v1.";

/// The method of the contract that a path names.
pub(super) fn method(path: &str) -> Option<MethodDescriptor> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let service = POOL.as_ref()?.get_service_by_name(service)?;
    service.methods().find(|known| known.name() == method)
}

/// Refuses a method that the contract does not have here.
///
/// # Errors
/// `unsupported`, naming the method and our version.
pub(super) fn known_method(path: &str) -> Result<(), ToolError> {
    if !path.starts_with(PACKAGE) || methods::at(path).is_some() {
        return Ok(());
    }
    let name = path[1..].get(..MAX_METHOD_BYTES).unwrap_or(&path[1..]);
    let text = format!("{name}: version {VERSION}, which this server is, has no such method");
    Err(ToolError::new(ErrorCode::Unsupported, text)
        .with_hint("bring the server up to the client's version")
        .with_detail("method", name)
        .with_detail("server_version", VERSION))
}

/// The same request, in which a field that this build does not know is an error if the client is of
/// another version.
pub(super) fn look_at(request: Request<Body>) -> Request<Body> {
    let version = request.headers().get(CLIENT_VERSION);
    if version.is_some_and(|version| version == VERSION) {
        return request;
    }
    let shape = method(request.uri().path()).and_then(|it| Shape::of(it.input().full_name()));
    let Some(shape) = shape else { return request };
    let version = version.and_then(|version| version.to_str().ok());
    let version = version.filter(|version| version.len() <= MAX_VERSION_BYTES);
    let client = version.unwrap_or("unknown").to_owned();
    let most = most_error(request.headers());
    request.map(|body| {
        Body::new(LookedAt { body, client, most, shape, buffer: BytesMut::new(), passes: false })
    })
}

/// A body whose messages are looked at before they are passed on.
struct LookedAt {
    body: Body,
    /// The client's version.
    client: String,
    most: usize,
    /// What each message is.
    shape: &'static Shape,
    /// What has arrived of the next message.
    buffer: BytesMut,
    /// The rest is passed on unseen, to be refused by whoever decodes it.
    passes: bool,
}

impl LookedAt {
    /// What can be passed on of what has arrived.
    fn take(&mut self) -> Result<Option<Bytes>, ToolError> {
        if !self.passes && self.buffer.len() >= PREFIX_BYTES {
            let mut prefix = &self.buffer[..];
            let (compressed, length) = (prefix.get_u8(), prefix.get_u32());
            let whole = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(PREFIX_BYTES);
            if compressed != 0 || whole > MAX_REQUEST_BYTES {
                self.passes = true;
            } else if self.buffer.len() >= whole {
                let message = self.buffer.split_to(whole).freeze();
                return match self.shape.unknown_field(&message[PREFIX_BYTES..]) {
                    Some((name, number)) => Err(refused(name, number, &self.client)),
                    None => Ok(Some(message)),
                };
            }
        }
        let all = self.passes && !self.buffer.is_empty();
        Ok(all.then(|| self.buffer.split().freeze()))
    }
}

impl http_body::Body for LookedAt {
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.get_mut();
        loop {
            match this.take() {
                Ok(Some(message)) => return Poll::Ready(Some(Ok(Frame::data(message)))),
                Ok(None) => {}
                Err(error) => {
                    let status = errors::status_within(&error, this.most);
                    return Poll::Ready(Some(Err(status.into())));
                }
            }
            match ready!(Pin::new(&mut this.body).poll_frame(context)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => this.buffer.extend_from_slice(&data),
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                // Half a message is for the decoder to complain of.
                None if this.buffer.is_empty() => return Poll::Ready(None),
                None => this.passes = true,
            }
        }
    }
}

fn refused(name: &str, number: u32, client: &str) -> ToolError {
    let text = format!(
        "{name} has no field {number} in version {VERSION}, which this server is; \
         the client's version is {client}"
    );
    ToolError::new(ErrorCode::Unsupported, text)
        .with_hint("bring the server up to the client's version, or leave the option out")
        .with_detail("message", name)
        .with_detail("field", number)
        .with_detail("server_version", VERSION)
        .with_detail("client_version", client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(path: &str, bytes: &[u8]) -> Option<(&'static str, u32)> {
        let shape = Shape::of(method(path).unwrap().input().full_name()).unwrap();
        shape.unknown_field(bytes)
    }

    #[test]
    fn a_field_is_found_at_any_depth() {
        let path = "/stigmer.v1.Processes/Execute";
        assert_eq!(found(path, b""), None);
        // start.terminal.rows
        assert_eq!(found(path, b"\x0a\x04\x42\x02\x08\x18"), None);
        assert_eq!(found(path, b"\x70\x01"), Some(("stigmer.v1.ExecuteRequest", 14)));
        // start.terminal.3
        let inner = Some(("stigmer.v1.TerminalSize", 3));
        assert_eq!(found(path, b"\x0a\x04\x42\x02\x18\x01"), inner);
        // After a field of another wire type than the contract's, which is skipped or refused.
        assert_eq!(found(path, b"\x08\x01\x70\x01").map(|found| found.1), Some(14));
    }

    #[test]
    fn only_methods_of_the_contract_are_looked_at() {
        assert!(method("/stigmer.v1.Files/Read").is_some());
        for other in ["/stigmer.v1.Files/Nothing", "/grpc.health.v1.Health/Check", "", "/", "x"] {
            assert!(method(other).is_none(), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            for path in ["/stigmer.v1.Processes/Execute", "/stigmer.v1.Processes/Attach"] {
                found(path, &bytes);
            }
        }
    }
}
