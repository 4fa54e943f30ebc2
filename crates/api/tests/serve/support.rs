//! A server with a handful of routes under the contract's names, and clients that behave badly.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{any, get, post};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use stigmer_api::serve::{Access, Drained, Limits, Server, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub(crate) const TOKEN: &str = "an-example-token-that-nobody-uses";

/// Long enough for a loaded machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What `/v1/files/list` answers: larger than what a socket holds.
pub(crate) const LARGE: usize = 8 << 20;

/// A server on TCP, and what its routes do.
pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) shutdown: CancellationToken,
    /// `/v1/files/write` and `/v1/processes/execute` go on when this has a permit for them.
    pub(crate) gate: Arc<Semaphore>,
    /// How many of those have begun.
    pub(crate) begun: Arc<AtomicUsize>,
    /// Bytes that `/v1/processes/output` has given out.
    pub(crate) streamed: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<Drained>,
}

fn router(gate: Arc<Semaphore>, begun: Arc<AtomicUsize>, streamed: Arc<AtomicUsize>) -> Router {
    let held = move || {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            "done"
        }
    };
    let stream = move || {
        let streamed = Arc::clone(&streamed);
        async move {
            Body::from_stream(futures_util::stream::repeat_with(move || {
                streamed.fetch_add(64 << 10, Ordering::SeqCst);
                Ok::<_, Infallible>(Bytes::from(vec![b'x'; 64 << 10]))
            }))
        }
    };
    let grpc = {
        let stream = stream.clone();
        move || {
            let body = stream();
            async move { ([("content-type", "application/grpc")], body.await) }
        }
    };
    let count = |body: Body| async move {
        let (mut body, mut all) = (body, 0);
        while let Some(Ok(frame)) = body.frame().await {
            all += frame.data_ref().map_or(0, Bytes::len);
        }
        all.to_string()
    };
    Router::new()
        .route("/stigmer.v1.Processes/Output", any(grpc))
        .route("/grpc.health.v1.Health/Check", post(count))
        .route("/healthz", get(|| async { "ok" }))
        .route("/v1/files/read", any(|| async { "content" }))
        .route("/v1/files/list", any(|| async { vec![b'x'; LARGE] }))
        .route("/v1/files/edit", post(count))
        .route("/v1/files/write", any(held.clone()))
        .route("/v1/processes/execute", any(held))
        .route("/v1/processes/output", any(stream))
}

pub(crate) fn access() -> Access {
    Access::new(Token::new(TOKEN).unwrap())
}

pub(crate) async fn start(limits: Limits) -> Running {
    start_for(limits, Duration::from_secs(10)).await
}

pub(crate) async fn start_for(limits: Limits, drain: Duration) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let gate = Arc::new(Semaphore::new(0));
    let (begun, streamed) = (Arc::default(), Arc::default());
    let router = router(Arc::clone(&gate), Arc::clone(&begun), Arc::clone(&streamed));
    let server = Server::new(router, limits).tcp(listener, access()).unwrap();
    let server = tokio::spawn(server.run(shutdown.clone(), drain));
    Running { address, shutdown, gate, begun, streamed, server }
}

impl Running {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// One request on a connection of its own; the whole response, as text.
    pub(crate) async fn ask(&self, path: &str, more: &str) -> String {
        let head = head("POST", path, &format!("content-length: 0\r\nconnection: close\r\n{more}"));
        self.say(&head).await
    }

    pub(crate) async fn healthy(&self) -> bool {
        let request = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        self.say(request).await.ends_with("ok")
    }

    /// Sends and reads until the server closes.
    pub(crate) async fn say(&self, text: &str) -> String {
        let mut stream = self.connect().await;
        // The server may answer and close before it has read everything.
        let _ = stream.write_all(text.as_bytes()).await;
        rest(&mut stream).await
    }

    pub(crate) async fn http2(&self) -> SendRequest<Body> {
        let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(self.connect().await))
            .await
            .unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) async fn until_begun(&self, count: usize) {
        until("requests begin", || self.begun.load(Ordering::SeqCst) >= count).await;
    }

    pub(crate) async fn ended(self) -> Drained {
        tokio::time::timeout(PATIENCE, self.server).await.expect("the server ends").unwrap()
    }
}

/// An HTTP/1.1 request's head, with the token.
pub(crate) fn head(method: &str, path: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {TOKEN}\r\n{more}\r\n"
    )
}

pub(crate) fn request(path: &str) -> Request<Body> {
    Request::post(format!("http://localhost{path}"))
        .header("authorization", format!("Bearer {TOKEN}"))
        .body(Body::empty())
        .unwrap()
}

/// What comes until the other side closes.
pub(crate) async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an end");
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits for something that no event tells.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: never"));
}

pub(crate) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("in time")
}

pub(crate) fn code_of<B>(response: &Response<B>) -> u16 {
    response.status().as_u16()
}
