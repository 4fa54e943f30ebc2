//! Who is let in.

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use stigmer_api::serve::{Limits, Server, bind_unix};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, TOKEN, code_of, in_time, request, rest, start};

#[tokio::test]
async fn the_token_lets_in_and_nothing_else_does() {
    let server = start(Limits::default()).await;
    assert!(server.ask("/v1/files/read", "").await.ends_with("content"));
    for header in
        ["", "authorization: Bearer wrong\r\n", "authorization: Bearer dummy-local-key\r\n"]
    {
        let answer = server
            .say(&format!("POST /v1/files/read HTTP/1.1\r\nhost: localhost\r\n{header}\r\n"))
            .await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(answer.contains("\"unauthenticated\"") && answer.contains("\"hint\""), "{answer}");
        assert!(!answer.contains(TOKEN));
    }
    assert!(server.healthy().await, "health needs no token");
    let posted = server.say("POST /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert!(posted.starts_with("HTTP/1.1 401"), "{posted}");
}

#[tokio::test]
async fn a_grpc_client_is_refused_in_its_own_words() {
    let server = start(Limits::default()).await;
    let mut client = server.http2().await;
    let request = Request::post("http://localhost/stigmer.v1.Files/Read")
        .header("content-type", "application/grpc")
        .body(Body::empty())
        .unwrap();
    let response = in_time(client.send_request(request)).await.unwrap();
    assert_eq!(
        (code_of(&response), &response.headers()["grpc-status"]),
        (200, &"16".parse().unwrap())
    );
    assert!(response.headers().contains_key("stigmer-error-bin"));
}

#[tokio::test]
async fn another_hosts_name_or_another_sites_page_is_refused() {
    let server = start(Limits::default()).await;
    let refused = async |more: &str| {
        let request =
            format!("POST /v1/files/read HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\n{more}\r\n");
        let answer = server.say(&request).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{more}: {answer}");
        assert!(answer.contains("\"permission_denied\"") && answer.contains("\"hint\""));
    };
    refused("host: evil.example\r\n").await;
    refused("host: localhost\r\norigin: http://evil.example\r\n").await;
    refused("host: localhost\r\norigin: null\r\nupgrade: websocket\r\nconnection: upgrade\r\n")
        .await;

    let healthy = server.say("GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n").await;
    assert!(healthy.starts_with("HTTP/1.1 403"), "{healthy}");

    let mut client = server.http2().await;
    let mut other = request("/v1/files/read");
    *other.uri_mut() = "http://evil.example/v1/files/read".parse().unwrap();
    assert_eq!(code_of(&in_time(client.send_request(other)).await.unwrap()), 403);
    let own = in_time(client.send_request(request("/v1/files/read"))).await.unwrap();
    assert_eq!(code_of(&own), 200);
}

#[tokio::test]
async fn every_response_carries_its_requests_id() {
    let server = start(Limits::default()).await;
    let named = server.ask("/v1/files/read", "x-request-id: mine-1\r\n").await;
    assert!(named.contains("x-request-id: mine-1\r\n"), "{named}");
    let unnamed = server.ask("/v1/files/read", "x-request-id: a b\r\n").await;
    assert!(unnamed.contains("x-request-id: ") && !unnamed.contains("a b"), "{unnamed}");
    let refused =
        server.say("POST /x HTTP/1.1\r\nhost: localhost\r\nx-request-id: mine-2\r\n\r\n").await;
    assert!(refused.contains("x-request-id: mine-2\r\n"), "{refused}");
}

#[tokio::test]
async fn the_owner_needs_no_token_on_the_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (listener, _file) = bind_unix(&path).unwrap();
    let router =
        axum::Router::new().route("/v1/files/read", axum::routing::get(|| async { "content" }));
    let us = rustix::process::geteuid().as_raw();
    let shutdown = CancellationToken::new();
    let server = Server::new(router, Limits::default()).unix(listener, us);
    let server = tokio::spawn(server.run(shutdown.clone(), PATIENCE));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream
        .write_all(b"GET /v1/files/read HTTP/1.1\r\nhost: any\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("content"), "{answer}");
    shutdown.cancel();
    in_time(server).await.unwrap();
}

#[tokio::test]
async fn another_user_is_refused_on_the_unix_socket() {
    let us = rustix::process::geteuid().as_raw();
    assert_ne!(us, 0, "root may do everything: this runs as another user");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("s");
    let (listener, _file) = bind_unix(&path).unwrap();
    // Who connects is not the owner, because the owner is somebody else.
    let server = Server::new(axum::Router::new(), Limits::default()).unix(listener, us + 1);
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(server.run(shutdown.clone(), PATIENCE));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut answer = Vec::new();
    // It ends without a word: with its end, or with a reset if something was sent.
    let _ = in_time(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty());
    shutdown.cancel();
    in_time(server).await.unwrap();
}

#[tokio::test]
async fn a_given_stream_is_served_and_ends_the_server() {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let router =
        axum::Router::new().route("/v1/files/read", axum::routing::post(|| async { "content" }));
    let server = Server::new(router, Limits::default()).stream(theirs);
    let server = tokio::spawn(server.run(CancellationToken::new(), PATIENCE));
    let (mut client, connection) = hyper::client::conn::http2::handshake(
        hyper_util::rt::TokioExecutor::new(),
        hyper_util::rt::TokioIo::new(ours),
    )
    .await
    .unwrap();
    let connection = tokio::spawn(connection);
    let response = in_time(client.send_request(request("/v1/files/read"))).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "content");
    drop(client);
    let _ = in_time(connection).await;
    assert_eq!(in_time(server).await.unwrap().cut, 0);
}

#[tokio::test]
async fn a_websocket_is_upgraded_on_the_same_port() {
    use axum::extract::WebSocketUpgrade;
    let echo = axum::routing::any(|upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                let _ = socket.send(message).await;
            }
        })
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/v1/processes/attach", echo);
    let shutdown = CancellationToken::new();
    let server =
        Server::new(router, Limits::default()).tcp(listener, crate::support::access()).unwrap();
    let server = tokio::spawn(server.run(shutdown.clone(), PATIENCE));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = crate::support::head(
        "GET",
        "/v1/processes/attach",
        "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    in_time(stream.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    // Whatever it does, the server ends, and the socket with it.
    shutdown.cancel();
    rest(&mut stream).await;
    in_time(server).await.unwrap();
}
