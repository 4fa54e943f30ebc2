//! Workspaces.

use stigmer_core::manager::{PlaceState, PlaceStatus, Progress};
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{Capabilities, Capability, ExecutionMode, ToolError, WorkspaceId};

use super::bytes::{bytes, field, list};
use super::{Fault, each, known, known_or_none, pairs, required};
use crate::provider::Preparing;
use crate::wire;
use crate::wire::preparing::Event as Kind;

pairs! {
    ExecutionMode = wire::ExecutionMode { Local Sandbox Auto Firecracker Kubernetes Cloud }
    Capability = wire::Capability {
        Terminal InheritStdin CallerEnvironment User ResourceLimits Watch
    }
    Preparation = wire::Preparation { Open Create Start Recover }
    PlaceState = wire::PlaceState { Creating Ready Stopped Deleting Gone Failed }
}

fn settings(pairs: Vec<(String, String)>) -> Vec<wire::Setting> {
    pairs.into_iter().map(|(name, value)| wire::Setting { name, value }).collect()
}

fn pairs(settings: Vec<wire::Setting>) -> Vec<(String, String)> {
    settings.into_iter().map(|setting| (setting.name, setting.value)).collect()
}

impl From<OpenWorkspace> for wire::OpenWorkspaceRequest {
    fn from(request: OpenWorkspace) -> Self {
        let mode = request.mode.map(wire::ExecutionMode::from).unwrap_or_default();
        let settings = settings(request.settings);
        Self { path: field(request.path), mode: mode.into(), settings }
    }
}
impl TryFrom<wire::OpenWorkspaceRequest> for OpenWorkspace {
    type Error = Fault;
    fn try_from(request: wire::OpenWorkspaceRequest) -> Result<Self, Fault> {
        let mode = known_or_none::<wire::ExecutionMode, _>("mode", request.mode)?;
        Ok(Self { path: bytes(request.path), mode, settings: pairs(request.settings) })
    }
}

impl From<WorkspaceInfo> for wire::Workspace {
    fn from(reply: WorkspaceInfo) -> Self {
        let capabilities = reply.capabilities.has.into_iter();
        Self {
            id: reply.id.into(),
            root: field(reply.root),
            mode: wire::ExecutionMode::from(reply.mode).into(),
            backend: reply.capabilities.backend,
            capabilities: capabilities.map(|has| wire::Capability::from(has).into()).collect(),
            server_settings: settings(reply.server_settings),
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
            server_settings: pairs(reply.server_settings),
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
        Self { workspaces: list(all) }
    }
}
impl TryFrom<wire::WorkspaceList> for Vec<WorkspaceInfo> {
    type Error = Fault;
    fn try_from(reply: wire::WorkspaceList) -> Result<Self, Fault> {
        each("workspaces", reply.workspaces)
    }
}

/// What to prepare, and how.
impl From<(OpenWorkspace, Preparation)> for wire::PrepareRequest {
    fn from((open, preparation): (OpenWorkspace, Preparation)) -> Self {
        let preparation = wire::Preparation::from(preparation).into();
        Self { open: Some(open.into()), preparation }
    }
}
impl TryFrom<wire::PrepareRequest> for (OpenWorkspace, Preparation) {
    type Error = Fault;
    fn try_from(request: wire::PrepareRequest) -> Result<Self, Fault> {
        let preparation = known_or_none::<wire::Preparation, _>("preparation", request.preparation);
        Ok((required("open", request.open)?, preparation?.unwrap_or_default()))
    }
}

impl From<PlaceStatus> for wire::PlaceStatus {
    fn from(status: PlaceStatus) -> Self {
        Self {
            workspace: status.workspace.into(),
            root: field(status.root),
            state: wire::PlaceState::from(status.state).into(),
            reason: status.reason.as_ref().map(Into::into),
            name: status.name,
            image: status.image,
            created_ms: status.created_ms,
            notes: status.notes,
            affinity: status.affinity,
        }
    }
}
impl TryFrom<wire::PlaceStatus> for PlaceStatus {
    type Error = Fault;
    fn try_from(status: wire::PlaceStatus) -> Result<Self, Fault> {
        Ok(Self {
            workspace: workspace_id("workspace", &status.workspace)?,
            root: bytes(status.root),
            state: known::<wire::PlaceState, _>("state", status.state)?,
            reason: status.reason.map(ToolError::from),
            name: status.name,
            image: status.image,
            created_ms: status.created_ms,
            notes: status.notes,
            affinity: status.affinity,
        })
    }
}

/// All places.
impl From<Vec<PlaceStatus>> for wire::PlaceList {
    fn from(all: Vec<PlaceStatus>) -> Self {
        Self { places: list(all) }
    }
}
impl TryFrom<wire::PlaceList> for Vec<PlaceStatus> {
    type Error = Fault;
    fn try_from(reply: wire::PlaceList) -> Result<Self, Fault> {
        each("places", reply.places)
    }
}

impl From<Preparing> for wire::Preparing {
    fn from(event: Preparing) -> Self {
        let event = match event {
            Preparing::Progress(Progress::Step(step)) => Kind::Step(step),
            Preparing::Progress(Progress::Note(note)) => Kind::Note(note),
            Preparing::Progress(Progress::Layer { id, what, done, total }) => {
                Kind::Layer(wire::LayerProgress { id, what, done, total })
            }
            Preparing::Done(status) => Kind::Status(status.into()),
        };
        Self { event: Some(event) }
    }
}
impl TryFrom<wire::Preparing> for Preparing {
    type Error = Fault;
    fn try_from(message: wire::Preparing) -> Result<Self, Fault> {
        Ok(match message.event.ok_or_else(|| Fault::missing("event"))? {
            Kind::Step(step) => Self::Progress(Progress::Step(step)),
            Kind::Note(note) => Self::Progress(Progress::Note(note)),
            Kind::Layer(layer) => {
                let wire::LayerProgress { id, what, done, total } = layer;
                Self::Progress(Progress::Layer { id, what, done, total })
            }
            Kind::Status(status) => {
                let status = status.try_into().map_err(|fault: Fault| fault.within("status"));
                Self::Done(status?)
            }
        })
    }
}
