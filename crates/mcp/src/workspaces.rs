//! Who has the workspaces.

use std::sync::Arc;

use async_trait::async_trait;
use stigmer_api::{Provider, RequestContext};
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{Result, ToolExecutor};

/// What the tools need of whoever has the workspaces: the part of a [`Provider`] that agents use.
#[async_trait]
pub trait Workspaces: Send + Sync + 'static {
    /// The executor of a workspace, named by its id; with an empty name one that knows the commands
    /// of all workspaces and refuses whatever needs one.
    ///
    /// # Errors
    /// `unknown_workspace`, and what opening it says.
    async fn executor(&self, workspace: &str) -> Result<Arc<dyn ToolExecutor>>;

    /// Opens a workspace; the same directory and mode give the same one.
    ///
    /// # Errors
    /// `invalid_argument`, `not_found`, `not_a_directory`, `bad_configuration`, `not_available`.
    async fn open(&self, request: OpenWorkspace) -> Result<WorkspaceInfo>;

    /// What is known of a workspace, named by its id or its absolute path.
    ///
    /// # Errors
    /// `unknown_workspace`.
    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo>;

    /// The workspaces that were opened and not forgotten, sorted by root.
    ///
    /// # Errors
    /// `io` if they cannot be read.
    async fn list(&self) -> Result<Vec<WorkspaceInfo>>;
}

/// The workspaces that a server serves.
#[derive(Debug)]
pub struct Served<P>(pub Arc<P>);

#[async_trait]
impl<P: Provider> Workspaces for Served<P> {
    async fn executor(&self, workspace: &str) -> Result<Arc<dyn ToolExecutor>> {
        self.0.executor(workspace, &RequestContext::default()).await
    }

    async fn open(&self, request: OpenWorkspace) -> Result<WorkspaceInfo> {
        self.0.open(request, &RequestContext::default()).await
    }

    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        self.0.get(workspace).await
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        self.0.list().await
    }
}
