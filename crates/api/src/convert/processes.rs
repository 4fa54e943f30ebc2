//! What is known of commands, how they end, and how they are steered.

use stigmer_core::process::{
    Captured, EndReason, Executed, ExitStatus, ProcessInfo, ProcessState, SignalRequest,
    StartedProcess, Survivor,
};
use stigmer_core::{Lane, Place, ProcessId};

use super::bytes::{bytes, field, list};
use super::{Fault, each, known, optional, pairs, process_id, required};
use crate::wire;
use crate::wire::signal_request::Action;

pairs! {
    Place = wire::Place { Host Container Vm Pod Cloud }
    Lane = wire::Lane { HostReadOnly HostWorkspace Sandbox }
    EndReason = wire::EndReason { Exited Signalled TimedOut Cancelled OutOfMemory Lost }
    ProcessState = wire::ProcessState { Running Exited Lost }
}

/// What the wire has as a message, and the words have on the heap.
fn boxed<A, B: From<A>>(value: Option<Box<A>>) -> Option<B> {
    value.map(|value| (*value).into())
}

impl From<StartedProcess> for wire::StartedProcess {
    fn from(reply: StartedProcess) -> Self {
        Self {
            id: reply.id.into(),
            place: wire::Place::from(reply.place).into(),
            executable: reply.executable.map(Into::into),
            routing: boxed(reply.routing),
        }
    }
}
impl TryFrom<wire::StartedProcess> for StartedProcess {
    type Error = Fault;
    fn try_from(reply: wire::StartedProcess) -> Result<Self, Fault> {
        Ok(Self {
            id: process_id("id", &reply.id)?,
            place: known::<wire::Place, _>("place", reply.place)?,
            executable: reply.executable.map(Into::into),
            routing: optional("routing", reply.routing)?.map(Box::new),
        })
    }
}

impl From<Captured> for wire::Captured {
    fn from(captured: Captured) -> Self {
        let Captured { head, tail, omitted_bytes } = captured;
        Self { head: field(head), tail: field(tail), omitted_bytes }
    }
}
impl From<wire::Captured> for Captured {
    fn from(captured: wire::Captured) -> Self {
        let wire::Captured { head, tail, omitted_bytes } = captured;
        Self { head: bytes(head), tail: bytes(tail), omitted_bytes }
    }
}

impl From<Executed> for wire::Executed {
    fn from(reply: Executed) -> Self {
        Self {
            id: reply.id.into(),
            exit: Some(reply.exit.into()),
            stdout: Some(reply.stdout.into()),
            stderr: Some(reply.stderr.into()),
            truncated: reply.truncated,
            place: wire::Place::from(reply.place).into(),
            executable: reply.executable.map(Into::into),
            routing: boxed(reply.routing),
        }
    }
}
impl TryFrom<wire::Executed> for Executed {
    type Error = Fault;
    fn try_from(reply: wire::Executed) -> Result<Self, Fault> {
        Ok(Self {
            id: process_id("id", &reply.id)?,
            exit: required("exit", reply.exit)?,
            stdout: required("stdout", reply.stdout)?,
            stderr: required("stderr", reply.stderr)?,
            truncated: reply.truncated,
            place: known::<wire::Place, _>("place", reply.place)?,
            executable: reply.executable.map(Into::into),
            routing: optional("routing", reply.routing)?.map(Box::new),
        })
    }
}

impl From<Survivor> for wire::Survivor {
    fn from(survivor: Survivor) -> Self {
        let Survivor { pid, name, uid } = survivor;
        Self { pid, name, uid }
    }
}
impl From<wire::Survivor> for Survivor {
    fn from(survivor: wire::Survivor) -> Self {
        let wire::Survivor { pid, name, uid } = survivor;
        Self { pid, name, uid }
    }
}

impl From<ExitStatus> for wire::ExitStatus {
    fn from(exit: ExitStatus) -> Self {
        Self {
            code: exit.code,
            reason: wire::EndReason::from(exit.reason).into(),
            signal: exit.signal,
            ended_ms: exit.ended_ms,
            duration_ms: exit.duration_ms,
            output_bytes: exit.output_bytes,
            memory_limit: exit.memory_limit,
            cause: exit.cause,
            survivors: list(exit.survivors),
            denied: boxed(exit.denied),
        }
    }
}
impl TryFrom<wire::ExitStatus> for ExitStatus {
    type Error = Fault;
    fn try_from(exit: wire::ExitStatus) -> Result<Self, Fault> {
        Ok(Self {
            code: exit.code,
            reason: known::<wire::EndReason, _>("reason", exit.reason)?,
            signal: exit.signal,
            ended_ms: exit.ended_ms,
            duration_ms: exit.duration_ms,
            output_bytes: exit.output_bytes,
            memory_limit: exit.memory_limit,
            cause: exit.cause,
            survivors: list(exit.survivors),
            denied: exit.denied.map(|denied| Box::new(denied.into())),
        })
    }
}

impl From<ProcessInfo> for wire::ProcessInfo {
    fn from(info: ProcessInfo) -> Self {
        Self {
            id: info.id.into(),
            command: Some(info.command.into()),
            workspace: field(info.workspace),
            cwd: field(info.cwd),
            state: wire::ProcessState::from(info.state).into(),
            exit: info.exit.map(Into::into),
            started_ms: info.started_ms,
            pid: info.pid,
            background: info.background,
            terminal: info.terminal,
            detached: info.detached,
            output_bytes: info.output_bytes,
            routing: boxed(info.routing),
        }
    }
}
impl TryFrom<wire::ProcessInfo> for ProcessInfo {
    type Error = Fault;
    fn try_from(info: wire::ProcessInfo) -> Result<Self, Fault> {
        Ok(Self {
            id: process_id("id", &info.id)?,
            command: required("command", info.command)?,
            workspace: bytes(info.workspace),
            cwd: bytes(info.cwd),
            state: known::<wire::ProcessState, _>("state", info.state)?,
            exit: optional("exit", info.exit)?,
            started_ms: info.started_ms,
            pid: info.pid,
            background: info.background,
            terminal: info.terminal,
            detached: info.detached,
            output_bytes: info.output_bytes,
            routing: optional("routing", info.routing)?.map(Box::new),
        })
    }
}

/// The commands that are kept.
impl From<Vec<ProcessInfo>> for wire::ProcessList {
    fn from(all: Vec<ProcessInfo>) -> Self {
        Self { processes: list(all) }
    }
}
impl TryFrom<wire::ProcessList> for Vec<ProcessInfo> {
    type Error = Fault;
    fn try_from(reply: wire::ProcessList) -> Result<Self, Fault> {
        each("processes", reply.processes)
    }
}

impl From<SignalRequest> for wire::SignalRequest {
    fn from(request: SignalRequest) -> Self {
        let action = match request {
            SignalRequest::Cancel => Action::Cancel(wire::Cancel {}),
            SignalRequest::Kill => Action::Kill(wire::Kill {}),
            SignalRequest::Send(signal) => Action::Send(signal),
        };
        Self { action: Some(action) }
    }
}
impl TryFrom<wire::SignalRequest> for SignalRequest {
    type Error = Fault;
    fn try_from(request: wire::SignalRequest) -> Result<Self, Fault> {
        match request.action.ok_or_else(|| Fault::new("cancel, kill or send", "is missing"))? {
            Action::Cancel(_) => Ok(Self::Cancel),
            Action::Kill(_) => Ok(Self::Kill),
            Action::Send(signal) => Ok(Self::Send(signal)),
        }
    }
}

/// The request to signal or end a command.
pub fn signal_request(id: &ProcessId, signal: SignalRequest) -> wire::SignalProcessRequest {
    let (id, signal) = (id.as_str().to_owned(), Some(signal.into()));
    wire::SignalProcessRequest { workspace: String::new(), id, signal }
}
impl TryFrom<wire::SignalProcessRequest> for (ProcessId, SignalRequest) {
    type Error = Fault;
    fn try_from(request: wire::SignalProcessRequest) -> Result<Self, Fault> {
        Ok((process_id("id", &request.id)?, required("signal", request.signal)?))
    }
}

/// What a signal was answered with.
impl From<Option<ExitStatus>> for wire::SignalProcessResponse {
    fn from(exit: Option<ExitStatus>) -> Self {
        Self { exit: exit.map(Into::into) }
    }
}
impl TryFrom<wire::SignalProcessResponse> for Option<ExitStatus> {
    type Error = Fault;
    fn try_from(reply: wire::SignalProcessResponse) -> Result<Self, Fault> {
        optional("exit", reply.exit)
    }
}
