//! Workspaces.

use futures_util::StreamExt as _;
use tonic::Request;

use super::context::Asked;
use super::{Answer, Answers, Api};
use crate::convert;
use crate::provider::Preparing;
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

    type PrepareStream = Answers<wire::Preparing>;

    async fn prepare(&self, request: Request<wire::PrepareRequest>) -> Answer<Self::PrepareStream> {
        let (asked, message) = Asked::take(request);
        let preparing = async {
            let (open, preparation) = convert::request(message)?;
            self.provider.prepare(open, preparation, &asked.context).await
        };
        let preparing = preparing.await;
        let each = asked.clone();
        asked.answer(preparing.map(|preparing| -> Self::PrepareStream {
            let wire = move |event: stigmer_core::Result<Preparing>| {
                event.map(Into::into).map_err(|error| each.refuse(&error))
            };
            Box::pin(preparing.map(wire))
        }))
    }

    async fn status(&self, request: Request<wire::PlaceRequest>) -> Answer<wire::PlaceStatus> {
        let (asked, message) = Asked::take(request);
        asked.answer(self.provider.place_status(&message.workspace).await.map(Into::into))
    }

    async fn places(&self, request: Request<wire::PlacesRequest>) -> Answer<wire::PlaceList> {
        let (asked, _) = Asked::take(request);
        asked.answer(self.provider.places().await.map(Into::into))
    }

    async fn stop(&self, request: Request<wire::PlaceRequest>) -> Answer<wire::PlaceStatus> {
        let (asked, message) = Asked::take(request);
        asked.answer(self.provider.stop_place(&message.workspace).await.map(Into::into))
    }

    async fn remove(&self, request: Request<wire::PlaceRequest>) -> Answer<wire::PlaceStatus> {
        let (asked, message) = Asked::take(request);
        asked.answer(self.provider.remove_place(&message.workspace).await.map(Into::into))
    }

    async fn reset_affinity(
        &self,
        request: Request<wire::PlaceRequest>,
    ) -> Answer<wire::PlaceStatus> {
        let (asked, message) = Asked::take(request);
        asked.answer(self.provider.reset_affinity(&message.workspace).await.map(Into::into))
    }
}
