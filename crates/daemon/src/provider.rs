//! What the daemon serves: the engine.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::unfold;
use stigmer_api::{
    EventStream, Preparing, PreparingStream, Provider, RequestContext, ServerInfo, ServerKind,
};
use stigmer_core::manager::{PlaceStatus, Progress};
use stigmer_core::skill::{AddedSkill, Skill};
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError, ToolExecutor};
use stigmer_engine::Engine;
use stigmer_skills::Skills;
use tokio::sync::mpsc;

use crate::descriptors::Descriptors;
use crate::idle::Work;
use crate::record::Record;

/// The engine, and what the daemon has beside it.
#[derive(Debug)]
pub(crate) struct DaemonProvider {
    engine: Arc<Engine>,
    descriptors: Descriptors,
    record: Record,
    work: Work,
}

impl DaemonProvider {
    /// The engine.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What is being made for somebody who may have gone.
    pub(crate) fn work(&self) -> &Work {
        &self.work
    }

    pub(crate) fn new(engine: Engine, descriptors: Descriptors, record: Record) -> Self {
        Self { engine: Arc::new(engine), descriptors, record, work: Work::default() }
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

    /// The skills of a workspace, with its directory as its commands see it.
    async fn skills_of(&self, workspace: &str, context: &RequestContext) -> Result<Skills> {
        // It opens the workspace, if it is named by its path; only then is it known.
        let executor = self.executor(workspace, context).await?;
        Ok(Skills::new(executor, self.get(workspace).await?.root))
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

    async fn prepare(
        &self,
        request: OpenWorkspace,
        preparation: Preparation,
        context: &RequestContext,
    ) -> Result<PreparingStream> {
        let (engine, context) = (Arc::clone(&self.engine), context.clone());
        let (sender, receiver) = mpsc::unbounded_channel();
        let working = self.work.begin();
        // It goes on if the client goes away: what is made is made for whoever comes next.
        tokio::spawn(async move {
            let told = sender.clone();
            let tell = move |event: Progress| drop(told.send(Ok(Preparing::Progress(event))));
            let done = engine.prepare(request, preparation, &context, &tell).await;
            drop(sender.send(done.map(Preparing::Done)));
            drop(working);
        });
        Ok(Box::pin(unfold(receiver, async |mut receiver| {
            let event = receiver.recv().await?;
            Some((event, receiver))
        })))
    }

    async fn place_status(&self, workspace: &str) -> Result<PlaceStatus> {
        self.engine.place_status(workspace).await
    }

    async fn places(&self) -> Result<Vec<PlaceStatus>> {
        self.engine.places().await
    }

    async fn stop_place(&self, workspace: &str) -> Result<PlaceStatus> {
        self.engine.stop_place(workspace).await
    }

    async fn remove_place(&self, workspace: &str) -> Result<PlaceStatus> {
        self.engine.remove_place(workspace).await
    }

    async fn reset_affinity(&self, workspace: &str) -> Result<PlaceStatus> {
        self.engine.reset_affinity(workspace).await
    }

    async fn add_skill(
        &self,
        workspace: &str,
        archive: ByteStream,
        context: &RequestContext,
    ) -> Result<AddedSkill> {
        self.skills_of(workspace, context).await?.add(archive).await
    }

    async fn skills(&self, workspace: &str, context: &RequestContext) -> Result<Vec<Skill>> {
        self.skills_of(workspace, context).await?.list().await
    }

    async fn remove_skill(
        &self,
        workspace: &str,
        name: &str,
        context: &RequestContext,
    ) -> Result<bool> {
        self.skills_of(workspace, context).await?.remove(name).await
    }

    async fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream> {
        self.engine.events(since, follow)
    }

    fn take_descriptor(&self, ticket: &str) -> Result<OwnedFd> {
        self.descriptors.take(ticket)
    }
}
