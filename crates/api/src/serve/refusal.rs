//! Requests that never reach an operation, answered as their client understands it.

use axum::body::Body;
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use prost::Message;
use stigmer_core::{ErrorCode, ToolError};
use tonic::metadata::MetadataValue;

use crate::wire;

/// The trailer that carries the whole error.
const ERROR_TRAILER: &str = "stigmer-error-bin";

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
    let bytes = status.metadata().get_bin(ERROR_TRAILER)?.to_bytes().ok()?;
    let error = wire::Error::decode(bytes).ok()?;
    ErrorCode::ALL.iter().copied().find(|code| code.name() == error.code)
}

fn status(error: &ToolError) -> tonic::Status {
    let details = serde_json::Value::from_iter(error.details.clone());
    let wire = wire::Error {
        code: error.code.name().to_owned(),
        message: error.message.clone(),
        hint: error.hint.clone(),
        retryable: error.retryable,
        details_json: details.to_string(),
    };
    let mut status = tonic::Status::new(grpc_status(error.code), error.message.clone());
    status
        .metadata_mut()
        .insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&wire.encode_to_vec()));
    status
}

fn grpc_status(code: ErrorCode) -> tonic::Code {
    match code {
        ErrorCode::Unauthenticated => tonic::Code::Unauthenticated,
        ErrorCode::PermissionDenied => tonic::Code::PermissionDenied,
        ErrorCode::Busy | ErrorCode::OutOfResources | ErrorCode::TooLarge => {
            tonic::Code::ResourceExhausted
        }
        ErrorCode::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        ErrorCode::Unavailable => tonic::Code::Unavailable,
        ErrorCode::InvalidArgument => tonic::Code::InvalidArgument,
        _ => tonic::Code::Unknown,
    }
}

fn http_status(code: ErrorCode) -> StatusCode {
    match code {
        ErrorCode::Unauthenticated => StatusCode::UNAUTHORIZED,
        ErrorCode::PermissionDenied => StatusCode::FORBIDDEN,
        ErrorCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        ErrorCode::Busy | ErrorCode::OutOfResources | ErrorCode::Unavailable => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        ErrorCode::DeadlineExceeded => StatusCode::REQUEST_TIMEOUT,
        ErrorCode::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_understood_by_both_kinds_of_clients() {
        let error = ToolError::new(ErrorCode::Busy, "no place").with_hint("wait");
        let plain = response(&error, false);
        assert_eq!(plain.status(), 503);
        let grpc = response(&error, true);
        assert_eq!(
            (grpc.status().as_u16(), &grpc.headers()["grpc-status"]),
            (200, &"8".parse().unwrap())
        );
        assert_eq!(code_in(grpc.headers()), Some(ErrorCode::Busy));
        assert_eq!(code_in(&trailers(&error)), Some(ErrorCode::Busy));
    }
}
