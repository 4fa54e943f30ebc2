//! What a failed request is answered with: always JSON, and always an error of the one table.

use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_TYPE, UPGRADE};
use http::{HeaderValue, StatusCode};
use serde_json::json;
use stigmer_core::{ErrorCode, ToolError};
use tonic::Status;

use crate::convert::errors::{from_status, http_status};

/// A failed request.
#[derive(Debug)]
pub(super) struct Failure(Box<Parts>);

#[derive(Debug)]
struct Parts {
    status: StatusCode,
    error: ToolError,
    /// What may be asked instead of what was.
    header: Option<(http::HeaderName, HeaderValue)>,
}

impl Failure {
    fn new(
        status: StatusCode,
        error: ToolError,
        header: Option<(http::HeaderName, HeaderValue)>,
    ) -> Self {
        Self(Box::new(Parts { status, error, header }))
    }

    /// No operation has this path.
    pub(super) fn no_such_path(path: &str, nearest: Option<&str>) -> Self {
        let shown: String = path.chars().take(128).collect();
        let error =
            ToolError::new(ErrorCode::NotFound, format!("no operation has the path {shown}"));
        let hint = match nearest {
            Some(nearest) => format!("{nearest} is nearest; GET /openapi.json lists all"),
            None => "GET /openapi.json lists all".to_owned(),
        };
        error.with_hint(hint).into()
    }

    /// The path is right and the method is not.
    pub(super) fn method_not_allowed(path: &str, allowed: &'static str) -> Self {
        let error = ToolError::invalid_argument("method", format!("{path} takes {allowed} only"))
            .with_hint("GET asks for what changes nothing, POST for everything that has one reply");
        let header = Some((ALLOW, HeaderValue::from_static(allowed)));
        Self::new(StatusCode::METHOD_NOT_ALLOWED, error, header)
    }

    /// The operation takes a stream of messages.
    pub(super) fn websocket_only(path: &str) -> Self {
        let error = ToolError::invalid_argument("upgrade", format!("{path} is a WebSocket"))
            .with_hint("send `connection: upgrade` and `upgrade: websocket`");
        let header = Some((UPGRADE, HeaderValue::from_static("websocket")));
        Self::new(StatusCode::UPGRADE_REQUIRED, error, header)
    }

    /// The body is not of a kind that the operation takes.
    pub(super) fn unsupported_media_type(wanted: &str) -> Self {
        let error = ToolError::invalid_argument("content-type", format!("must be {wanted}"));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, None)
    }

    /// The reply cannot be given in the form that was asked for.
    pub(super) fn not_acceptable(offered: &str) -> Self {
        let error = ToolError::invalid_argument("accept", format!("the reply can be {offered}"));
        Self::new(StatusCode::NOT_ACCEPTABLE, error, None)
    }

    /// A value of the request is not acceptable.
    pub(super) fn invalid(name: &str, reason: &str) -> Self {
        ToolError::invalid_argument(name, reason).into()
    }

    /// The request is larger than the limit.
    pub(super) fn too_large(limit: usize) -> Self {
        let message = format!("the request's body is larger than the limit of {limit} bytes");
        ToolError::new(ErrorCode::TooLarge, message)
            .with_detail("limit", limit)
            .with_hint("larger files are sent with /v1/transfers/upload")
            .into()
    }

    /// The request's body was broken off.
    pub(super) fn body_broken_off() -> Self {
        Self::invalid("body", "was broken off")
    }

    /// A translation did not come to its end.
    pub(super) fn broken() -> Self {
        ToolError::new(ErrorCode::Io, "the translation of a message failed").into()
    }

    /// The code, for where no body can be sent.
    pub(super) fn code(&self) -> ErrorCode {
        self.0.error.code
    }

    /// The body.
    pub(super) fn json(&self) -> String {
        json!({ "error": self.0.error }).to_string()
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        Self::new(http_status(error.code), error, None)
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        from_status(&status).into()
    }
}

/// A reply that is not what the contract says.
impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        ToolError::new(ErrorCode::Io, format!("the reply is broken: {error}")).into()
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = self.json();
        let mut response = (self.0.status, body).into_response();
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        // For whoever counts what was refused.
        response.extensions_mut().insert(self.0.error.code);
        if let Some((name, value)) = self.0.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}
