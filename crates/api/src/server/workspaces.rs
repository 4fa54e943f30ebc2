//! Workspaces.

use tonic::Request;

use super::context::Asked;
use super::{Answer, Api};
use crate::convert;
use crate::wire;
use crate::wire::workspaces_server::Workspaces;

#[tonic::async_trait]
impl Workspaces for Api {
    async fn open(&self, request: Request<wire::OpenWorkspaceRequest>) -> Answer<wire::Workspace> {
        let (asked, message) = Asked::take(request);
        let opened = async {
            let request = convert::request(message)?;
            Ok(self.provider.open(request, &asked.context).await?.into())
        };
        asked.answer(opened.await)
    }

    async fn get(&self, request: Request<wire::GetWorkspaceRequest>) -> Answer<wire::Workspace> {
        let (asked, message) = Asked::take(request);
        asked.answer(self.provider.get(&message.workspace).await.map(Into::into))
    }

    async fn list(
        &self,
        request: Request<wire::ListWorkspacesRequest>,
    ) -> Answer<wire::WorkspaceList> {
        let (asked, _) = Asked::take(request);
        asked.answer(self.provider.list().await.map(Into::into))
    }

    async fn forget(
        &self,
        request: Request<wire::ForgetWorkspaceRequest>,
    ) -> Answer<wire::ForgetWorkspaceResponse> {
        let (asked, message) = Asked::take(request);
        let forgotten = self.provider.forget(&message.workspace, &asked.context).await;
        asked.answer(
            forgotten.map(|was_there| wire::ForgetWorkspaceResponse {
                was_already_forgotten: !was_there,
            }),
        )
    }
}
