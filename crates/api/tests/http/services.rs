//! Services that do just enough to be seen from outside.

use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt};
use stigmer_api::convert::errors::status;
use stigmer_api::wire::processes_server::{Processes, ProcessesServer};
use stigmer_api::wire::server_server::{Server, ServerServer};
use stigmer_api::wire::transfers_server::{Transfers, TransfersServer};
use stigmer_api::wire::{self, attach_request, byte_string, output_event, upload_request};
use stigmer_core::{ErrorCode, ToolError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tonic::service::Routes;
use tonic::{Request, Response, Status, Streaming};

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Result<T, E = Status> = std::result::Result<T, E>;

/// One piece of endless output: more than a connection holds whose reader does not read.
const ENDLESS_BYTES: usize = 32 << 20;

/// What the services saw.
#[derive(Clone)]
pub(crate) struct Seen(UnboundedSender<String>);

impl Seen {
    fn say(&self, what: impl Into<String>) {
        // A test that has seen enough listens no more.
        let _ = self.0.send(what.into());
    }

    /// Says so when it is dropped.
    fn guard(&self, what: &'static str) -> Guard {
        Guard(self.clone(), what)
    }
}

struct Guard(Seen, &'static str);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.say(self.1);
    }
}

/// The services, and what they say of themselves.
pub(crate) fn routes() -> (Routes, UnboundedReceiver<String>) {
    let (sender, receiver) = unbounded_channel();
    let seen = Seen(sender);
    let routes = Routes::new(ServerServer::new(seen.clone()))
        .add_service(TransfersServer::new(seen.clone()))
        .add_service(ProcessesServer::new(seen));
    (routes, receiver)
}

fn text(of: &Option<wire::ByteString>) -> String {
    match of.as_ref().and_then(|of| of.value.clone()) {
        Some(byte_string::Value::Text(text)) => text,
        _ => String::new(),
    }
}

fn failed(code: ErrorCode, message: &str) -> Status {
    status(&ToolError::new(code, message).with_hint("do better").with_detail("path", "f"))
}

#[tonic::async_trait]
impl Server for Seen {
    /// Its version is what the call's metadata say.
    async fn info(
        &self,
        request: Request<wire::InfoRequest>,
    ) -> Result<Response<wire::ServerInfo>> {
        let metadata = request.metadata();
        let values = ["x-request-id", "traceparent", "stigmer-version"]
            .map(|name| metadata.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned());
        Ok(Response::new(wire::ServerInfo { version: values.join(" "), ..Default::default() }))
    }

    type EventsStream = Replies<wire::Event>;

    /// Two events from the offset on, and an end, a failure (from 100 on), or nothing more.
    async fn events(
        &self,
        request: Request<wire::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>> {
        let request = request.into_inner();
        let since = request.since.unwrap_or(0);
        if since > 1000 {
            return Err(failed(ErrorCode::InvalidArgument, "since: past the end"));
        }
        let event = |next| {
            let what = wire::WorkspaceOpened { id: "w\n1".to_owned() };
            let event = Some(wire::event::Event::WorkspaceOpened(what));
            Ok(wire::Event { next, event, ..Default::default() })
        };
        let events = stream::iter([event(since + 1), event(since + 2)]);
        let guard = self.guard("events dropped");
        let rest = match (since >= 100, request.no_follow) {
            (true, _) => stream::iter([Err(failed(ErrorCode::Io, "the disk fell off"))]).boxed(),
            (_, true) => stream::empty().boxed(),
            _ => stream::pending().boxed(),
        };
        let rest = rest.map(move |event| {
            let _held = &guard;
            event
        });
        Ok(Response::new(events.chain(rest).boxed()))
    }
}

#[tonic::async_trait]
impl Transfers for Seen {
    async fn upload(
        &self,
        request: Request<Streaming<wire::UploadRequest>>,
    ) -> Result<Response<wire::UploadSummary>> {
        let mut messages = request.into_inner();
        let mut bytes = 0;
        while let Some(message) = messages.message().await? {
            match message.part {
                Some(upload_request::Part::Begin(begin)) => {
                    let path = text(&begin.path);
                    self.say(format!("begin {path} {}", begin.format));
                    if path == "taken" {
                        return Err(failed(ErrorCode::Exists, "taken: exists already"));
                    }
                }
                Some(upload_request::Part::Data(data)) => {
                    if bytes == 0 {
                        self.say("data");
                    }
                    bytes += data.len() as u64;
                }
                Some(upload_request::Part::Finish(_)) => {
                    self.say("finish");
                    return Ok(Response::new(wire::UploadSummary {
                        files: 1,
                        bytes,
                        ..Default::default()
                    }));
                }
                None => return Err(failed(ErrorCode::InvalidArgument, "an empty message")),
            }
        }
        self.say("broken off");
        Err(failed(ErrorCode::InvalidArgument, "the upload was broken off"))
    }

    type DownloadStream = Replies<wire::DownloadPart>;

    async fn download(
        &self,
        request: Request<wire::DownloadRequest>,
    ) -> Result<Response<Self::DownloadStream>> {
        let part = |data: &'static [u8]| Ok(wire::DownloadPart { data: data.into() });
        let seen = self.clone();
        Ok(Response::new(match text(&request.into_inner().path).as_str() {
            "missing" => {
                stream::iter([Err(failed(ErrorCode::NotFound, "missing: no such file"))]).boxed()
            }
            "half" => stream::iter([part(b"one"), Err(failed(ErrorCode::Io, "gone"))]).boxed(),
            "endless" => stream::repeat(())
                .map(move |()| {
                    seen.say("piece");
                    Ok(wire::DownloadPart { data: vec![0; 64 << 10].into() })
                })
                .boxed(),
            _ => stream::iter([part(b"one\xff"), part(b""), part(b"two")]).boxed(),
        }))
    }

    type WatchStream = Replies<wire::WatchEvent>;

    async fn watch(&self, _: Request<wire::WatchRequest>) -> Result<Response<Self::WatchStream>> {
        Ok(Response::new(stream::iter([Ok(wire::WatchEvent::default())]).boxed()))
    }
}

macro_rules! not_here {
    ($($name:ident: $request:ident -> $reply:ident;)+) => {
        $(fn $name<'a, 'b>(
            &'a self,
            _: Request<wire::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<wire::$reply>>> + Send + 'b>>
        where
            'a: 'b,
            Self: 'b,
        {
            Box::pin(async { Err(Status::unimplemented("not here")) })
        })+
    };
}

#[tonic::async_trait]
impl Processes for Seen {
    not_here! {
        start: StartProcessRequest -> StartedProcess;
        execute: ExecuteRequest -> Executed;
        close_stdin: CloseStdinRequest -> CloseStdinResponse;
        signal: SignalProcessRequest -> SignalProcessResponse;
        resize: ResizeRequest -> ResizeResponse;
        list: ListProcessesRequest -> ProcessList;
    }

    async fn get(
        &self,
        request: Request<wire::GetProcessRequest>,
    ) -> Result<Response<wire::ProcessInfo>> {
        Err(status(&ToolError::unknown_process(&request.into_inner().id)))
    }

    /// Says how much it was given.
    async fn write_stdin(
        &self,
        request: Request<wire::WriteStdinRequest>,
    ) -> Result<Response<wire::WriteStdinResponse>> {
        let bytes = text(&request.into_inner().bytes);
        self.say(format!("{} bytes", bytes.len()));
        Ok(Response::new(wire::WriteStdinResponse {}))
    }

    async fn wait(&self, _: Request<wire::WaitRequest>) -> Result<Response<wire::ExitStatus>> {
        let _guard = self.guard("wait dropped");
        self.say("waiting");
        std::future::pending().await
    }

    type OutputStream = Replies<wire::OutputEvent>;

    async fn output(
        &self,
        _: Request<wire::OutputRequest>,
    ) -> Result<Response<Self::OutputStream>> {
        Err(Status::unimplemented("not here"))
    }

    type AttachStream = Replies<wire::OutputEvent>;

    /// Gives back what it is given. With the id `endless` it has output until there is a signal.
    async fn attach(
        &self,
        request: Request<Streaming<wire::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>> {
        let guard = self.guard("attach dropped");
        let mut messages = request.into_inner();
        let endless = |begin: &wire::AttachRequest| matches!(&begin.part, Some(attach_request::Part::Begin(begin)) if begin.id == "endless");
        let first = messages.message().await?;
        if first.as_ref().is_some_and(endless) {
            return Ok(Response::new(self.endless(messages, guard)));
        }
        let messages = stream::iter(first.map(Ok)).chain(messages).boxed();
        let state = Some((messages, 0));
        let events = stream::unfold(state, move |state| {
            let _held = &guard;
            async move {
                let (mut messages, mut next) = state?;
                let part = match messages.next().await? {
                    Ok(message) => message.part,
                    Err(status) => return Some((Err(status), None)),
                };
                let event = match part {
                    Some(attach_request::Part::Begin(begin)) => {
                        next = begin.since;
                        output_event::Event::Gap(wire::Gap::default())
                    }
                    Some(attach_request::Part::Data(data)) => {
                        next += data.len() as u64;
                        let bytes = Some(byte_string::Value::Base64(data));
                        output_event::Event::Output(wire::Output {
                            bytes: Some(wire::ByteString { value: bytes }),
                            ..Default::default()
                        })
                    }
                    Some(attach_request::Part::CloseStdin(_)) => {
                        // It ends with the exit.
                        let event = Some(output_event::Event::Exit(wire::ExitStatus::default()));
                        return Some((Ok(wire::OutputEvent { next, event }), None));
                    }
                    _ => {
                        let error = failed(ErrorCode::ProcessEnded, "it has ended");
                        return Some((Err(error), None));
                    }
                };
                Some((Ok(wire::OutputEvent { next, event: Some(event) }), Some((messages, next))))
            }
        });
        Ok(Response::new(events.boxed()))
    }
}

impl Seen {
    /// Output without end, until the client sends something more.
    fn endless(
        &self,
        mut messages: Streaming<wire::AttachRequest>,
        guard: Guard,
    ) -> Replies<wire::OutputEvent> {
        let seen = self.clone();
        let ended = async move {
            if let Ok(Some(message)) = messages.message().await {
                assert!(matches!(message.part, Some(attach_request::Part::Signal(_))));
                seen.say("signal");
            }
        };
        let seen = self.clone();
        let output = stream::repeat_with(move || {
            let _held = &guard;
            seen.say("endless");
            let bytes = Some(byte_string::Value::Text("x".repeat(ENDLESS_BYTES)));
            let output = wire::Output {
                bytes: Some(wire::ByteString { value: bytes }),
                ..Default::default()
            };
            let event = Some(output_event::Event::Output(output));
            Ok(wire::OutputEvent { next: 0, event })
        });
        // As in the engine, requests are taken whether or not somebody reads.
        let ended = tokio::spawn(ended);
        output.take_until(ended).boxed()
    }
}
