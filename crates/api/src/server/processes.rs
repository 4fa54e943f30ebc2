//! Commands.

use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use stigmer_core::process::{ReadOutput, StartProcess, TerminalSize};
use stigmer_core::{OutputStream, ProcessId, Result, ToolExecutor};
use tonic::{Request, Status, Streaming};

use super::context::Asked;
use super::{Answer, Answers, Api, attach};
use crate::convert;
use crate::convert::{Fault, Position, split_characters};
use crate::provider::RequestContext;
use crate::wire;
use crate::wire::processes_server::Processes;

#[tonic::async_trait]
impl Processes for Api {
    async fn start(
        &self,
        request: Request<wire::StartProcessRequest>,
    ) -> Answer<wire::StartedProcess> {
        let (asked, message) = Asked::take(request);
        let started = async {
            let executor = self.provider.executor(&message.workspace, &asked.context).await?;
            let descriptor = |ticket: &str| self.provider.take_descriptor(ticket);
            let mut start = convert::start_from_wire(message, descriptor)?;
            trace(&mut start, &asked.context);
            Ok(executor.start_process(start).await?.into())
        };
        asked.answer(started.await)
    }

    async fn execute(&self, request: Request<wire::ExecuteRequest>) -> Answer<wire::Executed> {
        let (asked, message) = Asked::take(request);
        let executed = async {
            let workspace = convert::InWorkspace::workspace(&message);
            let executor = self.provider.executor(workspace, &asked.context).await?;
            let descriptor = |ticket: &str| self.provider.take_descriptor(ticket);
            let mut execute = convert::execute_from_wire(message, descriptor)?;
            trace(&mut execute.start, &asked.context);
            Ok(executor.execute(execute).await?.into())
        };
        asked.answer(executed.await)
    }

    type OutputStream = Answers<wire::OutputEvent>;

    async fn output(&self, request: Request<wire::OutputRequest>) -> Answer<Self::OutputStream> {
        let (asked, message) = Asked::take(request);
        let followed = self.follow(&asked, message).await;
        asked.answer(followed.map(|(_, _, read, output)| events(asked.clone(), read, output)))
    }

    type AttachStream = Answers<wire::OutputEvent>;

    async fn attach(
        &self,
        request: Request<Streaming<wire::AttachRequest>>,
    ) -> Answer<Self::AttachStream> {
        let (asked, mut input) = Asked::take(request);
        let attached = async {
            let begin = attach::begin(&mut input).await?;
            let (executor, id, read, output) = self.follow(&asked, begin).await?;
            let output = events(asked.clone(), read, output);
            Ok(attach::attach(asked.clone(), executor, id, input, output))
        };
        let attached = attached.await;
        asked.answer(attached)
    }

    async fn write_stdin(
        &self,
        request: Request<wire::WriteStdinRequest>,
    ) -> Answer<wire::WriteStdinResponse> {
        self.answer(request, |executor, message| async move {
            let bytes = message.bytes.map(Into::into).unwrap_or_default();
            executor.write_stdin(&id(&message.id)?, bytes).await?;
            Ok(wire::WriteStdinResponse {})
        })
        .await
    }

    async fn close_stdin(
        &self,
        request: Request<wire::CloseStdinRequest>,
    ) -> Answer<wire::CloseStdinResponse> {
        self.answer(request, |executor, message| async move {
            executor.close_stdin(&id(&message.id)?).await?;
            Ok(wire::CloseStdinResponse {})
        })
        .await
    }

    async fn signal(
        &self,
        request: Request<wire::SignalProcessRequest>,
    ) -> Answer<wire::SignalProcessResponse> {
        self.answer(request, |executor, message| async move {
            let (id, signal) = convert::request(message)?;
            Ok(executor.signal(&id, signal).await?.into())
        })
        .await
    }

    async fn resize(&self, request: Request<wire::ResizeRequest>) -> Answer<wire::ResizeResponse> {
        self.answer(request, |executor, message| async move {
            let missing = || Fault::new("size", "is missing").in_request();
            let size: TerminalSize = convert::request(message.size.ok_or_else(missing)?)?;
            executor.resize(&id(&message.id)?, size).await?;
            Ok(wire::ResizeResponse {})
        })
        .await
    }

    async fn wait(&self, request: Request<wire::WaitRequest>) -> Answer<wire::ExitStatus> {
        self.answer(request, |executor, message| async move {
            Ok(executor.wait(&id(&message.id)?).await?.into())
        })
        .await
    }

    async fn get(&self, request: Request<wire::GetProcessRequest>) -> Answer<wire::ProcessInfo> {
        self.answer(request, |executor, message| async move {
            Ok(executor.process(&id(&message.id)?).await?.into())
        })
        .await
    }

    async fn list(
        &self,
        request: Request<wire::ListProcessesRequest>,
    ) -> Answer<wire::ProcessList> {
        self.answer(
            request,
            |executor, _| async move { Ok(executor.list_processes().await?.into()) },
        )
        .await
    }
}

fn id(text: &str) -> Result<ProcessId> {
    convert::process_id("id", text).map_err(Fault::in_request)
}

/// A command belongs to the trace that its request names, else to the one of the call.
fn trace(start: &mut StartProcess, context: &RequestContext) {
    if start.traceparent.is_none() {
        start.traceparent.clone_from(&context.traceparent);
    }
}

type Followed = (Arc<dyn ToolExecutor>, ProcessId, ReadOutput, OutputStream);

impl Api {
    async fn follow(&self, asked: &Asked, message: wire::OutputRequest) -> Result<Followed> {
        let executor = self.provider.executor(&message.workspace, &asked.context).await?;
        let (id, read) = convert::request(message)?;
        let output = executor.process_output(&id, read).await?;
        Ok((executor, id, read, output))
    }
}

/// A command's output as it is sent. Whoever drops it drops the executor's stream: that is how a
/// command learns that the client which held it is gone.
fn events(asked: Asked, read: ReadOutput, output: OutputStream) -> Answers<wire::OutputEvent> {
    let mut position = Position::at(read.since);
    Box::pin(output.flat_map(move |event| {
        let events: Vec<Result<_, Status>> = match event {
            Ok(event) => {
                split_characters(event).into_iter().map(|event| Ok(position.event(event))).collect()
            }
            Err(error) => vec![Err(asked.refuse(&error))],
        };
        stream::iter(events)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_requests_own_trace_comes_before_the_calls() {
        let traceparent = Some("00-call".to_owned());
        let context = RequestContext { traceparent, ..RequestContext::default() };
        let mut start = StartProcess::shell("true");
        trace(&mut start, &context);
        assert_eq!(start.traceparent.as_deref(), Some("00-call"));
        start.traceparent = Some("00-own".to_owned());
        trace(&mut start, &context);
        assert_eq!(start.traceparent.as_deref(), Some("00-own"));
    }
}
