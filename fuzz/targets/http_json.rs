//! Whatever is asked over HTTP, of whichever operation, becomes a request of the contract or a
//! refusal, and whatever the services reply becomes JSON, events or an error.
#![no_main]

use std::convert::Infallible;
use std::sync::{Arc, LazyLock, Mutex};

use arbitrary::Arbitrary;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use libfuzzer_sys::fuzz_target;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use stigmer_api::shape::Shape;
use tonic::service::Routes;
use tower::ServiceExt;

#[derive(Arbitrary, Debug)]
struct Asked {
    method: u8,
    /// A path that is no operation's, perhaps.
    path: Option<String>,
    post: bool,
    query: String,
    accept: u8,
    last_event_id: Option<Vec<u8>>,
    body: Vec<u8>,
    replies: Vec<Vec<u8>>,
}

static METHODS: LazyLock<Vec<MethodDescriptor>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(stigmer_api::DESCRIPTORS).unwrap();
    pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
});

/// `/v1/files/make_directory`.
fn path(method: &MethodDescriptor) -> String {
    let mut path = format!("/v1/{}/", method.parent_service().name().to_lowercase());
    for (index, letter) in method.name().chars().enumerate() {
        if letter.is_ascii_uppercase() && index > 0 {
            path.push('_');
        }
        path.push(letter.to_ascii_lowercase());
    }
    path
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat().into()
}

/// What the services were asked: the path of each call, and its body.
type Calls = Arc<Mutex<Vec<(String, Bytes)>>>;

/// Services that keep what they are asked, and reply with these bytes.
fn services(calls: &Calls, replies: Vec<Vec<u8>>) -> Routes {
    let calls = Arc::clone(calls);
    Routes::from(Router::new().fallback(move |request: Request<Body>| async move {
        let path = request.uri().path().to_owned();
        let body = request.into_body().collect().await.map(|body| body.to_bytes());
        if let Ok(body) = body {
            calls.lock().unwrap().push((path, body));
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let data = replies.into_iter().map(|reply| Frame::data(framed(&reply)));
        let frames = data.chain([Frame::trailers(trailers)]).map(Ok::<_, Infallible>);
        let body = Body::new(StreamBody::new(tokio_stream::iter(frames.collect::<Vec<_>>())));
        let mut response = Response::new(body);
        let kind = HeaderValue::from_static("application/grpc");
        response.headers_mut().insert("content-type", kind);
        response
    }))
}

fn request(asked: &Asked) -> Option<Request<Body>> {
    let method = &METHODS[usize::from(asked.method) % METHODS.len()];
    let path = asked.path.clone().unwrap_or_else(|| path(method));
    let uri = if asked.query.is_empty() { path } else { format!("{path}?{}", asked.query) };
    let mut request = Request::builder().uri(uri).method(if asked.post { "POST" } else { "GET" });
    match asked.accept % 4 {
        0 => {}
        1 => request = request.header("accept", "text/event-stream"),
        2 => request = request.header("accept", "application/x-ndjson"),
        _ => request = request.header("accept", "application/octet-stream"),
    }
    if let Some(id) = &asked.last_event_id {
        request = request.header("last-event-id", id.as_slice());
    }
    request.body(Body::from(asked.body.clone())).ok()
}

/// Every message of a call is one of the contract.
fn check_call(path: &str, mut body: &[u8]) {
    let method = METHODS.iter().find(|method| {
        format!("/{}/{}", method.parent_service().full_name(), method.name()) == path
    });
    let input = method.expect("a method of the contract").input();
    let shape = Shape::of(input.full_name()).expect("the contract has it");
    while let Some((prefix, rest)) = body.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
        let (message, rest) = rest.split_at(length as usize);
        assert_eq!(shape.unknown_field(message), None);
        shape.measure(message, usize::MAX).expect("it can be decoded");
        body = rest;
    }
}

async fn check(asked: Asked) {
    let Some(request) = request(&asked) else { return };
    let calls = Calls::default();
    let router = stigmer_api::http::router(services(&calls, asked.replies));
    let response = router.oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let is_json = head.headers.get("content-type").is_some_and(|it| it == "application/json");
    // A stream may break off.
    if let Ok(body) = body.collect().await
        && is_json
    {
        let json = serde_json::from_slice::<serde_json::Value>(&body.to_bytes());
        json.unwrap_or_else(|error| panic!("no JSON: {error}"));
    }
    for (path, body) in calls.lock().unwrap().iter() {
        check_call(path, body);
    }
}

fuzz_target!(|asked: Asked| {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    }
    RUNTIME.with(|runtime| runtime.block_on(check(asked)));
});
