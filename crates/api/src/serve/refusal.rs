//! Requests that never reach an operation, answered as their client understands it.

use axum::body::Body;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response};
use stigmer_core::{ErrorCode, ToolError};

use crate::convert::errors::{ERROR_TRAILER, from_status, http_status, status};

/// Whether a head is gRPC's.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// The answer to a request that is refused.
pub(super) fn response(error: &ToolError, grpc: bool) -> Response<Body> {
    if grpc {
        return status(error).into_http();
    }
    let body = serde_json::json!({ "error": error }).to_string();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = http_status(error.code);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if error.code == ErrorCode::Unauthenticated {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// The error that ends a stream.
pub(super) fn trailers(error: &ToolError) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // It is text and base64 only, so that it always fits.
    let _ = status(error).add_header(&mut trailers);
    trailers
}

/// The code that a gRPC head or trailer names, if it is one of ours.
pub(super) fn code_in(headers: &HeaderMap) -> Option<ErrorCode> {
    let status = tonic::Status::from_header_map(headers)?;
    // A status without an error of ours is a library's: it has a name of its own.
    status.metadata().get_bin(ERROR_TRAILER)?;
    Some(from_status(&status).code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_understood_by_both_kinds_of_clients() {
        let error = ToolError::new(ErrorCode::Unavailable, "no place").with_hint("wait");
        let plain = response(&error, false);
        assert_eq!(plain.status(), 503);
        let grpc = response(&error, true);
        assert_eq!(
            (grpc.status().as_u16(), &grpc.headers()["grpc-status"]),
            (200, &"14".parse().unwrap())
        );
        assert_eq!(code_in(grpc.headers()), Some(ErrorCode::Unavailable));
        assert_eq!(code_in(&trailers(&error)), Some(ErrorCode::Unavailable));
    }
}
