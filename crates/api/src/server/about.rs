//! The server itself, and what happens in it.

use futures_util::StreamExt as _;
use tonic::Request;

use super::context::Asked;
use super::{Answer, Answers, Api};
use crate::wire;
use crate::wire::server_server::Server;

#[tonic::async_trait]
impl Server for Api {
    async fn info(&self, request: Request<wire::InfoRequest>) -> Answer<wire::ServerInfo> {
        Asked::take(request).0.answer(Ok(self.provider.info().into()))
    }

    type EventsStream = Answers<wire::Event>;

    async fn events(&self, request: Request<wire::EventsRequest>) -> Answer<Self::EventsStream> {
        let (asked, message) = Asked::take(request);
        let events = self.provider.events(message.since, !message.no_follow).await;
        let each = asked.clone();
        asked.answer(events.map(|events| -> Self::EventsStream {
            let wire = move |event: stigmer_core::Result<stigmer_core::event::Event>| {
                event.map(Into::into).map_err(|error| each.refuse(&error))
            };
            Box::pin(events.map(wire))
        }))
    }
}
