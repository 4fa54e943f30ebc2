//! HTTP, events and WebSockets in front of services that are there for the tests.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod requests;
mod services;
mod sockets;
mod streams;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;
use tower::ServiceExt;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The router, and what the services behind it see.
struct Server {
    router: Router,
    seen: UnboundedReceiver<String>,
}

impl Server {
    fn new() -> Self {
        let (routes, seen) = services::routes();
        Self { router: stigmer_api::http::router(routes), seen }
    }

    async fn send(&self, request: Request<Body>) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Waits until the services have seen this; everything before it is forgotten.
    async fn sees(&mut self, what: &str) {
        let found = async {
            while let Some(seen) = self.seen.recv().await {
                if seen == what {
                    return;
                }
            }
            panic!("the services are gone");
        };
        timeout(PATIENCE, found).await.unwrap_or_else(|_| panic!("never saw: {what}"));
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let body = if body.is_empty() { Body::empty() } else { Body::from(body.to_owned()) };
    request.body(body).unwrap()
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, &[], "")
}

fn post(path: &str, body: &str) -> Request<Body> {
    request(Method::POST, path, &[("content-type", "application/json")], body)
}

async fn body(response: Response) -> Vec<u8> {
    response.into_body().collect().await.unwrap().to_bytes().to_vec()
}

async fn text(response: Response) -> String {
    String::from_utf8(body(response).await).unwrap()
}

async fn json(response: Response) -> Value {
    assert_eq!(response.headers()["content-type"], "application/json");
    serde_json::from_slice(&body(response).await).unwrap()
}

/// The error of a response with this status.
async fn failure(response: Response, status: StatusCode) -> Value {
    assert_eq!(response.status(), status);
    assert!(response.headers().contains_key("x-request-id"));
    json(response).await["error"].take()
}
