//! What the daemon serves: the engine.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use stigmer_api::{EventStream, Provider, RequestContext, ServerInfo, ServerKind};
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{Result, ToolExecutor};
use stigmer_engine::Engine;

use crate::descriptors::Descriptors;
use crate::record::Record;

/// The engine, and what the daemon has beside it.
#[derive(Debug)]
pub(crate) struct DaemonProvider {
    engine: Engine,
    descriptors: Descriptors,
    record: Record,
}

impl DaemonProvider {
    pub(crate) fn new(engine: Engine, descriptors: Descriptors, record: Record) -> Self {
        Self { engine, descriptors, record }
    }
}

#[async_trait]
impl Provider for DaemonProvider {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: self.record.version.clone(),
            kind: ServerKind::Daemon,
            pid: self.record.pid,
            uid: rustix::process::geteuid().as_raw(),
            started_ms: self.record.started_ms,
            descriptor_socket: Some(self.record.descriptors.clone()),
        }
    }

    async fn executor(
        &self,
        workspace: &str,
        context: &RequestContext,
    ) -> Result<Arc<dyn ToolExecutor>> {
        self.engine.executor_of(workspace, context)
    }

    async fn open(
        &self,
        request: OpenWorkspace,
        context: &RequestContext,
    ) -> Result<WorkspaceInfo> {
        self.engine.open_workspace(request, context)
    }

    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        self.engine.workspace(workspace)
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        self.engine.workspaces()
    }

    async fn forget(&self, workspace: &str, context: &RequestContext) -> Result<bool> {
        self.engine.forget_workspace(workspace, context)
    }

    async fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream> {
        self.engine.events(since, follow)
    }

    fn take_descriptor(&self, ticket: &str) -> Result<OwnedFd> {
        self.descriptors.take(ticket)
    }
}
