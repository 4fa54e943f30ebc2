//! The real services through HTTP: what `docs/protocol.md` shows.

use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::place::{Place, trials};

trials! {
    files_are_read_edited_and_searched,
    a_command_is_followed_and_its_output_resumed,
    a_command_is_run_and_another_killed,
    bytes_go_in_and_come_out,
    an_upload_that_is_broken_off_leaves_no_file,
}

/// A request and its answer: the status and the body.
async fn ask(place: &Place, request: Request<Body>) -> (StatusCode, Vec<u8>) {
    let router = stigmer_api::http::router(place.routes.clone());
    let response = router.oneshot(request).await.unwrap();
    let status = response.status();
    (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
}

async fn post(place: &Place, path: &str, body: Value) -> (StatusCode, Value) {
    let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
    let (status, body) = ask(place, request).await;
    (status, serde_json::from_slice(&body).unwrap())
}

async fn get(place: &Place, path: &str, headers: &[(&'static str, &str)]) -> Vec<u8> {
    let mut request = Request::builder().method(Method::GET).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (status, body) = ask(place, request.body(Body::empty()).unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{}", String::from_utf8_lossy(&body));
    body
}

/// The names and ids of a stream's events.
fn heads(events: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(events).unwrap().lines();
    lines.filter(|line| !line.starts_with("data:") && !line.is_empty()).map(str::to_owned).collect()
}

async fn files_are_read_edited_and_searched(place: Place) {
    std::fs::write(place.path("list.txt"), "one\ntwo\nthree\n").unwrap();
    let (_, read) = post(&place, "/v1/files/read", json!({ "path": "list.txt" })).await;
    assert_eq!(read["content"], "one\ntwo\nthree\n");
    assert_eq!((&read["total_lines"], &read["encoding"]), (&json!(3), &json!("utf8")));
    let line = get(&place, "/v1/files/read?path=list.txt&first_line=2&last_line=2", &[]).await;
    assert_eq!(serde_json::from_slice::<Value>(&line).unwrap()["content"], "two\n");
    let edit = json!({ "path": "list.txt", "edits": [{ "old": "two", "new": "2" }] });
    let (_, edited) = post(&place, "/v1/files/edit", edit.clone()).await;
    assert_eq!(edited["occurrences"], json!([1]));
    let (status, error) = post(&place, "/v1/files/edit", edit).await;
    assert_eq!(
        (status, &error["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("text_not_found"))
    );
    let (_, found) = post(&place, "/v1/search/grep", json!({ "pattern": "^[2t]" })).await;
    let lines: Vec<&Value> =
        found["matches"].as_array().unwrap().iter().map(|found| &found["text"]).collect();
    assert_eq!(lines, ["2", "three"]);
}

async fn a_command_is_followed_and_its_output_resumed(place: Place) {
    let command = json!({ "shell": "for n in 1 2 3; do echo line $n; sleep 0.1; done" });
    let start = json!({ "command": command, "detached": true });
    let (_, started) = post(&place, "/v1/processes/start", start).await;
    let output = format!("/v1/processes/output?id={}", started["id"].as_str().unwrap());
    let heads_of = heads(&get(&place, &format!("{output}&follow=until_exit"), &[]).await);
    assert_eq!(heads_of.last().unwrap(), "event: end");
    assert!(heads_of.ends_with(&["event: exit".into(), "id: 21".into(), "event: end".into()]));
    let lines = [("accept", "application/x-ndjson")];
    let rest = get(&place, &format!("{output}&since=7"), &lines).await;
    let rest = String::from_utf8(rest).unwrap();
    let rest = rest.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rest: String =
        rest.filter_map(|event| event["output"]["bytes"].as_str().map(str::to_owned)).collect();
    assert_eq!(rest, "line 2\nline 3\n");
    let browser = get(&place, &output, &[("last-event-id", "14")]).await;
    assert_eq!(heads(&browser), ["event: output", "id: 21", "event: exit", "id: 21", "event: end"]);
}

async fn a_command_is_run_and_another_killed(place: Place) {
    let start = json!({ "command": { "argv": { "words": ["echo", "a"] } } });
    let (_, ran) = post(&place, "/v1/processes/execute", json!({ "start": start })).await;
    assert_eq!((&ran["exit"]["code"], &ran["exit"]["reason"]), (&json!(0), &json!("exited")));
    assert_eq!(ran["stdout"]["head"], "a\n");
    let start = json!({ "command": { "shell": "sleep 1000 & sleep 1000" }, "detached": true });
    let (_, started) = post(&place, "/v1/processes/start", start).await;
    let kill = json!({ "id": started["id"], "signal": { "kill": {} } });
    let (_, killed) = post(&place, "/v1/processes/signal", kill).await;
    assert_eq!(killed["exit"]["reason"], "cancelled");
    let (_, known) = post(&place, "/v1/processes/get", json!({ "id": started["id"] })).await;
    assert_eq!(known["state"], "exited");
}

async fn bytes_go_in_and_come_out(place: Place) {
    let bytes = vec![0xff; 100_000];
    let path = "/v1/transfers/upload?path=bytes&format=file";
    let (_, summary) = ask(&place, Request::post(path).body(bytes.clone().into()).unwrap()).await;
    let summary: Value = serde_json::from_slice(&summary).unwrap();
    assert_eq!((&summary["files"], &summary["bytes"]), (&json!(1), &json!(100_000)));
    let raw = [("accept", "application/octet-stream")];
    let back = get(&place, "/v1/transfers/download?path=bytes&format=file", &raw).await;
    assert!(back == bytes);
}

async fn an_upload_that_is_broken_off_leaves_no_file(place: Place) {
    let pieces = [Ok("some"), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(futures_util::stream::iter(pieces));
    let path = "/v1/transfers/upload?path=half&format=file";
    let (status, _) = ask(&place, Request::post(path).body(body).unwrap()).await;
    assert!(!status.is_success());
    assert!(!place.path("half").exists());
}
