//! What the daemon serves: the engine.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use stigmer_api::{EventStream, Provider, RequestContext, ServerInfo, ServerKind};
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{ErrorCode, Result, ToolError, ToolExecutor};
use stigmer_engine::Engine;

use crate::descriptors::Descriptors;
use crate::record::Record;

/// The engine, and what the daemon has beside it.
#[derive(Debug)]
pub(crate) struct DaemonProvider {
    engine: Arc<Engine>,
    descriptors: Descriptors,
    record: Record,
}

impl DaemonProvider {
    pub(crate) fn new(engine: Engine, descriptors: Descriptors, record: Record) -> Self {
        Self { engine: Arc::new(engine), descriptors, record }
    }

    /// Asks the engine off the asynchronous threads, of which there are few: it looks at the disk,
    /// and a file system that hangs must not hold up everybody else's requests.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Engine) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let engine = Arc::clone(&self.engine);
        tokio::task::spawn_blocking(move || question(&engine)).await.unwrap_or_else(|error| {
            Err(ToolError::new(ErrorCode::Io, format!("a request broke off: {error}")))
        })
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
        let (workspace, context) = (workspace.to_owned(), context.clone());
        self.ask(move |engine| engine.executor_of(&workspace, &context)).await
    }

    async fn open(
        &self,
        request: OpenWorkspace,
        context: &RequestContext,
    ) -> Result<WorkspaceInfo> {
        let context = context.clone();
        self.ask(move |engine| engine.open_workspace(request, &context)).await
    }

    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        let workspace = workspace.to_owned();
        self.ask(move |engine| engine.workspace(&workspace)).await
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        self.ask(Engine::workspaces).await
    }

    async fn forget(&self, workspace: &str, context: &RequestContext) -> Result<bool> {
        let (workspace, context) = (workspace.to_owned(), context.clone());
        self.ask(move |engine| engine.forget_workspace(&workspace, &context)).await
    }

    async fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream> {
        self.engine.events(since, follow)
    }

    fn take_descriptor(&self, ticket: &str) -> Result<OwnedFd> {
        self.descriptors.take(ticket)
    }
}
