//! The server's workspaces.

use futures_util::stream::unfold;
use stigmer_core::manager::PlaceStatus;
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{ErrorCode, Result, ToolError};

use super::Client;
use super::call::Messages;
use super::methods::{
    FORGET, GET_WORKSPACE, LIST_WORKSPACES, OPEN, PLACES, PREPARE, REMOVE, RESET_AFFINITY, STATUS,
    STOP,
};
use crate::provider::{Preparing, PreparingStream};
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

    /// Makes the place of a workspace. A stream that breaks ends with an error, and what was begun
    /// goes on: asking again tells how far it is.
    ///
    /// # Errors
    /// As [`Client::open_workspace`], `unsupported` by a sidecar; what making the place says is in
    /// the stream.
    pub async fn prepare(
        &self,
        request: OpenWorkspace,
        preparation: Preparation,
    ) -> Result<PreparingStream> {
        let request: wire::PrepareRequest = (request, preparation).into();
        let messages = self.call(PREPARE)?.open(&request).await?;
        Ok(Box::pin(unfold(Some(messages), async |messages| {
            let mut messages = messages?;
            let event = next(&mut messages).await;
            let goes_on = matches!(event, Ok(Preparing::Progress(_)));
            Some((event, goes_on.then_some(messages)))
        })))
    }

    /// How far the place of a workspace is, named by its id or its absolute path.
    ///
    /// # Errors
    /// `unknown_workspace`, what its backend says, `unsupported` by a sidecar, `unavailable`.
    pub async fn place_status(&self, workspace: &str) -> Result<PlaceStatus> {
        convert::reply(self.call(STATUS)?.send(&place(workspace)).await?)
    }

    /// All places, also those of workspaces that were forgotten.
    ///
    /// # Errors
    /// What the backend says, `unsupported` by a sidecar, `unavailable`.
    pub async fn places(&self) -> Result<Vec<PlaceStatus>> {
        convert::reply(self.call(PLACES)?.send(&wire::PlacesRequest {}).await?)
    }

    /// Ends the commands of a workspace and keeps its place as it is.
    ///
    /// # Errors
    /// As [`Client::place_status`].
    pub async fn stop_place(&self, workspace: &str) -> Result<PlaceStatus> {
        convert::reply(self.call(STOP)?.send(&place(workspace)).await?)
    }

    /// Ends the commands of a workspace and removes its place.
    ///
    /// # Errors
    /// As [`Client::place_status`].
    pub async fn remove_place(&self, workspace: &str) -> Result<PlaceStatus> {
        convert::reply(self.call(REMOVE)?.send(&place(workspace)).await?)
    }

    /// Forgets which toolchains' state lives in the place of a workspace, for auto mode. What is
    /// installed there stays.
    ///
    /// # Errors
    /// As [`Client::place_status`].
    pub async fn reset_affinity(&self, workspace: &str) -> Result<PlaceStatus> {
        convert::reply(self.call(RESET_AFFINITY)?.send(&place(workspace)).await?)
    }
}

fn place(workspace: &str) -> wire::PlaceRequest {
    wire::PlaceRequest { workspace: workspace.to_owned() }
}

async fn next(messages: &mut Messages<wire::Preparing>) -> Result<Preparing> {
    match messages.next().await {
        Ok(Some(message)) => convert::reply(message),
        Ok(None) => {
            let message = "the server has ended the stream before the place was ready";
            Err(ToolError::new(ErrorCode::Unavailable, message))
        }
        Err(failure) => Err(failure.into_reason()),
    }
}
