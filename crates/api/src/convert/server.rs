//! The server itself, and what happens in it.

use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use stigmer_core::event::{Event, EventKind};
use stigmer_core::{ByteString, FilePath, Lane, Place};

use super::bytes::{bytes, field};
use super::workspaces::workspace_id;
use super::{Fault, known, pairs, process_id, required};
use crate::provider::{ServerInfo, ServerKind};
use crate::wire;
use crate::wire::event::Event as Kind;

pairs! {
    ServerKind = wire::ServerKind { Daemon Sidecar }
}

impl From<ServerInfo> for wire::ServerInfo {
    fn from(reply: ServerInfo) -> Self {
        Self {
            version: reply.version,
            kind: wire::ServerKind::from(reply.kind).into(),
            pid: reply.pid,
            uid: reply.uid,
            started_ms: reply.started_ms,
            descriptor_socket: reply.descriptor_socket.map(|path| FilePath::from(path).into()),
        }
    }
}
impl TryFrom<wire::ServerInfo> for ServerInfo {
    type Error = Fault;
    fn try_from(reply: wire::ServerInfo) -> Result<Self, Fault> {
        let path = |path: wire::ByteString| {
            PathBuf::from(std::ffi::OsString::from_vec(ByteString::from(path).into_bytes()))
        };
        Ok(Self {
            version: reply.version,
            kind: known::<wire::ServerKind, _>("kind", reply.kind)?,
            pid: reply.pid,
            uid: reply.uid,
            started_ms: reply.started_ms,
            descriptor_socket: reply.descriptor_socket.map(path),
        })
    }
}

/// The trace of an event is for the server's own exporters, and stays there.
impl From<Event> for wire::Event {
    fn from(event: Event) -> Self {
        let kind = match event.kind {
            EventKind::ProcessStarted { id, place, detached, traceparent: _ } => {
                let place = wire::Place::from(place).into();
                Kind::ProcessStarted(wire::ProcessStarted { id: id.into(), place, detached })
            }
            EventKind::ProcessEnded { id, exit, traceparent: _ } => {
                Kind::ProcessEnded(wire::ProcessEnded { id: id.into(), exit: Some(exit.into()) })
            }
            EventKind::CommandRouted { id, lane, rule, reason, fell_over } => {
                let lane = wire::Lane::from(lane).into();
                let id = id.into();
                Kind::CommandRouted(wire::CommandRouted { id, lane, rule, reason, fell_over })
            }
            EventKind::WorkspaceOpened { id } => {
                Kind::WorkspaceOpened(wire::WorkspaceOpened { id: id.into() })
            }
            EventKind::WorkspaceForgotten { id } => {
                Kind::WorkspaceForgotten(wire::WorkspaceForgotten { id: id.into() })
            }
            EventKind::FilesChanged { operation, path } => {
                Kind::FilesChanged(wire::FilesChanged { operation, path: field(path) })
            }
            EventKind::EventsLost => Kind::EventsLost(wire::EventsLost {}),
        };
        Self {
            next: event.next,
            at_ms: event.at_ms,
            workspace: field(event.workspace),
            request_id: event.request_id,
            event: Some(kind),
        }
    }
}
impl TryFrom<wire::Event> for Event {
    type Error = Fault;
    fn try_from(event: wire::Event) -> Result<Self, Fault> {
        let kind = match event.event.ok_or_else(|| Fault::missing("event"))? {
            Kind::ProcessStarted(started) => EventKind::ProcessStarted {
                id: process_id("process_started.id", &started.id)?,
                place: known::<wire::Place, Place>("process_started.place", started.place)?,
                detached: started.detached,
                traceparent: None,
            },
            Kind::ProcessEnded(ended) => EventKind::ProcessEnded {
                id: process_id("process_ended.id", &ended.id)?,
                exit: required("process_ended.exit", ended.exit)?,
                traceparent: None,
            },
            Kind::CommandRouted(routed) => EventKind::CommandRouted {
                id: process_id("command_routed.id", &routed.id)?,
                lane: known::<wire::Lane, Lane>("command_routed.lane", routed.lane)?,
                rule: routed.rule,
                reason: routed.reason,
                fell_over: routed.fell_over,
            },
            Kind::WorkspaceOpened(opened) => {
                EventKind::WorkspaceOpened { id: workspace_id("workspace_opened.id", &opened.id)? }
            }
            Kind::WorkspaceForgotten(forgotten) => EventKind::WorkspaceForgotten {
                id: workspace_id("workspace_forgotten.id", &forgotten.id)?,
            },
            Kind::FilesChanged(changed) => {
                EventKind::FilesChanged { operation: changed.operation, path: bytes(changed.path) }
            }
            Kind::EventsLost(_) => EventKind::EventsLost,
        };
        let wire::Event { next, at_ms, workspace, request_id, event: _ } = event;
        Ok(Self { next, at_ms, workspace: bytes(workspace), request_id, kind })
    }
}
