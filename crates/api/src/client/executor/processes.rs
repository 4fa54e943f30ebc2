//! Starting and steering commands.

use std::os::fd::AsFd as _;

use stigmer_core::process::{
    ExitStatus, ProcessInfo, SignalRequest, StartProcess, StartedProcess, Stdin, TerminalSize,
};
use stigmer_core::{
    ByteString, Capability, ErrorCode, ProcessId, Result, ToolError, ToolExecutor as _,
};

use super::RemoteExecutor;
use crate::client::call::Tries;
use crate::client::descriptor::hand_over;
use crate::client::methods::{CLOSE_STDIN, GET_PROCESS, RESIZE, SIGNAL, START, WAIT, WRITE_STDIN};
use crate::client::patience::random;
use crate::convert;
use crate::resilience::Repeat;
use crate::wire;

/// A request's id, or a new one: it makes a request that can be repeated.
pub(super) fn chosen(id: &mut Option<ProcessId>) -> Result<ProcessId> {
    if let Some(id) = id {
        return Ok(id.clone());
    }
    let new = ProcessId::from_random(random()?);
    *id = Some(new.clone());
    Ok(new)
}

/// What was started must be what we asked for: everything after it goes by our id.
pub(super) fn same(asked: &ProcessId, answered: &ProcessId) -> Result<()> {
    if asked == answered {
        return Ok(());
    }
    let reason = format!("the server's answer is about process {answered}, not about {asked}");
    Err(ToolError::new(ErrorCode::Io, reason).with_detail("process", asked.as_str()))
}

impl RemoteExecutor {
    pub(super) async fn start(&self, mut request: StartProcess) -> Result<StartedProcess> {
        let id = chosen(&mut request.id)?;
        self.start_with(&id, &request, false).await
    }

    /// Starts a command under an id, or learns that it was started. After a broken connection
    /// (`resumed`) it tries as long as a stream is resumed.
    pub(super) async fn start_with(
        &self,
        id: &ProcessId,
        request: &StartProcess,
        resumed: bool,
    ) -> Result<StartedProcess> {
        let call = self.client.call(START)?.about(id).traced(request.traceparent.as_deref());
        let mut call = if resumed { call.resumed() } else { call };
        let mut tries = Tries::new();
        let reply = loop {
            let left = call.begin(&mut tries).await?;
            let ticket = self.ticket(&request.stdin).await;
            let message = ticket.and_then(|ticket| convert::start_request(request.clone(), ticket));
            let result = call.once(message.map(|message| self.about(message)), left).await;
            if let Some(reply) = call.end(&mut tries, result).await? {
                break reply;
            }
        };
        let started: StartedProcess = convert::reply(reply)?;
        same(id, &started.id)?;
        Ok(started)
    }

    /// Hands the command's standard input to the server, if it is a descriptor of ours. A ticket is
    /// good for one request.
    pub(super) async fn ticket(&self, stdin: &Stdin) -> Result<Option<String>> {
        let Stdin::Inherit(descriptor) = stdin else { return Ok(None) };
        self.capabilities().require(Capability::InheritStdin)?;
        let backend = &self.capabilities().backend;
        let socket = self
            .descriptors()
            .ok_or_else(|| ToolError::unsupported(Capability::InheritStdin, backend))?;
        let timeout = self.client.options().connect_timeout;
        hand_over(socket, descriptor.as_fd(), timeout).await.map(Some)
    }

    /// Not repeated: bytes that were written twice would be read twice.
    pub(super) async fn feed(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        let (workspace, id_text) = (self.workspace.clone(), id.as_str().to_owned());
        let request = wire::WriteStdinRequest { workspace, id: id_text, bytes: Some(bytes.into()) };
        self.client.call(WRITE_STDIN)?.about(id).send(&request).await.map(drop)
    }

    pub(super) async fn close(&self, id: &ProcessId) -> Result<()> {
        let (workspace, id_text) = (self.workspace.clone(), id.as_str().to_owned());
        let mut call = self.client.call(CLOSE_STDIN)?.about(id);
        match call.send(&wire::CloseStdinRequest { workspace, id: id_text }).await {
            // An earlier try had closed it, and the command may have ended of that.
            Err(ToolError { code: ErrorCode::StdinClosed | ErrorCode::ProcessEnded, .. })
                if call.was_broken() =>
            {
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Ending a command twice is ending it once; a signal that is sent twice arrives twice.
    pub(super) async fn send_signal(
        &self,
        id: &ProcessId,
        signal: SignalRequest,
    ) -> Result<Option<ExitStatus>> {
        let repeat = match signal {
            SignalRequest::Cancel | SignalRequest::Kill => Repeat::Idempotent,
            SignalRequest::Send(_) => Repeat::IfUnseen,
        };
        let request = self.about(convert::signal_request(id, signal));
        let mut call = self.client.call(SIGNAL)?.about(id).repeat(repeat);
        convert::reply(call.send(&request).await?)
    }

    pub(super) async fn set_size(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        let (workspace, id_text) = (self.workspace.clone(), id.as_str().to_owned());
        let request = wire::ResizeRequest { workspace, id: id_text, size: Some(size.into()) };
        self.client.call(RESIZE)?.about(id).send(&request).await.map(drop)
    }

    pub(super) async fn wait_for(&self, id: &ProcessId) -> Result<ExitStatus> {
        let (workspace, id_text) = (self.workspace.clone(), id.as_str().to_owned());
        let request = wire::WaitRequest { workspace, id: id_text };
        let mut call = self.client.call(WAIT)?.about(id).patient();
        convert::reply(call.send(&request).await?)
    }

    pub(super) async fn get(&self, id: &ProcessId) -> Result<ProcessInfo> {
        self.look(id, false).await
    }

    /// What is known of a command; after a broken connection (`resumed`) it tries as long as a
    /// stream is resumed.
    pub(super) async fn look(&self, id: &ProcessId, resumed: bool) -> Result<ProcessInfo> {
        let (workspace, id_text) = (self.workspace.clone(), id.as_str().to_owned());
        let request = wire::GetProcessRequest { workspace, id: id_text };
        let call = self.client.call(GET_PROCESS)?.about(id);
        let mut call = if resumed { call.resumed() } else { call };
        let info: ProcessInfo = convert::reply(call.send(&request).await?)?;
        same(id, &info.id)?;
        Ok(info)
    }
}
