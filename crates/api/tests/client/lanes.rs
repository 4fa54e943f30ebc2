//! What a server tells of lanes, and who is believed.

use std::convert::Infallible;

use async_trait::async_trait;
use bytes::{Buf as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::StreamBody;
use libtest_mimic::Trial;
use prost::Message;
use stigmer_api::client::{Client, Dial, Dialer, Endpoint, Io, RemoteExecutor, Undialled};
use stigmer_api::wire;
use stigmer_core::process::{Execute, OutputEvent, ReadOutput, SignalRequest, StartProcess};
use stigmer_core::{ProcessId, ToolExecutor as _};
use tokio::net::UnixStream;
use tonic::service::Routes;

use crate::server::serve;
use crate::{plain, quick};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        plain("a_daemon_tells_of_lanes", |home| async move { told(home, false).await }),
        plain("what_is_in_a_place_claims_no_lane", |home| async move { told(home, true).await }),
    ]
}

fn routing() -> Option<wire::Routing> {
    Some(wire::Routing {
        lane: wire::Lane::HostReadOnly.into(),
        rule: "ls".into(),
        token: "ls".into(),
        reason: "it only reads".into(),
        ..wire::Routing::default()
    })
}

fn exit() -> wire::ExitStatus {
    let denial = wire::Denial { call: "open".into(), errno: 13, ..wire::Denial::default() };
    wire::ExitStatus {
        reason: wire::EndReason::Exited.into(),
        denied: Some(wire::Denied { denials: vec![denial], omitted: 1 }),
        ..wire::ExitStatus::default()
    }
}

fn info(id: String) -> wire::ProcessInfo {
    wire::ProcessInfo {
        id,
        command: Some(wire::Command {
            command: Some(wire::command::Command::Shell(wire::ByteString::default())),
        }),
        workspace: Some(wire::ByteString::default()),
        cwd: Some(wire::ByteString::default()),
        state: wire::ProcessState::Exited.into(),
        exit: Some(exit()),
        routing: routing(),
        ..wire::ProcessInfo::default()
    }
}

/// The answer to a method, claiming all that can be claimed.
fn answer(path: &str, request: &[u8]) -> Vec<u8> {
    let place = wire::Place::Host.into();
    match path.rsplit('/').next().unwrap() {
        "Start" => {
            let id = wire::StartProcessRequest::decode(request).unwrap().id.unwrap();
            wire::StartedProcess { id, place, executable: None, routing: routing() }.encode_to_vec()
        }
        "Execute" => {
            let start = wire::ExecuteRequest::decode(request).unwrap().start.unwrap();
            let nothing = || {
                Some(wire::Captured {
                    head: Some(wire::ByteString::default()),
                    tail: Some(wire::ByteString::default()),
                    ..wire::Captured::default()
                })
            };
            wire::Executed {
                id: start.id.unwrap(),
                exit: Some(exit()),
                stdout: nothing(),
                stderr: nothing(),
                place,
                routing: routing(),
                ..wire::Executed::default()
            }
            .encode_to_vec()
        }
        "Wait" => exit().encode_to_vec(),
        "Signal" => wire::SignalProcessResponse { exit: Some(exit()) }.encode_to_vec(),
        "Get" => info(wire::GetProcessRequest::decode(request).unwrap().id).encode_to_vec(),
        "List" => {
            let all = vec![info(ProcessId::from_random(1).to_string())];
            wire::ProcessList { processes: all }.encode_to_vec()
        }
        "Output" => {
            let event = Some(wire::output_event::Event::Exit(exit()));
            wire::OutputEvent { next: 0, event }.encode_to_vec()
        }
        other => panic!("nobody asks for {other}"),
    }
}

/// Whoever answers as a server of ours would, and lies.
fn liar() -> axum::Router {
    axum::Router::new().fallback(|request: axum::extract::Request| async move {
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
        let message = answer(&path, &body[5..]);
        let mut framed = BytesMut::from(&[0][..]);
        framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
        framed.extend_from_slice(&message);
        let framed = framed.copy_to_bytes(framed.len());
        let mut done = HeaderMap::new();
        done.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [Frame::data(framed), Frame::<Bytes>::trailers(done)];
        let frames = frames.map(Ok::<_, Infallible>);
        let body = axum::body::Body::new(StreamBody::new(futures_util::stream::iter(frames)));
        ([("content-type", "application/grpc")], body)
    })
}

/// Reaches what is in a place.
struct Inside(std::path::PathBuf);

#[async_trait]
impl Dial for Inside {
    async fn dial(&self) -> Result<Box<dyn Io>, Undialled> {
        Ok(Box::new(UnixStream::connect(&self.0).await.unwrap()))
    }
}

async fn told(home: tempfile::TempDir, in_a_place: bool) {
    let path = home.path().join("server");
    let _server = serve(&path, Routes::from(liar()));
    let endpoint = match in_a_place {
        true => Endpoint::Dialled(Dialer::new("inside", 1, Inside(path))),
        false => Endpoint::Unix(path),
    };
    let client = Client::connect(endpoint.clone(), quick(&endpoint));
    let remote = RemoteExecutor::of_all_workspaces(client);
    let id = ProcessId::from_random(1);

    let mut told = Vec::new();
    let started = remote.start_process(StartProcess::shell("ls")).await.unwrap();
    told.push(started.routing.is_some());
    let executed = remote.execute(Execute::new(StartProcess::shell("ls"))).await.unwrap();
    told.extend([executed.routing.is_some(), executed.exit.denied.is_some()]);
    told.push(remote.wait(&id).await.unwrap().denied.is_some());
    let ended = remote.signal(&id, SignalRequest::Cancel).await.unwrap().unwrap();
    told.push(ended.denied.is_some());
    let mut infos = remote.list_processes().await.unwrap();
    infos.push(remote.process(&id).await.unwrap());
    for info in infos {
        told.extend([info.routing.is_some(), info.exit.unwrap().denied.is_some()]);
    }
    let mut events = remote.process_output(&id, ReadOutput::default()).await.unwrap();
    let Some(Ok(OutputEvent::Exit(exit))) = events.next().await else { panic!("no exit") };
    told.push(exit.denied.is_some());
    assert_eq!(told, [!in_a_place; 10]);
}
