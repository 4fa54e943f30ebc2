//! Streams of replies, and uploads.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::{PATIENCE, Server, body, failure, get, json, post, request, text};

/// The events of a stream: id, name and data.
fn events(text: &str) -> Vec<(String, String, Value)> {
    let events = text.split("\n\n").filter(|event| !event.is_empty() && !event.starts_with(':'));
    let events = events.map(|event| {
        let field = |name: &str| {
            let mut lines = event.lines().filter_map(|line| line.strip_prefix(name));
            let value = lines.next().unwrap_or_default().trim_start_matches(": ").to_owned();
            assert_eq!(lines.next(), None, "{event}");
            value
        };
        (field("id"), field("event"), serde_json::from_str(&field("data")).unwrap())
    });
    events.collect()
}

#[tokio::test]
async fn a_stream_is_events_with_ids_names_and_an_end() {
    let server = Server::new();
    let response = server.send(get("/v1/server/events?since=5&no_follow=true")).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let events = events(&text(response).await);
    let names: Vec<_> = events.iter().map(|(id, name, _)| (id.as_str(), name.as_str())).collect();
    assert_eq!(names, [("6", "workspace_opened"), ("7", "workspace_opened"), ("", "end")]);
    assert_eq!(events[0].2, json!({ "next": 6, "at_ms": 0, "workspace_opened": { "id": "w\n1" } }));
    assert_eq!(events[2].2, json!({}));
}

#[tokio::test]
async fn a_browser_that_comes_back_goes_on_where_it_was() {
    let server = Server::new();
    let headers = [("last-event-id", "40")];
    let again = request(Method::GET, "/v1/server/events?since=5&no_follow=true", &headers, "");
    assert_eq!(events(&text(server.send(again).await).await)[0].0, "41");
    let mut again = post("/v1/server/events", r#"{"since":5,"no_follow":true}"#);
    again.headers_mut().insert("last-event-id", "40".parse().unwrap());
    assert_eq!(events(&text(server.send(again).await).await)[0].0, "41");
}

#[tokio::test]
async fn an_error_in_a_stream_is_an_event_or_a_line_and_one_before_it_a_response() {
    let server = Server::new();
    let response = server.send(get("/v1/server/events?since=100")).await;
    let events = events(&text(response).await);
    assert_eq!(events.len(), 3);
    assert_eq!(events[2].1, "error");
    assert_eq!(events[2].2["error"]["code"], "io");
    assert_eq!(events[2].2["error"]["details"], json!({ "path": "f" }));
    let accept = [("accept", "application/x-ndjson")];
    let lines = request(Method::GET, "/v1/server/events?since=100", &accept, "");
    let lines = text(server.send(lines).await).await;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!((&lines[1]["next"], &lines[2]["error"]["code"]), (&json!(102), &json!("io")));
    let error = server.send(get("/v1/server/events?since=2000")).await;
    assert_eq!(failure(error, StatusCode::BAD_REQUEST).await["code"], "invalid_argument");
}

#[tokio::test]
async fn the_form_is_the_first_that_there_is() {
    let server = Server::new();
    for (accept, wanted) in [
        ("*/*", "text/event-stream"),
        ("text/html, application/json;q=0.9, */*", "application/x-ndjson"),
        ("application/x-ndjson, text/event-stream", "application/x-ndjson"),
        ("TEXT/EVENT-STREAM", "text/event-stream"),
    ] {
        let response = server
            .send(request(Method::GET, "/v1/transfers/watch", &[("accept", accept)], ""))
            .await;
        assert_eq!(response.headers()["content-type"], wanted, "{accept}");
    }
    for accept in ["text/html", "application/octet-stream", ""] {
        let response = server
            .send(request(Method::GET, "/v1/transfers/watch", &[("accept", accept)], ""))
            .await;
        failure(response, StatusCode::NOT_ACCEPTABLE).await;
    }
    let watch = text(server.send(get("/v1/transfers/watch")).await).await;
    assert_eq!(events(&watch)[0], (String::new(), "message".to_owned(), json!({})));
}

const BYTES: [(&str, &str); 1] = [("accept", "application/octet-stream")];

#[tokio::test]
async fn a_download_is_its_bytes_and_an_error_before_them_a_response() {
    let server = Server::new();
    let response =
        server.send(request(Method::GET, "/v1/transfers/download?path=x", &BYTES, "")).await;
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(body(response).await, b"one\xfftwo");
    let response =
        server.send(request(Method::GET, "/v1/transfers/download?path=missing", &BYTES, "")).await;
    assert_eq!(failure(response, StatusCode::NOT_FOUND).await["code"], "not_found");
    let response = server.send(get("/v1/transfers/download?path=x")).await;
    assert_eq!(events(&text(response).await)[0].2, json!({ "data": "b25l/w==" }));
}

/// Serves on a real connection.
async fn listen(server: &Server) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    TcpStream::connect(address).await.unwrap()
}

#[tokio::test]
async fn a_download_that_fails_on_its_way_is_broken_off() {
    let server = Server::new();
    let response =
        server.send(request(Method::GET, "/v1/transfers/download?path=half", &BYTES, "")).await;
    assert!(response.into_body().collect().await.is_err());
    let mut stream = listen(&server).await;
    let head = "GET /v1/transfers/download?path=half HTTP/1.1\r\nhost: x\r\naccept: application/octet-stream\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    let all = String::from_utf8(all).unwrap();
    // The mark of a proper end is missing.
    assert!(!all.ends_with("0\r\n\r\n"), "{all}");
}

#[tokio::test]
async fn a_reader_that_never_reads_holds_the_stream_back() {
    let mut server = Server::new();
    let endless = request(Method::GET, "/v1/transfers/download?path=endless", &BYTES, "");
    let mut pieces = server.send(endless).await.into_body().into_data_stream();
    for _ in 0..10 {
        assert_eq!(pieces.next().await.unwrap().unwrap().len(), 64 << 10);
    }
    drop(pieces);
    let mut made = 0;
    while server.seen.recv().await.is_some_and(|seen| seen == "piece") {
        made += 1;
        if server.seen.is_empty() {
            break;
        }
    }
    assert!(made <= 12, "{made} pieces were made for 10 that were read");
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_stream() {
    let mut server = Server::new();
    let mut stream = listen(&server).await;
    stream.write_all(b"GET /v1/server/events?since=5 HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("id: 7") {
        assert_ne!(timeout(PATIENCE, stream.read_buf(&mut seen)).await.unwrap().unwrap(), 0);
    }
    drop(stream);
    server.sees("events dropped").await;
}

#[tokio::test]
async fn an_upload_is_the_body_and_ends_with_it() {
    let mut server = Server::new();
    let kind = [("content-type", "application/octet-stream")];
    let path = "/v1/transfers/upload?path=a%20b&format=file";
    let response = server.send(request(Method::POST, path, &kind, "some bytes")).await;
    let summary = json(response).await;
    assert_eq!((&summary["files"], &summary["bytes"]), (&json!(1), &json!(10)));
    server.sees("begin a b 2").await;
    // No bytes at all are a file, too.
    let response = server.send(request(Method::POST, path, &[], "")).await;
    assert_eq!(json(response).await["bytes"], 0);
    let taken = request(Method::POST, "/v1/transfers/upload?path=taken", &kind, "x");
    assert_eq!(failure(server.send(taken).await, StatusCode::CONFLICT).await["code"], "exists");
}

#[tokio::test]
async fn an_upload_that_is_broken_off_is_not_finished() {
    let mut server = Server::new();
    let broken = stream::iter([Ok(Bytes::from("some")), Err(std::io::Error::other("gone"))]);
    let mut upload = request(Method::POST, "/v1/transfers/upload?path=a", &[], "");
    *upload.body_mut() = Body::from_stream(broken);
    failure(server.send(upload).await, StatusCode::BAD_REQUEST).await;
    server.sees("broken off").await;
    // The same on a connection that ends too early.
    let mut stream = listen(&server).await;
    let head =
        "POST /v1/transfers/upload?path=a HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nsome";
    stream.write_all(head.as_bytes()).await.unwrap();
    server.sees("data").await;
    drop(stream);
    while let Some(seen) = timeout(PATIENCE, server.seen.recv()).await.unwrap_or_default() {
        assert_ne!(seen, "finish");
        if seen == "broken off" {
            break;
        }
    }
}

#[tokio::test]
async fn an_upload_in_another_form_is_refused() {
    let server = Server::new();
    let upload = post("/v1/transfers/upload?path=a", "{}");
    failure(server.send(upload).await, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
    let upload = request(Method::POST, "/v1/transfers/upload?pth=a", &[], "x");
    failure(server.send(upload).await, StatusCode::BAD_REQUEST).await;
    let response = server.send(get("/v1/transfers/upload")).await;
    assert_eq!(response.headers()["upgrade"], "websocket");
    failure(response, StatusCode::UPGRADE_REQUIRED).await;
    let response = server.send(post("/v1/processes/attach", "{}")).await;
    assert_eq!(response.headers()["allow"], "GET");
    failure(response, StatusCode::METHOD_NOT_ALLOWED).await;
}
