//! What is counted and written down of requests and connections. No header, body, path or address
//! of a peer is part of it.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use stigmer_core::ErrorCode;

use super::Transport;
use super::connection::lock;
use super::operations::{Class, Operation};

/// A connection was refused or ended by us.
pub(super) fn refused(reason: &'static str) {
    metrics::counter!("stigmer_connections_refused_total", "reason" => reason).increment(1);
}

/// Lets a line through at most once a second, so that a flood does not fill the log.
#[derive(Debug, Default)]
pub(super) struct Rarely(Mutex<(Option<Instant>, u64)>);

impl Rarely {
    /// How many there were since the last time; nothing if that is too recent.
    pub(super) fn now(&self) -> Option<u64> {
        let mut state = lock(&self.0);
        state.1 += 1;
        if state.0.is_some_and(|last| last.elapsed() < Duration::from_secs(1)) {
            return None;
        }
        state.0 = Some(Instant::now());
        Some(std::mem::take(&mut state.1))
    }
}

/// One request, from its head to the end of its response. It is written down when it is dropped.
#[derive(Debug)]
pub(super) struct Record {
    operation: &'static Operation,
    transport: Transport,
    began: Instant,
    pub(super) span: tracing::Span,
    code: &'static str,
}

/// The code of a request whose client went away.
const CANCELLED: &str = "cancelled";

impl Record {
    pub(super) fn new(
        operation: &'static Operation,
        transport: Transport,
        span: tracing::Span,
    ) -> Self {
        Self { operation, transport, began: Instant::now(), span, code: CANCELLED }
    }

    /// The request has ended, and how.
    pub(super) fn ended(&mut self, code: &'static str) {
        self.code = code;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let name = self.operation.name.as_str();
        let took = self.began.elapsed();
        metrics::counter!(
            "stigmer_requests_total",
            "operation" => name,
            "transport" => self.transport.name(),
            "code" => self.code
        )
        .increment(1);
        metrics::histogram!("stigmer_request_seconds", "operation" => name).record(took);
        let milliseconds = took.as_secs_f64() * 1_000.0;
        let (span, code) = (&self.span, self.code);
        // For who follows spans only: they are exported.
        span.record("code", code);
        if code == "ok" || self.operation.class == Class::Free {
            tracing::debug!(parent: span, operation = name, code, milliseconds, "request");
        } else {
            tracing::info!(parent: span, operation = name, code, milliseconds, "request");
        }
    }
}

/// The names of gRPC's statuses, for those that are not ours.
const GRPC: [&str; 17] = [
    "ok",
    "cancelled",
    "grpc_unknown",
    "grpc_invalid_argument",
    "grpc_deadline_exceeded",
    "grpc_not_found",
    "grpc_already_exists",
    "grpc_permission_denied",
    "grpc_resource_exhausted",
    "grpc_failed_precondition",
    "grpc_aborted",
    "grpc_out_of_range",
    "grpc_unimplemented",
    "grpc_internal",
    "grpc_unavailable",
    "grpc_data_loss",
    "grpc_unauthenticated",
];

/// The code in the trailers, or the head, of a gRPC response; nothing if it is not in there.
pub(super) fn grpc_code(headers: &HeaderMap) -> Option<&'static str> {
    let status = headers.get("grpc-status")?.to_str().ok()?.parse::<usize>().ok()?;
    if status == 0 {
        return Some("ok");
    }
    let ours = super::refusal::code_in(headers).map(ErrorCode::name);
    Some(ours.unwrap_or(GRPC.get(status).copied().unwrap_or("grpc_unknown")))
}

/// The code of a plain HTTP response.
pub(super) fn http_code(status: StatusCode) -> &'static str {
    match status.as_u16() {
        ..400 => "ok",
        400 => "http_400",
        401 => "http_401",
        403 => "http_403",
        404 => "http_404",
        405 => "http_405",
        409 => "http_409",
        412 => "http_412",
        413 => "http_413",
        415 => "http_415",
        422 => "http_422",
        429 => "http_429",
        402..=499 => "http_4xx",
        500 => "http_500",
        501 => "http_501",
        503 => "http_503",
        504 => "http_504",
        _ => "http_5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_one_line_a_second_and_none_is_lost() {
        let rarely = Rarely::default();
        assert_eq!(rarely.now(), Some(1));
        assert_eq!((rarely.now(), rarely.now()), (None, None));
        lock(&rarely.0).0 = None;
        assert_eq!(rarely.now(), Some(3));
    }

    #[test]
    fn a_peer_cannot_invent_codes() {
        let status = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("grpc-status", value.parse().unwrap());
            grpc_code(&headers)
        };
        assert_eq!(status("0"), Some("ok"));
        assert_eq!(status("5"), Some("grpc_not_found"));
        assert_eq!(status("99"), Some("grpc_unknown"));
        assert_eq!(status("x"), None);
        assert_eq!(grpc_code(&HeaderMap::new()), None);
    }
}
