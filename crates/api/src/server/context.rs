//! What is known of who asks.

use http::HeaderMap;
use stigmer_core::{Result, ToolError};
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

use super::Answer;
use crate::convert::{errors, is_traceparent};
use crate::message_size::{MAX_ERROR_BYTES, MAX_FOREIGN_ERROR_BYTES};
use crate::provider::RequestContext;

/// The request's id: the client's, or ours if it has none.
pub const REQUEST_ID: &str = "x-request-id";
/// The W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// The version of a client of ours.
pub const CLIENT_VERSION: &str = "stigmer-version";

/// The longest id of a request: it stands in logs and events.
const MAX_REQUEST_ID_BYTES: usize = 128;

/// Who asks, and how they are answered.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) context: RequestContext,
    /// The most bytes of an error that they take.
    most: usize,
}

impl Asked {
    /// What a request says of itself, and the request.
    pub(super) fn take<W>(request: Request<W>) -> (Self, W) {
        let (metadata, _, message) = request.into_parts();
        (Self::of(&metadata), message)
    }

    fn of(metadata: &MetadataMap) -> Self {
        let text = |name| metadata.get(name).and_then(|value| value.to_str().ok());
        let request_id = text(REQUEST_ID).filter(|id| is_request_id(id));
        let traceparent = text(TRACEPARENT).filter(|text| is_traceparent(text));
        Self {
            context: RequestContext {
                request_id: request_id.map_or_else(new_request_id, str::to_owned),
                traceparent: traceparent.map(str::to_owned),
            },
            most: most(metadata.contains_key(CLIENT_VERSION)),
        }
    }

    /// The status for an error.
    pub(super) fn refuse(&self, error: &ToolError) -> Status {
        errors::status_within(error, self.most)
    }

    /// The response.
    pub(super) fn answer<R>(&self, result: Result<R>) -> Answer<R> {
        result.map(Response::new).map_err(|error| self.refuse(&error))
    }
}

/// The most bytes of an error for whoever sent these headers.
pub(super) fn most_error(headers: &HeaderMap) -> usize {
    most(headers.contains_key(CLIENT_VERSION))
}

fn most(ours: bool) -> usize {
    if ours { MAX_ERROR_BYTES } else { MAX_FOREIGN_ERROR_BYTES }
}

/// Printable, without blanks, and short.
fn is_request_id(text: &str) -> bool {
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic());
    printable && !text.is_empty() && text.len() <= MAX_REQUEST_ID_BYTES
}

fn new_request_id() -> String {
    // Without random numbers there is still an id; it is for finding things in logs, no secret.
    format!("{:016x}", getrandom::u64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::metadata::MetadataValue;

    fn context(id: &str, traceparent: &str) -> RequestContext {
        let mut request = Request::new(());
        let value = |text: &str| MetadataValue::try_from(text).unwrap();
        request.metadata_mut().insert(REQUEST_ID, value(id));
        request.metadata_mut().insert(TRACEPARENT, value(traceparent));
        Asked::take(request).0.context
    }

    #[test]
    fn an_id_and_a_trace_are_taken_over() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let got = context("a-1", trace);
        assert_eq!((got.request_id.as_str(), got.traceparent.as_deref()), ("a-1", Some(trace)));
    }

    #[test]
    fn what_cannot_be_an_id_or_a_trace_is_not() {
        for bad in ["", "with blank", "tab\tin it", &"x".repeat(129)] {
            let got = context(bad, bad);
            assert_eq!(got.request_id.len(), 16, "{bad:?} is replaced");
            assert_eq!(got.traceparent, None);
        }
        assert_ne!(context("", "").request_id, context("", "").request_id);
    }
}
