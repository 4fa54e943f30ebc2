//! Searching.

use tonic::Request;

use super::{Answer, Api};
use crate::convert;
use crate::wire;
use crate::wire::search_server::Search;

#[tonic::async_trait]
impl Search for Api {
    async fn find(&self, request: Request<wire::SearchFilesRequest>) -> Answer<wire::FoundFiles> {
        self.answer(request, |executor, message| async move {
            Ok(executor.search_files(convert::request(message)?).await?.into())
        })
        .await
    }

    async fn grep(&self, request: Request<wire::GrepSearchRequest>) -> Answer<wire::GrepMatches> {
        self.answer(request, |executor, message| async move {
            Ok(executor.grep_search(convert::request(message)?).await?.into())
        })
        .await
    }
}
