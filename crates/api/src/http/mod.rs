//! HTTP/JSON, Server-Sent Events and WebSocket, derived from the contract's descriptors.
//!
//! Nothing here knows an operation. A request is translated to a call of the gRPC services in this
//! process, and its replies to JSON; `docs/protocol.md` has the rules.

mod body;
mod call;
pub(crate) mod contract;
mod failure;
pub(crate) mod json;
mod replies;
mod websocket;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, Method};
use http_body::Body as _;
use tonic::service::Routes;
use tower::ServiceExt;

use self::body::{Upload, json_body};
use self::call::{Call, REQUEST_ID, new_request_id};
use self::contract::{Operation, Shape, contract};
use self::failure::Failure;
use self::json::{Encoded, decode, decode_query, put_varint};

/// How many bytes are translated where the other connections are served, too: a millisecond's work.
const MAX_INLINE_BYTES: usize = 256 << 10;

/// One service for everything: gRPC goes to `routes` as it is, and HTTP by translation.
///
/// `GET /healthz` and `GET /openapi.json` are answered here. Who may ask, how much and how long is
/// for whoever mounts the router.
pub fn router(routes: Routes) -> Router {
    Router::new().fallback(answer).with_state(routes.prepare())
}

async fn answer(State(routes): State<Routes>, request: Request) -> Response {
    let kind = request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return match routes.oneshot(request.map(tonic::body::Body::new)).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        };
    }
    let (mut parts, body) = request.into_parts();
    let id = parts.headers.entry(REQUEST_ID).or_insert_with(new_request_id).clone();
    let mut response =
        dispatch(routes, parts, body).await.unwrap_or_else(IntoResponse::into_response);
    response.headers_mut().entry(REQUEST_ID).or_insert(id);
    response
}

async fn dispatch(routes: Routes, parts: Parts, body: Body) -> Result<Response, Failure> {
    let path = parts.uri.path();
    match path {
        "/healthz" => return own(&parts, r#"{"status":"serving"}"#),
        "/openapi.json" => return own(&parts, crate::openapi::document()),
        _ => {}
    }
    let Some(operation) = contract().operation(path) else {
        return Err(Failure::no_such_path(path, contract().nearest(path)));
    };
    let call = Call::new(operation, routes, &parts.headers, &parts.extensions);
    match operation.shape {
        Shape::Unary => {
            let request = one_request(operation, &parts, body).await?;
            let reply = call.one(stream::once(async { request.into() })).await?;
            let reply_size = reply.len();
            let encode = move || Encoded::new(operation.output(), &reply).to_vec();
            json(aside(reply_size, encode).await??)
        }
        Shape::Replies => {
            let form = replies::form(operation, &parts.headers)?;
            let mut request = one_request(operation, &parts, body).await?;
            resume(operation, &parts, &mut request)?;
            replies::answer(form, call, request.into()).await
        }
        Shape::Requests | Shape::Both => many_requests(call, parts, body).await,
    }
}

/// Answers with a document of ours.
fn own(parts: &Parts, document: &'static str) -> Result<Response, Failure> {
    if parts.method != Method::GET && parts.method != Method::HEAD {
        return Err(Failure::method_not_allowed(parts.uri.path(), "GET"));
    }
    json(document)
}

fn json(body: impl Into<Body>) -> Result<Response, Failure> {
    let mut response = Response::new(body.into());
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}

/// The request of an operation that takes one: the body of a POST, or the query of a GET.
async fn one_request(
    operation: &'static Operation,
    parts: &Parts,
    body: Body,
) -> Result<Vec<u8>, Failure> {
    let query = parts.uri.query().unwrap_or_default();
    if parts.method == Method::POST {
        if !query.is_empty() {
            return Err(Failure::invalid("query", "POST takes its request from the body"));
        }
        let body = json_body(&parts.headers, body).await?;
        return Ok(aside(body.len(), move || decode(operation.input(), &body)).await??);
    }
    if parts.method == Method::GET && operation.safe {
        if !body.is_end_stream() {
            return Err(Failure::invalid("body", "GET takes its request from the query"));
        }
        return Ok(decode_query(operation.input(), query)?);
    }
    let allowed = if operation.safe { "GET, POST" } else { "POST" };
    Err(Failure::method_not_allowed(parts.uri.path(), allowed))
}

/// Works on so many bytes: on a thread of its own if they are many.
async fn aside<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    if size <= MAX_INLINE_BYTES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|_| Failure::broken())
}

/// What a browser sends when it comes back to a stream of events counts more than where it began.
fn resume(
    operation: &'static Operation,
    parts: &Parts,
    request: &mut Vec<u8>,
) -> Result<(), Failure> {
    let Some(last) = parts.headers.get("last-event-id") else { return Ok(()) };
    let Some(since) = operation.input().offset_field("since") else {
        return Err(Failure::invalid("last-event-id", "this stream cannot be resumed"));
    };
    let offset = last.to_str().ok().and_then(|last| last.parse().ok());
    let Some(offset) = offset else {
        return Err(Failure::invalid("last-event-id", "must be the id of an event"));
    };
    // Of a value that occurs twice the last counts.
    put_varint(request, since.number, offset);
    Ok(())
}

/// An operation that takes a stream of requests.
async fn many_requests(call: Call, mut parts: Parts, body: Body) -> Result<Response, Failure> {
    let operation = call.operation;
    let upload = operation.upload();
    let path = parts.uri.path();
    if let Some(upload) = upload.as_ref().filter(|_| parts.method == Method::POST) {
        let requests = Upload::begin(upload, &parts, body)?;
        let reply = call.one(requests).await?;
        return json(Encoded::new(operation.output(), &reply).to_vec()?);
    }
    if parts.method != Method::GET && parts.method != Method::CONNECT {
        let allowed = if upload.is_some() { "GET, POST" } else { "GET" };
        return Err(Failure::method_not_allowed(path, allowed));
    }
    websocket::answer(call, &mut parts).await
}
