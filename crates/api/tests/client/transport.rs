//! Servers that do not answer, answer wrong, or are older; and what a server is told.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use libtest_mimic::Trial;
use stigmer_api::client::{
    Client, ClientOptions, Dial, Dialer, Endpoint, Io, RemoteExecutor, Token, Undialled, VERSION,
};
use stigmer_api::message_size::MAX_DECODED_REPLY_BYTES;
use stigmer_api::resilience::BreakerState;
use stigmer_core::file::{ListDirectory, ReadFile, WriteFile};
use stigmer_core::process::{ReadOutput, StartProcess};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, ProcessId, ToolError, ToolExecutor as _};
use tokio::net::{TcpListener, UnixListener};
use tonic::service::Routes;

use crate::server::serve;
use crate::{client_of, plain, quick};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        plain("a_server_that_never_answers_meets_the_deadline", never_answers),
        plain("five_failures_open_the_circuit_and_one_probe_closes_it", breaker),
        plain("an_older_server_is_said_to_lack_what_it_lacks", older),
        plain("a_server_is_told_who_asks", told),
        plain("a_given_stream_is_used_and_not_made_anew", given),
        plain("a_dialler_is_asked_again_until_it_says_that_it_is_over", dialled),
        plain("an_address_that_is_none_is_refused", no_address),
        plain("a_trace_that_is_none_is_refused", no_trace),
        plain("an_answer_of_too_many_entries_is_refused", too_many),
        plain("details_that_are_no_base64_do_no_harm", bad_details),
    ]
}

async fn never_answers(home: tempfile::TempDir) {
    let path = home.path().join("silent");
    let listener = UnixListener::bind(&path).unwrap();
    let _silent = tokio::spawn(async move {
        let mut all = Vec::new();
        loop {
            all.push(listener.accept().await.unwrap());
        }
    });
    let endpoint = Endpoint::Unix(path);
    let mut options = quick(&endpoint);
    options.deadline = Duration::from_millis(50);
    let client = Client::connect(endpoint, options);
    let remote = RemoteExecutor::of_all_workspaces(client.clone());
    let error = remote.read_file(ReadFile::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error}");
    let error = remote.write_file(WriteFile::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    let error = remote.start_process(StartProcess::shell("true")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::CompletionUnknown, "{error}");
    // A server that takes long is no server that is not there.
    assert_eq!(client.breaker(), BreakerState::Closed);
}

async fn breaker(home: tempfile::TempDir) {
    let path = home.path().join("broken");
    let listener = UnixListener::bind(&path).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let broken = tokio::spawn(async move {
        loop {
            let connection = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    });
    let endpoint = Endpoint::Unix(path.clone());
    let mut options = quick(&endpoint);
    options.backoff.tries = 1;
    options.breaker.open_for = Duration::from_millis(200);
    let client = Client::connect(endpoint, options);
    for number in 0..5 {
        assert_eq!(client.breaker(), BreakerState::Closed, "{number} failures");
        client.workspaces().await.unwrap_err();
    }
    assert_eq!(client.breaker(), BreakerState::Open);
    let before = asked.load(Ordering::SeqCst);
    while client.breaker() == BreakerState::Open {
        let error = client.workspaces().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
        if asked.load(Ordering::SeqCst) > before {
            break;
        }
        assert!(error.details.contains_key("retry_after_ms"), "{error}");
        tokio::task::yield_now().await;
    }
    // The probe found nobody, so that it is open anew.
    assert_eq!(client.breaker(), BreakerState::Open);
    broken.abort();
    let _ = broken.await;
    std::fs::remove_file(&path).unwrap();
    let _server = serve(&path, Routes::default());
    // A server that has no such operation is one that answers.
    let error = loop {
        let error = client.workspaces().await.unwrap_err();
        if error.code != ErrorCode::Unavailable {
            break error;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(error.code, ErrorCode::Unsupported, "{error}");
    assert_eq!(client.breaker(), BreakerState::Closed);
}

async fn older(home: tempfile::TempDir) {
    let path = home.path().join("old");
    let _server = serve(&path, Routes::default());
    let client = client_of(&path);
    let remote = RemoteExecutor::of_all_workspaces(client.clone());
    let error = remote.read_file(ReadFile::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported);
    let expected = format!("the server has no Files.Read; this client is {VERSION}");
    assert_eq!(error.message, expected);
    assert!(error.hint.is_some());
    let id = ProcessId::from_random(1);
    let error = remote.process_output(&id, ReadOutput::default()).await.err().unwrap();
    assert_eq!(error.code, ErrorCode::Unsupported);
    let error = RemoteExecutor::open(client, OpenWorkspace::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported);
}

async fn told(_: tempfile::TempDir) {
    let seen: Arc<Mutex<Vec<HeaderMap>>> = Arc::default();
    let keep = Arc::clone(&seen);
    let router = axum::Router::new().fallback(move |headers: HeaderMap| async move {
        keep.lock().unwrap().push(headers);
        StatusCode::FORBIDDEN
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new()).http2_only();
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let token = Some(Token::new("verysecret").unwrap());
    let endpoint = Endpoint::Tcp { address, token };
    let mut options = ClientOptions::for_endpoint(&endpoint);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01";
    options.traceparent = Some(trace.to_owned());
    let client = Client::connect(endpoint, options);
    let remote = RemoteExecutor::of_all_workspaces(client);
    let error = remote.read_file(ReadFile::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::PermissionDenied, "{error}");
    assert!(!format!("{error:?} {remote:?}").contains("verysecret"));
    let start = StartProcess { traceparent: Some(other.to_owned()), ..StartProcess::shell("true") };
    remote.start_process(start).await.unwrap_err();
    remote.wait(&ProcessId::from_random(1)).await.unwrap_err();
    let seen = seen.lock().unwrap();
    let header = |number: usize, name: &str| {
        seen[number].get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    };
    for number in 0..3 {
        assert_eq!(header(number, "authorization"), "Bearer verysecret");
        assert_eq!(header(number, "stigmer-version"), VERSION);
        assert_eq!(header(number, "x-request-id").len(), 16);
    }
    assert_ne!(header(0, "x-request-id"), header(1, "x-request-id"));
    assert_eq!([header(0, "traceparent"), header(1, "traceparent")], [trace, other]);
    assert!(!header(0, "grpc-timeout").is_empty());
    assert_eq!(header(2, "grpc-timeout"), "", "a wait has a deadline");
}

async fn given(home: tempfile::TempDir) {
    let path = home.path().join("server");
    let _server = serve(&path, Routes::default());
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let passing = tokio::spawn(async move {
        let mut stream = stream;
        let _ = tokio::io::copy_bidirectional(&mut theirs, &mut stream).await;
    });
    let endpoint = Endpoint::stream(ours);
    let client = Client::connect(endpoint.clone(), quick(&endpoint));
    for _ in 0..2 {
        let error = client.workspaces().await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unsupported, "{error}");
    }
    passing.abort();
    let _ = passing.await;
    let error = client.workspaces().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(error.message.contains("cannot be made anew"), "{error}");
}

/// Reaches a server through pipes that can be cut, until the path is gone.
#[derive(Clone)]
struct Pipes {
    path: std::path::PathBuf,
    made: Arc<AtomicUsize>,
    last: Arc<Mutex<Option<tokio::task::JoinHandle<()>>>>,
}

#[async_trait]
impl Dial for Pipes {
    async fn dial(&self) -> Result<Box<dyn Io>, Undialled> {
        let mut stream = tokio::net::UnixStream::connect(&self.path).await.map_err(|_| {
            Undialled::ForGood(ToolError::new(ErrorCode::Unavailable, "the place is gone"))
        })?;
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let passing = tokio::spawn(async move {
            let _ = tokio::io::copy_bidirectional(&mut theirs, &mut stream).await;
        });
        self.made.fetch_add(1, Ordering::Relaxed);
        *self.last.lock().unwrap() = Some(passing);
        Ok(Box::new(ours))
    }
}

async fn dialled(home: tempfile::TempDir) {
    let path = home.path().join("server");
    let _server = serve(&path, Routes::default());
    let pipes = Pipes { path: path.clone(), made: Arc::default(), last: Arc::default() };
    let endpoint = Endpoint::Dialled(Dialer::new("pipes", 1, pipes.clone()));
    assert_eq!(endpoint.to_string(), "pipes");
    let client = Client::connect(endpoint.clone(), quick(&endpoint));
    for times in 1..=3 {
        for _ in 0..2 {
            let error = client.workspaces().await.unwrap_err();
            assert_eq!(error.code, ErrorCode::Unsupported, "{error}");
        }
        assert_eq!(pipes.made.load(Ordering::Relaxed), times, "one connection is enough");
        let passing = pipes.last.lock().unwrap().take().unwrap();
        passing.abort();
        let _ = passing.await;
    }
    std::fs::remove_file(&path).unwrap();
    let error = client.workspaces().await.unwrap_err();
    let said = (error.code, error.message.as_str());
    assert_eq!(said, (ErrorCode::Unavailable, "the place is gone"));
}

async fn no_address(_: tempfile::TempDir) {
    let endpoint = Endpoint::Tcp { address: "no address".to_owned(), token: None };
    let client = Client::connect(endpoint.clone(), quick(&endpoint));
    let error = client.info().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "{error}");
}

async fn no_trace(home: tempfile::TempDir) {
    let endpoint = Endpoint::Unix(home.path().join("nobody"));
    let mut options = quick(&endpoint);
    options.traceparent = Some("no trace".to_owned());
    let error = Client::connect(endpoint, options).info().await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "{error}");
}

async fn too_many(home: tempfile::TempDir) {
    let path = home.path().join("hostile");
    let answer = axum::Router::new().fallback(|| async {
        // Contents of directories, each without a path, as many as fit into a reply.
        let entries = b"\x0a\x00".repeat(4 << 20);
        let length = u32::try_from(entries.len()).unwrap().to_be_bytes();
        let body = [&[0][..], &length, &entries].concat();
        ([("content-type", "application/grpc")], body)
    });
    let _server = serve(&path, Routes::from(answer));
    let remote = RemoteExecutor::of_all_workspaces(client_of(&path));
    let error = remote.list_directory(ListDirectory::default()).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge, "{error}");
    assert_eq!(error.details["limit"], MAX_DECODED_REPLY_BYTES);
}

async fn bad_details(home: tempfile::TempDir) {
    let broken = || {
        let mut status = HeaderMap::new();
        status.insert("grpc-status", HeaderValue::from_static("5"));
        status.insert("grpc-status-details-bin", HeaderValue::from_static("?"));
        status
    };
    for in_headers in [true, false] {
        let path = home.path().join(format!("hostile-{in_headers}"));
        let answer = axum::Router::new().fallback(move || async move {
            let trailers =
                (!in_headers).then(|| Ok::<_, Infallible>(Frame::<Bytes>::trailers(broken())));
            let body = StreamBody::new(futures_util::stream::iter(trailers));
            let mut response = http::Response::new(axum::body::Body::new(body));
            if in_headers {
                *response.headers_mut() = broken();
            }
            let kind = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert("content-type", kind);
            response
        });
        let _server = serve(&path, Routes::from(answer));
        let remote = RemoteExecutor::of_all_workspaces(client_of(&path));
        let error = remote.read_file(ReadFile::default()).await.unwrap_err();
        assert!(error.message.contains("Files.Read"), "{error}");
    }
}
