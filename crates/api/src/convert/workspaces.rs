//! Workspaces.

use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{Capabilities, Capability, ExecutionMode, WorkspaceId};

use super::bytes::{bytes, field};
use super::{Fault, known, known_or_none, pairs};
use crate::wire;

pairs! {
    ExecutionMode = wire::ExecutionMode { Local Sandbox Auto Firecracker Kubernetes Cloud }
    Capability = wire::Capability {
        Terminal InheritStdin CallerEnvironment User ResourceLimits Watch
    }
}

impl From<OpenWorkspace> for wire::OpenWorkspaceRequest {
    fn from(request: OpenWorkspace) -> Self {
        let mode = request.mode.map(wire::ExecutionMode::from).unwrap_or_default();
        Self { path: field(request.path), mode: mode.into() }
    }
}
impl TryFrom<wire::OpenWorkspaceRequest> for OpenWorkspace {
    type Error = Fault;
    fn try_from(request: wire::OpenWorkspaceRequest) -> Result<Self, Fault> {
        let mode = known_or_none::<wire::ExecutionMode, _>("mode", request.mode)?;
        Ok(Self { path: bytes(request.path), mode })
    }
}

impl From<WorkspaceInfo> for wire::Workspace {
    fn from(reply: WorkspaceInfo) -> Self {
        let capabilities = reply.capabilities.has.into_iter();
        let setting = |(name, value)| wire::Setting { name, value };
        Self {
            id: reply.id.into(),
            root: field(reply.root),
            mode: wire::ExecutionMode::from(reply.mode).into(),
            backend: reply.capabilities.backend,
            capabilities: capabilities.map(|has| wire::Capability::from(has).into()).collect(),
            server_settings: reply.server_settings.into_iter().map(setting).collect(),
            opened_ms: reply.opened_ms,
        }
    }
}
impl TryFrom<wire::Workspace> for WorkspaceInfo {
    type Error = Fault;
    fn try_from(reply: wire::Workspace) -> Result<Self, Fault> {
        // A capability that this build does not know is one that it cannot ask for: a newer server
        // may have more.
        let capability = |number| wire::Capability::try_from(number).ok()?.try_into().ok();
        Ok(Self {
            id: workspace_id("id", &reply.id)?,
            root: bytes(reply.root),
            mode: known::<wire::ExecutionMode, _>("mode", reply.mode)?,
            capabilities: Capabilities {
                backend: reply.backend,
                has: reply.capabilities.into_iter().filter_map(capability).collect(),
            },
            opened_ms: reply.opened_ms,
            server_settings: reply
                .server_settings
                .into_iter()
                .map(|setting| (setting.name, setting.value))
                .collect(),
        })
    }
}

/// The id of a workspace, from a field.
pub(super) fn workspace_id(field: &str, text: &str) -> Result<WorkspaceId, Fault> {
    let form = "is not a workspace id: ws- and sixteen hexadecimal digits";
    text.parse().map_err(|_| Fault::new(field, form))
}

/// All workspaces.
impl From<Vec<WorkspaceInfo>> for wire::WorkspaceList {
    fn from(all: Vec<WorkspaceInfo>) -> Self {
        Self { workspaces: super::bytes::list(all) }
    }
}
impl TryFrom<wire::WorkspaceList> for Vec<WorkspaceInfo> {
    type Error = Fault;
    fn try_from(reply: wire::WorkspaceList) -> Result<Self, Fault> {
        super::each("workspaces", reply.workspaces)
    }
}
