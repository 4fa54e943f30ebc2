//! One request, from its head to its response.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use stigmer_core::{ErrorCode, Result, ToolError};
use tower::ServiceExt;
use tracing::Instrument;

use super::Draining;
use super::access::Access;
use super::admission::{Asker, Permit};
use super::bodies::{self, Fault, RequestBody};
use super::connection::Connection;
use super::operations::{Class, HEALTH_PATH, Operation, operation_of};
use super::record::{self, Record};
use super::refusal;
use super::responses::{Flight, Kind, ResponseBody, length};
use super::shared::Shared;
use crate::convert::is_traceparent;

const REQUEST_ID: &str = "x-request-id";
const TRACEPARENT: &str = "traceparent";

/// The longest id of a client's that is taken over: it stands in every line of the log.
const MAX_REQUEST_ID_BYTES: usize = 64;

/// What answers the requests of one connection.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Arc<Connection>,
    /// Who may ask; nothing where whoever is connected may.
    pub(super) access: Option<Arc<Access>>,
    /// The address that the connection came to.
    pub(super) local: Option<SocketAddr>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<ResponseBody>, Infallible>> + Send>>;

impl hyper::service::Service<Request<Incoming>> for Service {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let service = self.clone();
        let http1 = request.version() < Version::HTTP_2;
        service.connection.http1.store(http1, Ordering::Relaxed);
        service.recognize(&request);
        // A request counts from its head on, before anything of it has run.
        let begun = service.connection.begin();
        Box::pin(async move { Ok(service.answer(request, begun).await) })
    }
}

impl Service {
    /// Whose connection this is, as far as the request tells.
    fn recognize(&self, request: &Request<Incoming>) {
        let known = |access: &Arc<Access>| access.check_token(request.headers()).is_ok();
        if !self.connection.is_trusted() && self.access.as_ref().is_none_or(known) {
            self.connection.trust();
        }
    }

    async fn answer(self, mut request: Request<Incoming>, begun: bool) -> Response<ResponseBody> {
        let operation = operation_of(request.uri().path());
        let id = request_id(request.headers());
        let span = self.span(&request, operation, &id);
        let transport = self.connection.peer.transport;
        let record = Record::new(operation, transport, span.clone());
        let flight = Flight { connection: Arc::clone(&self.connection), record, begun };
        let grpc = refusal::is_grpc(request.headers());
        request.headers_mut().insert(REQUEST_ID, id.clone());

        let mut response = if begun {
            self.serve(request, operation, flight, grpc).instrument(span).await
        } else {
            let error = ToolError::new(ErrorCode::Unavailable, "the connection is being closed");
            self.refuse(&error, flight, grpc)
        };
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        if self.connection.extra && self.connection.http1.load(Ordering::Relaxed) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn span(
        &self,
        request: &Request<Incoming>,
        operation: &Operation,
        id: &HeaderValue,
    ) -> tracing::Span {
        let peer = self.connection.peer;
        let span = tracing::info_span!(
            "request",
            request_id = id.to_str().unwrap_or_default(),
            operation = operation.name.as_str(),
            transport = peer.transport.name(),
            peer_uid = tracing::field::Empty,
            traceparent = tracing::field::Empty,
            code = tracing::field::Empty,
        );
        if let Some(uid) = peer.uid {
            span.record("peer_uid", uid);
        }
        if let Some(parent) = traceparent(request.headers()) {
            span.record("traceparent", parent);
        }
        span
    }

    /// Whether the request may be served at all.
    fn check(&self, request: &Request<Incoming>, operation: &Operation) -> Result<()> {
        let Some(access) = &self.access else { return Ok(()) };
        let (uri, headers) = (request.uri(), request.headers());
        if let Some(local) = self.local {
            access.check_host(uri, headers, Some(local))?;
            access.check_origin(uri, headers)?;
        }
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if operation.open && (reads || uri.path() != HEALTH_PATH) {
            return Ok(());
        }
        access.check_token(headers)
    }

    async fn serve(
        &self,
        request: Request<Incoming>,
        operation: &'static Operation,
        flight: Flight,
        grpc: bool,
    ) -> Response<ResponseBody> {
        if let Err(error) = self.check(&request, operation) {
            return self.refuse_and_close(&error, flight, grpc);
        }
        let trusted = self.connection.is_trusted();
        if let Some(error) = bodies::check_length(request.body(), &self.shared, operation, trusted)
        {
            return self.refuse_and_close(&error, flight, grpc);
        }
        let fault = Fault::default();
        let (head, body) = request.into_parts();
        let shared = Arc::clone(&self.shared);
        let body = RequestBody::new(body, shared, operation, trusted, fault.clone());
        // Nobody has a turn while they are still saying what they want, and no stranger its place.
        // What came counts as held until the answer is made, not only until it is decoded.
        let (body, _held) = if operation.streams_in {
            (Body::new(body), None)
        } else {
            match bodies::gather(body, trusted).await {
                Ok((data, held)) => (Body::from(data), Some(held)),
                Err(broken) => {
                    let error = fault.take().unwrap_or_else(|| broken_off(&broken));
                    return self.refuse_and_close(&error, flight, grpc);
                }
            }
        };
        let request = Request::from_parts(head, body);
        let asker = Asker { connection: self.connection.id, extra: self.connection.extra };
        let permit = match self.shared.admission.admit(operation.class, asker).await {
            Ok(permit) => permit,
            Err(error) => return self.refuse(&error, flight, grpc),
        };
        let handled = self.handle(request, operation).await;
        let response = match fault.take().map_or(handled, Err) {
            Ok(response) => response,
            Err(error) => return self.refuse(&error, flight, grpc),
        };
        self.hand_over(response, operation, flight, permit).await
    }

    /// Runs the operation, unless the server ends.
    async fn handle(
        &self,
        mut request: Request<Body>,
        operation: &'static Operation,
    ) -> Result<Response<Body>> {
        let shared = &self.shared;
        request.extensions_mut().insert(self.connection.peer);
        request.extensions_mut().insert(Draining(shared.draining.clone()));
        let handled = shared.router.clone().oneshot(request);
        let waits = operation.class == Class::Waiting && operation.repeatable;
        tokio::select! {
            biased;
            Ok(response) = handled => Ok(response),
            () = shared.draining.cancelled(), if waits => Err(shutting_down(operation)),
            () = shared.ended.cancelled() => Err(shutting_down(operation)),
        }
    }

    /// Gives the response to the connection.
    async fn hand_over(
        &self,
        response: Response<Body>,
        operation: &'static Operation,
        flight: Flight,
        permit: Permit,
    ) -> Response<ResponseBody> {
        let (parts, mut body) = response.into_parts();
        let grpc = refusal::is_grpc(&parts.headers);
        let code = if grpc {
            record::grpc_code(&parts.headers)
        } else {
            // Our own refusals say which of the table's codes it is.
            let ours = parts.extensions.get::<ErrorCode>().map(|code| code.name());
            Some(ours.unwrap_or_else(|| record::http_code(parts.status)))
        };
        if parts.status == StatusCode::SWITCHING_PROTOCOLS {
            // From here on it is a stream of somebody else's, and lives as long as the connection.
            self.connection.upgrade(permit);
            let shared = Arc::clone(&self.shared);
            let body = ResponseBody::new(body, Kind::Stream(None), shared, flight, grpc, code);
            return Response::from_parts(parts, body);
        }
        let kind = if operation.streams_out {
            Kind::Stream(Some(permit))
        } else {
            // The answer is made here, while it is this request's turn; how long its reader takes
            // for it is only a matter of memory.
            let first = match body.frame().await {
                Some(Ok(frame)) => Some(frame),
                Some(Err(_)) => {
                    let error =
                        ToolError::new(ErrorCode::Io, "the answer broke off while it was made");
                    return self.refuse(&error, flight, grpc);
                }
                None => None,
            };
            drop(permit);
            let bytes = length(first.as_ref());
            if bytes > 0 && !self.shared.hand_over(&self.connection, bytes) {
                self.shared.read(&self.connection, bytes);
                return self.refuse(&unread(operation, &self.shared), flight, grpc);
            }
            Kind::Answer(first)
        };
        let shared = Arc::clone(&self.shared);
        Response::from_parts(parts, ResponseBody::new(body, kind, shared, flight, grpc, code))
    }

    /// Refuses a request of which more may come that nobody reads: on HTTP/1 nothing else can follow.
    fn refuse_and_close(
        &self,
        error: &ToolError,
        flight: Flight,
        grpc: bool,
    ) -> Response<ResponseBody> {
        let mut response = self.refuse(error, flight, grpc);
        if self.connection.http1.load(Ordering::Relaxed) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    fn refuse(&self, error: &ToolError, flight: Flight, grpc: bool) -> Response<ResponseBody> {
        let (parts, body) = refusal::response(error, grpc).into_parts();
        let kind = Kind::Answer(None);
        let code = Some(error.code.name());
        let shared = Arc::clone(&self.shared);
        Response::from_parts(parts, ResponseBody::new(body, kind, shared, flight, grpc, code))
    }
}

fn broken_off(error: &std::io::Error) -> ToolError {
    ToolError::new(
        ErrorCode::InvalidArgument,
        format!("the request's body broke off: {error}; nothing was done"),
    )
}

fn shutting_down(operation: &Operation) -> ToolError {
    if operation.repeatable {
        return ToolError::new(ErrorCode::Unavailable, "the server is shutting down")
            .with_hint("connect again and repeat the request");
    }
    ToolError::new(
        ErrorCode::CompletionUnknown,
        "the server shut down while the request was being done",
    )
    .with_hint("connect again and look what was done before you repeat it; commands go on")
}

fn unread(operation: &Operation, shared: &Shared) -> ToolError {
    let limit = shared.limits.unread_bytes;
    let message = format!("answers that nobody has read yet hold {limit} bytes");
    let code =
        if operation.repeatable { ErrorCode::OutOfResources } else { ErrorCode::CompletionUnknown };
    ToolError::new(code, message)
        .with_detail("limit", limit)
        .with_hint("read the answers that were asked for, or ask for smaller ones")
}

/// The id that a client chose, if it can stand in a log, else one of ours.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if let Some(id) = headers.get(REQUEST_ID) {
        let bytes = id.as_bytes();
        if (1..=MAX_REQUEST_ID_BYTES).contains(&bytes.len()) && bytes.iter().copied().all(sane) {
            return id.clone();
        }
    }
    let mut bytes = [0; 16];
    // Without randomness the id is zero: it is for finding lines in a log, and keeps nothing safe.
    let _ = getrandom::fill(&mut bytes);
    let text = format!("{:032x}", u128::from_le_bytes(bytes));
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("none"))
}

/// The trace that a request belongs to, if it is one.
fn traceparent(headers: &HeaderMap) -> Option<&str> {
    headers.get(TRACEPARENT)?.to_str().ok().filter(|text| is_traceparent(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(sent: &str) -> HeaderValue {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_bytes(sent.as_bytes()).unwrap());
        request_id(&headers)
    }

    #[test]
    fn a_clients_request_id_is_kept_if_a_log_can_carry_it() {
        assert_eq!(id_of("abc-1.2_3"), "abc-1.2_3");
        for bad in ["", "a b", "a\"b", "ä", &"x".repeat(65)] {
            let id = id_of(bad);
            assert_eq!(id.len(), 32, "{bad}");
            assert_ne!(id, id_of(bad));
        }
    }

    #[test]
    fn only_a_traceparent_is_written_down() {
        let of = |text: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(TRACEPARENT, HeaderValue::from_static(text));
            traceparent(&headers).map(str::to_owned)
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(of(good).as_deref(), Some(good));
        assert_eq!(of("password=secret"), None);
    }
}
