//! The server's workspaces.

use stigmer_core::Result;
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};

use super::Client;
use super::methods::{FORGET, GET_WORKSPACE, LIST_WORKSPACES, OPEN};
use crate::{convert, wire};

impl Client {
    /// Opens a workspace; the same directory and mode give the same one.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `bad_configuration`, `not_available`, `unavailable`.
    pub async fn open_workspace(&self, request: OpenWorkspace) -> Result<WorkspaceInfo> {
        convert::reply(self.call(OPEN)?.send(&request.into()).await?)
    }

    /// What is known of a workspace, named by its id or its absolute path.
    ///
    /// # Errors
    /// `unknown_workspace`, `unavailable`.
    pub async fn workspace(&self, workspace: &str) -> Result<WorkspaceInfo> {
        let request = wire::GetWorkspaceRequest { workspace: workspace.to_owned() };
        convert::reply(self.call(GET_WORKSPACE)?.send(&request).await?)
    }

    /// The workspaces that were opened and not forgotten, sorted by root.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn workspaces(&self) -> Result<Vec<WorkspaceInfo>> {
        let request = wire::ListWorkspacesRequest {};
        convert::reply(self.call(LIST_WORKSPACES)?.send(&request).await?)
    }

    /// Forgets a workspace; returns whether there was one. Its directory and its commands stay.
    ///
    /// # Errors
    /// `unsupported` by a sidecar, `unavailable`.
    pub async fn forget_workspace(&self, workspace: &str) -> Result<bool> {
        let request = wire::ForgetWorkspaceRequest { workspace: workspace.to_owned() };
        let mut call = self.call(FORGET)?;
        let reply = call.send(&request).await?;
        // If an earlier try had forgotten it, there was one.
        Ok(!reply.was_already_forgotten || call.was_broken())
    }
}
