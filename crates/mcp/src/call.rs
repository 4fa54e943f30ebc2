//! One call of a tool.

use std::future::Future;
use std::sync::Arc;

use stigmer_core::{ExecutionMode, Result, ToolExecutor};
use tokio_util::sync::CancellationToken;

use crate::progress::Progress;
use crate::{Scope, Server};

/// Who calls, and what is known of the call.
pub(crate) struct Call {
    pub(crate) server: Server,
    pub(crate) scope: Scope,
    /// The client has taken it back.
    pub(crate) taken_back: CancellationToken,
    /// Where to tell how it goes, if the client asked to be told.
    pub(crate) progress: Option<Progress>,
}

impl Call {
    /// Waits until nobody wants the answer any more: the call was taken back, or its client is gone.
    pub(crate) async fn unwanted(&self) {
        tokio::select! {
            () = self.taken_back.cancelled() => {}
            () = self.server.gone.cancelled() => {}
        }
    }

    /// Whether nobody wants to know any more.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.taken_back.is_cancelled() || self.server.gone.is_cancelled()
    }

    /// The answer, or nothing if nobody wants it any more.
    pub(crate) async fn unless_unwanted<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            answer = answer => Some(answer),
            () = self.unwanted() => None,
        }
    }

    /// The operations of the workspace that was named, or the client's own.
    pub(crate) async fn executor(&self, named: Option<&str>) -> Result<Arc<dyn ToolExecutor>> {
        let info = self.scope.find(&*self.server.workspaces, named).await?;
        self.server.workspaces.executor(info.id.as_str()).await
    }

    /// Who knows commands: of the workspace that was named, or the client's own. A client without
    /// one that may use any knows the commands of all.
    pub(crate) async fn executor_of_processes(
        &self,
        named: Option<&str>,
    ) -> Result<Arc<dyn ToolExecutor>> {
        let any = self.scope.workspace.is_none() && self.scope.mode == ExecutionMode::Local;
        match named {
            None if any => self.server.workspaces.executor("").await,
            named => self.executor(named).await,
        }
    }
}
