//! A real server over an executor of the host's, on a unix socket.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use stigmer_api::{EventStream, Provider, RequestContext, ServerInfo, ServerKind};
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{
    ErrorCode, ExecutionMode, FilePath, Result, ToolError, ToolExecutor, WorkspaceId,
};
use stigmer_host::HostExecutor;
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tonic::service::Routes;

/// A server that can be killed and started again.
pub(crate) struct Server {
    path: PathBuf,
    provider: Arc<OneWorkspace>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    pub(crate) fn start(path: &Path, executor: Arc<HostExecutor>) -> Self {
        let provider = Arc::new(OneWorkspace(executor));
        let task = serve(path, stigmer_api::server::routes(Arc::clone(&provider) as _));
        Self { path: path.to_owned(), provider, task }
    }

    /// Ends it with all its connections, as a kill would.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        std::fs::remove_file(&self.path).unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        let routes = stigmer_api::server::routes(Arc::clone(&self.provider) as _);
        self.task = serve(&self.path, routes);
    }
}

/// Serves routes on a unix socket until the task is aborted, and all connections with it.
pub(crate) fn serve(path: &Path, routes: Routes) -> tokio::task::JoinHandle<()> {
    let listener = UnixListener::bind(path).unwrap();
    let router = routes.into_axum_router();
    tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(router.clone());
            connections.spawn(async move {
                let builder = Builder::new(TokioExecutor::new()).http2_only();
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    })
}

struct OneWorkspace(Arc<HostExecutor>);

fn nothing<T>() -> Result<T> {
    Err(ToolError::new(ErrorCode::Unsupported, "this server has one workspace"))
}

#[async_trait]
impl Provider for OneWorkspace {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "0.0.1".to_owned(),
            kind: ServerKind::Sidecar,
            pid: std::process::id(),
            uid: 0,
            started_ms: 0,
            descriptor_socket: None,
        }
    }

    async fn executor(&self, _: &str, _: &RequestContext) -> Result<Arc<dyn ToolExecutor>> {
        Ok(Arc::clone(&self.0) as _)
    }

    async fn open(&self, _: OpenWorkspace, _: &RequestContext) -> Result<WorkspaceInfo> {
        self.get("").await
    }

    async fn get(&self, _: &str) -> Result<WorkspaceInfo> {
        Ok(WorkspaceInfo {
            id: WorkspaceId::from_number(1),
            root: FilePath::from(self.0.root()),
            mode: ExecutionMode::Local,
            capabilities: self.0.capabilities().clone(),
            opened_ms: 0,
            server_settings: Vec::new(),
        })
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        Ok(vec![self.get("").await?])
    }

    async fn forget(&self, _: &str, _: &RequestContext) -> Result<bool> {
        nothing()
    }

    async fn events(&self, _: Option<u64>, _: bool) -> Result<EventStream> {
        nothing()
    }

    fn take_descriptor(&self, _: &str) -> Result<OwnedFd> {
        nothing()
    }
}
