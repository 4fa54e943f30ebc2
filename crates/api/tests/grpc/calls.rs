//! What holds for calls of every kind.

use futures_util::{StreamExt as _, stream};
use stigmer_api::convert;
use stigmer_api::wire;
use stigmer_api::wire::files_client::FilesClient;
use stigmer_api::wire::processes_client::ProcessesClient;
use stigmer_api::wire::search_client::SearchClient;
use stigmer_api::wire::server_client::ServerClient;
use stigmer_api::wire::workspaces_client::WorkspacesClient;
use stigmer_core::file::{Edit, EditFile, FileContent, ReadFile, WriteFile};
use stigmer_core::process::StartProcess;
use stigmer_core::search::{GrepMatches, GrepSearch};
use stigmer_core::workspace::WorkspaceInfo;
use stigmer_core::{ErrorCode, ToolExecutor as _};
use tonic::Request;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::place::{Place, connect, error, trials};

trials! {
    an_answer_is_the_executors,
    an_error_arrives_whole,
    an_error_for_a_client_that_is_not_ours_is_short,
    requests_that_cannot_be_understood_are_refused,
    a_request_that_is_too_large_is_refused,
    the_requests_id_and_trace_reach_the_provider,
    workspaces_are_the_providers,
    events_are_the_providers,
    a_call_ends_when_its_time_is_up,
    a_stream_ends_when_its_time_is_up,
    a_connection_that_is_lost_ends_its_streams,
    every_service_is_serving,
    reflection_names_every_service,
}

const SERVICES: [&str; 7] =
    ["Files", "Processes", "Search", "Server", "Skills", "Transfers", "Workspaces"];

async fn an_answer_is_the_executors(place: Place) {
    let mut client = FilesClient::new(place.routes.clone());
    let write = WriteFile {
        path: "f".into(),
        content: b"a\xff\n".as_slice().into(),
        ..WriteFile::default()
    };
    assert!(
        client.write(wire::WriteFileRequest::from(write)).await.unwrap().into_inner().is_new_file
    );
    let read = ReadFile { path: "f".into(), ..ReadFile::default() };
    let reply = client.read(wire::ReadFileRequest::from(read.clone())).await.unwrap();
    let reply: FileContent = convert::reply(reply.into_inner()).unwrap();
    assert_eq!(reply, place.executor.read_file(read).await.unwrap());
    let mut client = SearchClient::new(place.routes.clone());
    let grep = GrepSearch { pattern: "a".into(), limit: Some(usize::MAX), ..GrepSearch::default() };
    let reply = client.grep(wire::GrepSearchRequest::from(grep)).await.unwrap();
    let reply: GrepMatches = convert::reply(reply.into_inner()).unwrap();
    assert_eq!(reply.matches.len(), 1);
}

/// An edit of what is not there: its error tells of lines that are nearly it.
fn edit(place: &Place) -> EditFile {
    let text: String = (0..40)
        .map(|line| format!("let value_{line} = {line}; // {}\n", "x".repeat(200)))
        .collect();
    std::fs::write(place.path("f"), &text).unwrap();
    let old = text.replace("let", "lett").into();
    let edits = vec![Edit { old, new: "".into(), replace_all: false }];
    EditFile { path: "f".into(), edits, expected_sha256: None }
}

async fn an_error_arrives_whole(place: Place) {
    let edit = edit(&place);
    let direct = place.executor.edit_file(edit.clone()).await.unwrap_err();
    assert!(format!("{direct:?}").len() > 5000, "a long one");
    let mut request = Request::new(wire::EditFileRequest::from(edit));
    request.metadata_mut().insert("stigmer-version", "0.0.1".parse().unwrap());
    let remote = error(FilesClient::new(place.routes.clone()).edit(request).await);
    assert_eq!(remote, direct);
}

async fn an_error_for_a_client_that_is_not_ours_is_short(place: Place) {
    let request = wire::EditFileRequest::from(edit(&place));
    let status = FilesClient::new(place.routes.clone()).edit(request).await.unwrap_err();
    let mut headers = http::HeaderMap::new();
    status.add_header(&mut headers).unwrap();
    let length: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    assert!(length < 8 << 10, "{length}");
    let error = convert::errors::from_status(&status);
    assert_eq!(error.code, ErrorCode::TextNotFound);
    assert!(error.message.starts_with("f: "), "{error}");
}

async fn requests_that_cannot_be_understood_are_refused(place: Place) {
    let mut client = ProcessesClient::new(place.routes.clone());
    let refused = error(client.start(wire::StartProcessRequest::default()).await);
    assert_eq!(refused.message, "command: is missing");
    let refused =
        error(client.get(wire::GetProcessRequest { id: "x".into(), ..Default::default() }).await);
    assert_eq!(
        (refused.code, &refused.details["argument"]),
        (ErrorCode::InvalidArgument, &"id".into())
    );
    let refused = error(client.resize(wire::ResizeRequest::default()).await);
    assert_eq!(refused.message, "size: is missing");
    let workspace = "ws-0000000000000009".to_owned();
    let refused = error(client.list(wire::ListProcessesRequest { workspace }).await);
    assert_eq!(refused.code, ErrorCode::UnknownWorkspace);
    // A time limit beyond all clocks is one that is never reached.
    let start = StartProcess {
        timeout: Some(std::time::Duration::MAX),
        termination_grace: std::time::Duration::MAX,
        ..StartProcess::shell("true")
    };
    let start = convert::start_request(start, None).unwrap();
    let request = wire::ExecuteRequest { start: Some(start), ..Default::default() };
    assert_eq!(client.execute(request).await.unwrap().into_inner().exit.unwrap().code, 0);
}

async fn a_request_that_is_too_large_is_refused(place: Place) {
    let mut client = SearchClient::new(place.routes.clone());
    let query = "x".repeat(stigmer_api::message_size::MAX_SMALL_REQUEST_BYTES);
    let refused =
        error(client.find(wire::SearchFilesRequest { query, ..Default::default() }).await);
    assert_eq!(refused.code, ErrorCode::TooLarge);
    // What fits into a file fits into a message.
    let content =
        Some(wire::ByteString::from(stigmer_core::ByteString::from(vec![b'x'; 64 << 20])));
    let path = Some(stigmer_core::ByteString::from("f").into());
    let request = wire::WriteFileRequest { path, content, ..Default::default() };
    FilesClient::new(place.routes.clone()).write(request).await.unwrap();
}

async fn the_requests_id_and_trace_reach_the_provider(place: Place) {
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut request = Request::new(wire::ListProcessesRequest::default());
    request.metadata_mut().insert("x-request-id", "mine".parse().unwrap());
    request.metadata_mut().insert("traceparent", trace.parse().unwrap());
    ProcessesClient::new(place.routes.clone()).list(request).await.unwrap();
    let asked = place.provider.asked.lock().unwrap().take().unwrap();
    assert_eq!((asked.request_id.as_str(), asked.traceparent.as_deref()), ("mine", Some(trace)));
}

async fn workspaces_are_the_providers(place: Place) {
    let mut client = WorkspacesClient::new(place.routes.clone());
    let path = Some(stigmer_core::ByteString::from("/there").into());
    let opened =
        client.open(wire::OpenWorkspaceRequest { path, ..Default::default() }).await.unwrap();
    let opened: WorkspaceInfo = convert::reply(opened.into_inner()).unwrap();
    assert_eq!(opened.root.as_bytes(), b"/there");
    let list = client.list(wire::ListWorkspacesRequest {}).await.unwrap().into_inner();
    let workspace = list.workspaces[0].id.clone();
    client.get(wire::GetWorkspaceRequest { workspace: workspace.clone() }).await.unwrap();
    let forget = |workspace| wire::ForgetWorkspaceRequest { workspace };
    assert!(!client.forget(forget(workspace)).await.unwrap().into_inner().was_already_forgotten);
    assert!(client.forget(forget("no".into())).await.unwrap().into_inner().was_already_forgotten);
    let unknown = error(client.get(wire::GetWorkspaceRequest::default()).await);
    assert_eq!(unknown.code, ErrorCode::UnknownWorkspace);
}

async fn events_are_the_providers(place: Place) {
    let mut client = ServerClient::new(place.routes.clone());
    let info = client.info(wire::InfoRequest {}).await.unwrap().into_inner();
    assert_eq!((info.pid, info.kind()), (2, wire::ServerKind::Sidecar));
    let request = wire::EventsRequest { since: Some(6), no_follow: true };
    let mut events = client.events(request).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().next, 7);
    assert_eq!(error(events.message().await).code, ErrorCode::UnknownWorkspace);
}

/// A command that does not end by itself.
async fn forever(place: &Place) -> String {
    let start = StartProcess::shell("sleep 1000");
    place.executor.start_process(start).await.unwrap().id.into()
}

fn within_fifty_milliseconds<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("grpc-timeout", "50m".parse().unwrap());
    request
}

async fn a_call_ends_when_its_time_is_up(place: Place) {
    let mut client = ProcessesClient::new(place.routes.clone());
    let id = forever(&place).await;
    let wait = wire::WaitRequest { id: id.clone(), ..Default::default() };
    let status = client.wait(within_fifty_milliseconds(wait.clone())).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(error::<()>(Err(status)).code, ErrorCode::DeadlineExceeded);
    // Of what changes something it is not known whether it was done.
    let start = convert::start_request(StartProcess::shell("sleep 1000"), None).unwrap();
    let execute = wire::ExecuteRequest { start: Some(start), ..Default::default() };
    let status = client.execute(within_fifty_milliseconds(execute)).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::DeadlineExceeded);
    assert_eq!(error::<()>(Err(status)).code, ErrorCode::CompletionUnknown);
    let mut request = Request::new(wait);
    request.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(error(client.wait(request).await).code, ErrorCode::InvalidArgument);
}

async fn a_stream_ends_when_its_time_is_up(place: Place) {
    let mut client = ProcessesClient::new(place.routes.clone());
    let id = forever(&place).await;
    let follow = wire::Follow::UntilExit.into();
    let request = wire::OutputRequest { id, follow, ..Default::default() };
    // A machine that is slow may be late with the stream itself.
    let failed = match client.output(within_fifty_milliseconds(request)).await {
        Ok(output) => error(output.into_inner().message().await),
        failed => error(failed),
    };
    assert_eq!(failed.code, ErrorCode::DeadlineExceeded);
}

async fn a_connection_that_is_lost_ends_its_streams(place: Place) {
    let mut client = ServerClient::new(connect(&place).await);
    let mut dropped = place.provider.dropped.subscribe();
    let mut events = client.events(wire::EventsRequest::default()).await.unwrap().into_inner();
    assert_eq!(events.message().await.unwrap().unwrap().next, 1);
    assert!(!*dropped.borrow_and_update());
    drop((client, events));
    dropped.changed().await.unwrap();
}

async fn every_service_is_serving(place: Place) {
    let mut client = HealthClient::new(place.routes.clone());
    let services = SERVICES.map(|name| format!("stigmer.v1.{name}"));
    for service in services.into_iter().chain([String::new()]) {
        let reply = client.check(HealthCheckRequest { service: service.clone() }).await.unwrap();
        assert_eq!(reply.into_inner().status, 1, "{service}");
    }
}

async fn reflection_names_every_service(place: Place) {
    macro_rules! listed {
        ($version:ident) => {{
            use pb::server_reflection_request::MessageRequest;
            use pb::server_reflection_response::MessageResponse;
            use tonic_reflection::pb::$version as pb;
            let mut client =
                pb::server_reflection_client::ServerReflectionClient::new(place.routes.clone());
            let request = pb::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(MessageRequest::ListServices(String::new())),
            };
            let mut replies =
                client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
            let reply = replies.next().await.unwrap().unwrap().message_response;
            let Some(MessageResponse::ListServicesResponse(list)) = reply else { panic!() };
            list.service.into_iter().map(|service| service.name).collect::<Vec<_>>()
        }};
    }
    for listed in [listed!(v1), listed!(v1alpha)] {
        for name in SERVICES {
            assert!(listed.contains(&format!("stigmer.v1.{name}")), "{name} in {listed:?}");
        }
        assert!(listed.contains(&"grpc.health.v1.Health".to_owned()), "{listed:?}");
    }
}
