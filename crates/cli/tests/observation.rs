//! What a daemon lets others see of its work: all of what happens, and nothing of what is said.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use support::Place;
use support::daemon::{Daemon, hand_over, until};

const ENVIRONMENT: &str = "mark-of-the-environment";
const VARIABLE: &str = "mark-of-a-variable";
const CONTENT: &str = "mark-of-a-files-content";
const INPUT: &str = "mark-of-standard-input";
const ARGUMENT: &str = "mark-of-an-argument";
const OUTPUT: &str = "mark-of-the-output";
const TOKEN: &str = "mark-of-the-token-0123456789";
const DAEMONS: &str = "mark-of-the-daemons-environment";

/// Files that a daemon writes for others to read, all of them and their content.
fn read_all(directory: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    if !directory.exists() {
        return found;
    }
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(read_all(&path));
        } else if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()));
        }
    }
    found
}

/// Everything that can be marked is marked, everything is done that works and that fails, with all
/// that can be logged, and then the marks are looked for.
#[test]
fn nothing_that_is_secret_is_in_logs_metrics_events_or_the_journal() {
    let place = Place::new();
    let variables =
        [("STIGMER_API_KEY", TOKEN), ("STIGMER_LOG", "trace"), ("DAEMONS_OWN", DAEMONS)];
    let daemon = Daemon::start_with(&place, &variables, &["--listen", "127.0.0.1:0"]);
    let bearer = format!("authorization: Bearer {TOKEN}\r\n");
    let ask = |path: &str, request: serde_json::Value| daemon.ask_tcp(path, &bearer, &request);
    let workspace = daemon.workspace();

    let file = |content: &str| json!({ "workspace": workspace, "path": "f", "content": content });
    ask("/v1/files/write", file(CONTENT)).ok();
    ask("/v1/files/read", json!({ "workspace": workspace, "path": "f" })).ok();
    let edit = json!({ "old": CONTENT, "new": format!("{CONTENT} twice") });
    ask("/v1/files/edit", json!({ "workspace": workspace, "path": "f", "edits": [edit] })).ok();
    let missing = json!({ "old": format!("{CONTENT} nowhere"), "new": "x" });
    let request = json!({ "workspace": workspace, "path": "f", "edits": [missing] });
    assert_ne!(ask("/v1/files/edit", request).status, 200);
    ask("/v1/search/grep", json!({ "workspace": workspace, "pattern": CONTENT }));

    let command = |line: &str| {
        json!({
            "workspace": workspace,
            "command": { "shell": format!("{line} # {ARGUMENT}") },
            "caller": { "environment": [
                { "name": "PATH", "value": "/usr/bin:/bin" },
                { "name": "CALLERS", "value": ENVIRONMENT },
            ] },
            "variables": [{ "name": "DECLARED", "value": VARIABLE }],
            "stdin": "STDIN_SOURCE_STREAM",
        })
    };
    let line = format!("cat; echo $CALLERS $DECLARED {OUTPUT}; exit 3");
    let executed =
        ask("/v1/processes/execute", json!({ "start": command(&line), "input": INPUT })).ok();
    let written = executed["stdout"]["head"].as_str().unwrap();
    for mark in [INPUT, ENVIRONMENT, VARIABLE, OUTPUT] {
        assert!(written.contains(mark), "{written}");
    }
    // What is refused is not quoted either.
    let mut wrong = command("true");
    wrong["cwd"] = json!("not/there");
    assert_ne!(ask("/v1/processes/start", wrong).status, 200);
    let mut wrong = command("true");
    wrong["stdin"] = json!(INPUT);
    assert_ne!(ask("/v1/processes/start", wrong).status, 200);
    let guess = format!("authorization: Bearer {TOKEN}-wrong\r\n");
    assert_eq!(daemon.ask_tcp("/v1/server/info", &guess, &json!({})).status, 401);

    let metrics = daemon.get("/metrics").body;
    let events = daemon.ask("/v1/server/events", &json!({ "since": 0, "no_follow": true })).body;
    place.run(&["server", "stop"]).ok();

    let mut seen = read_all(&place.daemon());
    seen.extend(read_all(&place.home().join("state/journal")));
    seen.extend(read_all(&place.home().join("state/workspaces")));
    seen.push(("metrics".into(), metrics));
    seen.push(("events".into(), events));
    // The test sees what it claims to look through.
    let all: String = seen.iter().map(|(_, text)| text.as_str()).collect();
    for there in ["\"ended\"", "stigmer_requests_total", "Processes/Execute", "process_ended"] {
        assert!(all.contains(there), "{there} is not in {all}");
    }
    for mark in [ENVIRONMENT, VARIABLE, CONTENT, INPUT, ARGUMENT, OUTPUT, TOKEN, DAEMONS] {
        for (name, text) in &seen {
            assert!(!text.contains(mark), "{mark} is in {name}:\n{text}");
        }
    }
}

#[test]
fn what_the_daemon_does_is_counted() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let running = daemon.start_command("sleep 60");
    let ended = daemon.start_command("true");
    let named = |id: &str| json!({ "workspace": daemon.workspace(), "id": id });
    daemon.ask("/v1/processes/wait", &named(&ended)).ok();
    let missing = json!({ "workspace": daemon.workspace(), "path": "missing" });
    assert_eq!(daemon.ask("/v1/files/read", &missing).status, 404);
    let metrics = daemon.get("/metrics").body;
    let value = |series: &str| {
        let line = metrics.lines().find(|line| line.starts_with(series));
        line.and_then(|line| line.rsplit(' ').next()).map(str::to_owned)
    };
    assert_eq!(value("stigmer_processes{state=\"running\"}").as_deref(), Some("1"), "{metrics}");
    assert_eq!(value("stigmer_processes{state=\"exited\"}").as_deref(), Some("1"), "{metrics}");
    assert_eq!(value("stigmer_processes{state=\"lost\"}").as_deref(), Some("0"), "{metrics}");
    assert_eq!(value("stigmer_workspaces").as_deref(), Some("1"), "{metrics}");
    assert_eq!(value("stigmer_build_info{version=").as_deref(), Some("1"), "{metrics}");
    assert!(value("stigmer_uptime_seconds").is_some(), "{metrics}");
    let read =
        |line: &&str| line.starts_with("stigmer_requests_total") && line.contains("Files/Read");
    let line = metrics.lines().find(read).unwrap();
    assert!(line.contains("code=\"not_found\"") && line.ends_with(" 1"), "{line}");
    let bucket = "stigmer_request_seconds_bucket{operation=\"stigmer.v1.Files/Read\",le=\"0.001\"}";
    assert!(value(bucket).is_some(), "{metrics}");
    daemon.ask("/v1/processes/signal", &{
        let mut kill = named(&running);
        kill["signal"] = json!({ "kill": {} });
        kill
    });
}

/// A collector that is gone, and one that takes connections and never answers.
#[test]
fn a_collector_that_does_not_answer_disturbs_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    for endpoint in ["http://127.0.0.1:1", &silent] {
        let place = Place::new();
        let variables =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
        let daemon = Daemon::start_with(&place, &variables, &["--listen", "none"]);
        for _ in 0..20 {
            assert_eq!(daemon.get("/v1/server/info").status, 200);
        }
        let id = daemon.start_command("true");
        let named = json!({ "workspace": daemon.workspace(), "id": id });
        assert_eq!(daemon.ask("/v1/processes/wait", &named).ok()["code"], 0);
        place.run(&["server", "stop"]).ok();
    }
}

/// A collector: keeps the bodies of all requests that come, and finds everything good.
fn collect(listener: std::net::TcpListener) -> Arc<Mutex<Vec<u8>>> {
    let got = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&got);
    let answer = move |request: hyper::Request<hyper::body::Incoming>| {
        let keep = Arc::clone(&keep);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            keep.lock().unwrap().extend_from_slice(&body);
            // An empty message, and that all is well.
            let reply = hyper::body::Frame::data(bytes::Bytes::from_static(&[0; 5]));
            let mut trailers = hyper::HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            let end = hyper::body::Frame::trailers(trailers);
            let frames = [Ok::<_, std::convert::Infallible>(reply), Ok(end)];
            let frames = futures_util::stream::iter(frames);
            let response = hyper::Response::builder().header("content-type", "application/grpc");
            Ok::<_, hyper::Error>(response.body(StreamBody::new(frames)).unwrap())
        }
    };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            listener.set_nonblocking(true).unwrap();
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(answer.clone()));
                tokio::spawn(server);
            }
        });
    });
    got
}

#[test]
fn a_trace_goes_from_the_client_over_the_daemon_to_the_supervisor() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let place = Place::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let got = collect(listener);
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("OTEL_BSP_SCHEDULE_DELAY", "1")];
    let daemon = Daemon::start_with(&place, &variables, &["--listen", "127.0.0.1:0"]);
    let headers = format!("traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n{}", daemon.bearer());
    let line = format!("exit 3 # {ARGUMENT}");
    let request =
        json!({ "start": { "workspace": daemon.workspace(), "command": { "shell": line } } });
    daemon.ask_tcp("/v1/processes/execute", &headers, &request).ok();
    let has = |wanted: &[u8]| got.lock().unwrap().windows(wanted.len()).any(|at| at == wanted);
    until("the command's span has come", || has(b"stigmer.process.id"));
    until("the request's span has come", || has(b"stigmer.v1.Processes/Execute"));
    let trace: Vec<u8> = (0..16)
        .map(|byte| u8::from_str_radix(&TRACE[2 * byte..2 * byte + 2], 16).unwrap())
        .collect();
    let got_trace = got.lock().unwrap().windows(16).filter(|at| *at == trace).count();
    assert_eq!(got_trace, 2, "both belong to the client's trace");
    assert!(!has(ARGUMENT.as_bytes()));
}

#[test]
fn a_descriptor_that_is_handed_over_is_a_commands_input_and_is_given_once() {
    let place = Place::new();
    let daemon = Daemon::start(&place);
    let ticket = "00112233445566778899aabbccddeeff";
    let (reader, mut writer) = std::io::pipe().unwrap();
    let reader = std::fs::File::from(std::os::fd::OwnedFd::from(reader));
    let door = place.daemon().join("descriptors");
    assert_eq!(daemon.get("/v1/server/info").ok()["descriptor_socket"], door.to_str().unwrap());
    assert_eq!(hand_over(&door, ticket, &reader), b"k");
    let request = json!({
        "workspace": daemon.workspace(),
        "command": { "shell": "cat > got" },
        "stdin": "STDIN_SOURCE_INHERIT",
        "stdin_ticket": ticket,
        "detached": true,
    });
    let id = daemon.ask("/v1/processes/start", &request).ok()["id"].clone();
    assert_ne!(daemon.ask("/v1/processes/start", &request).status, 200, "a ticket is good once");
    writer.write_all(b"by the pipe").unwrap();
    drop(writer);
    let wait = json!({ "workspace": daemon.workspace(), "id": id });
    assert_eq!(daemon.ask("/v1/processes/wait", &wait).ok()["code"], 0);
    assert_eq!(place.read("got"), "by the pipe");
    // The daemon holds nothing of it any more: the writer of another learns that its reader is gone.
    let (mut reader, writer) = std::io::pipe().unwrap();
    let writer = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
    assert_eq!(hand_over(&door, &ticket.replace('0', "1"), &writer), b"k");
    drop(writer);
    daemon.crash();
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    until("the daemon is gone", || place.run(&["server", "status"]).code == 3);
}
