//! One request, one reply.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Method, StatusCode};
use serde_json::json;
use stigmer_api::wire;
use tonic::Code;

use crate::{Server, failure, get, json, post, request, text};

#[tokio::test]
async fn the_server_says_that_it_lives_and_what_it_serves() {
    let server = Server::new();
    let response = server.send(get("/healthz")).await;
    assert_eq!(
        (response.status(), text(response).await.as_str()),
        (StatusCode::OK, r#"{"status":"serving"}"#)
    );
    let response = server.send(get("/openapi.json")).await;
    assert_eq!(text(response).await, stigmer_api::openapi::document());
    let error = server.send(post("/healthz", "")).await;
    assert_eq!(error.headers()["allow"], "GET");
    failure(error, StatusCode::METHOD_NOT_ALLOWED).await;
}

#[tokio::test]
async fn a_call_has_the_headers_of_its_request() {
    let server = Server::new();
    let headers = [("x-request-id", "r1"), ("traceparent", "t1")];
    let response = server.send(request(Method::GET, "/v1/server/info", &headers, "")).await;
    assert_eq!(response.headers()["x-request-id"], "r1");
    assert_eq!(json(response).await["version"], format!("r1 t1 {}", env!("CARGO_PKG_VERSION")));
    // Without an id one is made, and the call and the response have the same.
    let response = server.send(post("/v1/server/info", "{}")).await;
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let version = json(response).await["version"].take();
    assert!(id.len() == 16 && version.as_str().unwrap().starts_with(&id));
}

#[tokio::test]
async fn no_body_a_form_of_curl_and_json_are_the_same_and_nothing_else_is_taken() {
    let server = Server::new();
    for kind in
        [None, Some("application/json; charset=utf-8"), Some("application/x-www-form-urlencoded")]
    {
        let headers: Vec<_> = kind.map(|kind| ("content-type", kind)).into_iter().collect();
        for body in ["", "{}", " \n"] {
            let response =
                server.send(request(Method::POST, "/v1/server/info", &headers, body)).await;
            assert_eq!(response.status(), StatusCode::OK, "{kind:?} {body:?}");
        }
    }
    for kind in ["text/plain", "multipart/form-data", "\u{e4}"] {
        let response = server
            .send(request(Method::POST, "/v1/server/info", &[("content-type", kind)], "{}"))
            .await;
        let error = failure(response, StatusCode::UNSUPPORTED_MEDIA_TYPE).await;
        assert_eq!(error["code"], "invalid_argument");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_with_what_is_nearest() {
    let server = Server::new();
    let error = failure(server.send(get("/v1/server/inof")).await, StatusCode::NOT_FOUND).await;
    assert_eq!(error["code"], "not_found");
    assert!(error["hint"].as_str().unwrap().contains("/v1/server/info"));
    for path in ["/", "/v2/server/info", "/v1/server/info/", "/V1/server/info", "/v1/server/Info"] {
        failure(server.send(get(path)).await, StatusCode::NOT_FOUND).await;
    }
    let response = server.send(get("/v1/processes/write_stdin")).await;
    assert_eq!(response.headers()["allow"], "POST");
    failure(response, StatusCode::METHOD_NOT_ALLOWED).await;
    let response = server.send(request(Method::PUT, "/v1/server/info", &[], "")).await;
    assert_eq!(response.headers()["allow"], "GET, POST");
    failure(response, StatusCode::METHOD_NOT_ALLOWED).await;
}

#[tokio::test]
async fn a_failed_operation_is_the_error_that_the_command_line_shows() {
    let server = Server::new();
    let response = server.send(post("/v1/processes/get", r#"{"id":"nope"}"#)).await;
    let error = failure(response, StatusCode::NOT_FOUND).await;
    let wanted = stigmer_core::ToolError::unknown_process("nope");
    assert_eq!(error, serde_json::to_value(&wanted).unwrap());
    // What is in the contract and not in these services.
    let response = server.send(get("/v1/files/read?path=x")).await;
    assert_eq!(failure(response, StatusCode::NOT_IMPLEMENTED).await["code"], "unsupported");
}

#[tokio::test]
async fn nothing_that_was_said_is_ignored() {
    let server = Server::new();
    for bad in [
        post("/v1/server/info", r#"{"x":1}"#),
        post("/v1/server/info?x=1", "{}"),
        get("/v1/server/info?x=1"),
        request(Method::GET, "/v1/server/info", &[], "{}"),
        post("/v1/server/info", "{"),
        request(Method::GET, "/v1/transfers/watch", &[("last-event-id", "1")], ""),
        request(Method::GET, "/v1/server/events", &[("last-event-id", "x")], ""),
    ] {
        let error = failure(server.send(bad).await, StatusCode::BAD_REQUEST).await;
        assert_eq!(error["code"], "invalid_argument");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_whether_or_not_it_says_so() {
    let server = Server::new();
    let mut said = post("/v1/server/info", "{}");
    let length = (96_u64 << 20) + 1;
    said.headers_mut().insert("content-length", length.into());
    let error = failure(server.send(said).await, StatusCode::PAYLOAD_TOO_LARGE).await;
    assert_eq!(
        (&error["code"], &error["details"]["limit"]),
        (&json!("too_large"), &json!(96 << 20))
    );
    let piece = Bytes::from(vec![b' '; 1 << 20]);
    let endless =
        Body::from_stream(stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone())));
    let mut silent = post("/v1/server/info", "");
    *silent.body_mut() = endless;
    failure(server.send(silent).await, StatusCode::PAYLOAD_TOO_LARGE).await;
}

#[tokio::test]
async fn a_body_of_many_megabytes_arrives_whole() {
    let mut server = Server::new();
    let body = json!({ "id": "p", "bytes": "x\n".repeat(1 << 20) }).to_string();
    let response = server.send(post("/v1/processes/write_stdin", &body)).await;
    assert_eq!(json(response).await, json!({}));
    server.sees("2097152 bytes").await;
}

#[tokio::test]
async fn grpc_passes_as_it_is() {
    let server = Server::new();
    let mut client = wire::server_client::ServerClient::with_origin(
        server.router.clone(),
        "http://localhost".parse().unwrap(),
    );
    let mut call = tonic::Request::new(wire::InfoRequest {});
    call.metadata_mut().insert("x-request-id", "g1".parse().unwrap());
    let info = client.info(call).await.unwrap().into_inner();
    assert_eq!(info.version, "g1 - -");
    let mut client = wire::files_client::FilesClient::with_origin(
        server.router.clone(),
        "http://localhost".parse().unwrap(),
    );
    let status = client.read(wire::ReadFileRequest::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_call() {
    let mut server = Server::new();
    let waiting = server.router.clone();
    let request = post("/v1/processes/wait", r#"{"id":"p"}"#);
    let call = tokio::spawn(async move { tower::ServiceExt::oneshot(waiting, request).await });
    server.sees("waiting").await;
    call.abort();
    server.sees("wait dropped").await;
}
