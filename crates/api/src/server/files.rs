//! Files.

use tonic::Request;

use super::{Answer, Api};
use crate::convert;
use crate::wire;
use crate::wire::files_server::Files;

#[tonic::async_trait]
impl Files for Api {
    async fn read(&self, request: Request<wire::ReadFileRequest>) -> Answer<wire::FileContent> {
        self.answer(request, |executor, message| async move {
            Ok(executor.read_file(convert::request(message)?).await?.into())
        })
        .await
    }

    async fn stat(&self, request: Request<wire::StatFileRequest>) -> Answer<wire::FileStat> {
        self.answer(request, |executor, message| async move {
            Ok(executor.stat_file(convert::request(message)?).await?.into())
        })
        .await
    }

    async fn write(&self, request: Request<wire::WriteFileRequest>) -> Answer<wire::WriteSummary> {
        self.answer(request, |executor, message| async move {
            Ok(executor.write_file(convert::request(message)?).await?.into())
        })
        .await
    }

    async fn edit(&self, request: Request<wire::EditFileRequest>) -> Answer<wire::EditSummary> {
        self.answer(request, |executor, message| async move {
            Ok(executor.edit_file(convert::request(message)?).await?.into())
        })
        .await
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteFileRequest>,
    ) -> Answer<wire::DeleteSummary> {
        self.answer(request, |executor, message| async move {
            Ok(executor.delete_file(convert::request(message)?).await?.into())
        })
        .await
    }

    async fn r#move(
        &self,
        request: Request<wire::MovePathRequest>,
    ) -> Answer<wire::MovePathResponse> {
        self.answer(request, |executor, message| async move {
            executor.move_path(convert::request(message)?).await?;
            Ok(wire::MovePathResponse {})
        })
        .await
    }

    async fn make_directory(
        &self,
        request: Request<wire::MakeDirectoryRequest>,
    ) -> Answer<wire::MakeDirectoryResponse> {
        self.answer(request, |executor, message| async move {
            executor.make_directory(convert::request(message)?).await?;
            Ok(wire::MakeDirectoryResponse {})
        })
        .await
    }

    async fn list(&self, request: Request<wire::ListDirectoryRequest>) -> Answer<wire::Listing> {
        self.answer(request, |executor, message| async move {
            Ok(executor.list_directory(convert::request(message)?).await?.into())
        })
        .await
    }
}
