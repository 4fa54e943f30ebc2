//! A real server over an executor of the host's, on a unix socket.

use std::collections::HashMap;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use stigmer_api::convert::errors;
use stigmer_api::{EventStream, Provider, RequestContext, ServerInfo, ServerKind};
use stigmer_core::manager::{PlaceState, PlaceStatus};
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{
    ErrorCode, ExecutionMode, FilePath, Result, ToolError, ToolExecutor, WorkspaceId,
};
use stigmer_host::HostExecutor;
use tokio::io::{AsyncWriteExt as _, Interest};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tonic::service::Routes;

/// A server that can be killed and started again.
pub(crate) struct Server {
    path: PathBuf,
    provider: Arc<OneWorkspace>,
    leaving: Leaving,
    task: tokio::task::JoinHandle<()>,
}

/// What the answer to the next request of a method is replaced by.
type Leaving = Arc<Mutex<HashMap<&'static str, ToolError>>>;

fn routes(provider: &Arc<OneWorkspace>, leaving: &Leaving) -> Routes {
    let leaving = Arc::clone(leaving);
    let routes = stigmer_api::server::routes(Arc::clone(provider) as _);
    let replace = move |request: Request, next: Next| {
        let error = leaving.lock().unwrap().remove(request.uri().path());
        async move {
            let response = next.run(request).await;
            match error {
                Some(error) => errors::status(&error).into_http(),
                None => response,
            }
        }
    };
    Routes::from(routes.into_axum_router().layer(from_fn(replace)))
}

impl Server {
    pub(crate) fn start(path: &Path, executor: Arc<HostExecutor>) -> Self {
        let descriptors = Descriptors::listen(path.with_extension("descriptors"));
        let provider = Arc::new(OneWorkspace { executor, descriptors });
        let leaving: Leaving = Arc::default();
        let task = serve(path, routes(&provider, &leaving));
        Self { path: path.to_owned(), provider, leaving, task }
    }

    /// Ends it with all its connections, as a kill would.
    pub(crate) async fn kill(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        std::fs::remove_file(&self.path).unwrap();
    }

    pub(crate) fn start_again(&mut self) {
        self.task = serve(&self.path, routes(&self.provider, &self.leaving));
    }

    /// Does the next request of a method, and answers that the server goes down.
    pub(crate) fn leave(&self, path: &'static str, code: ErrorCode) {
        let error = ToolError::new(code, "the server is shutting down");
        self.leaving.lock().unwrap().insert(path, error);
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

/// What clients on this machine handed over.
struct Descriptors {
    path: PathBuf,
    taken: Arc<Mutex<HashMap<String, OwnedFd>>>,
}

impl Descriptors {
    fn listen(path: PathBuf) -> Self {
        let listener = UnixListener::bind(&path).unwrap();
        let taken: Arc<Mutex<HashMap<_, _>>> = Arc::default();
        let keep = Arc::clone(&taken);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let taking = stream.async_io(Interest::READABLE, || take(&stream)).await;
                let (ticket, descriptor) = taking.unwrap();
                keep.lock().unwrap().insert(ticket, descriptor);
                stream.write_all(b"k").await.unwrap();
            }
        });
        Self { path, taken }
    }
}

fn take(stream: &UnixStream) -> io::Result<(String, OwnedFd)> {
    let mut line = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(&mut line)];
    let read = recvmsg(stream, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut all) => all.next(),
        _ => None,
    });
    let ticket = std::str::from_utf8(&line[..read]).unwrap().strip_suffix('\n').unwrap();
    Ok((ticket.to_owned(), descriptor.unwrap()))
}

struct OneWorkspace {
    executor: Arc<HostExecutor>,
    descriptors: Descriptors,
}

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
            descriptor_socket: Some(self.descriptors.path.clone()),
        }
    }

    async fn executor(&self, _: &str, _: &RequestContext) -> Result<Arc<dyn ToolExecutor>> {
        Ok(Arc::clone(&self.executor) as _)
    }

    async fn open(&self, _: OpenWorkspace, _: &RequestContext) -> Result<WorkspaceInfo> {
        self.get("").await
    }

    async fn get(&self, _: &str) -> Result<WorkspaceInfo> {
        Ok(WorkspaceInfo {
            id: WorkspaceId::from_number(1),
            root: FilePath::from(self.executor.root()),
            mode: ExecutionMode::Local,
            capabilities: self.executor.capabilities().clone(),
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

    async fn reset_affinity(&self, workspace: &str) -> Result<PlaceStatus> {
        Ok(PlaceStatus {
            workspace: WorkspaceId::from_number(1),
            root: workspace.into(),
            state: PlaceState::Ready,
            reason: None,
            name: None,
            image: None,
            created_ms: None,
            notes: Vec::new(),
            affinity: Vec::new(),
        })
    }

    async fn events(&self, _: Option<u64>, _: bool) -> Result<EventStream> {
        nothing()
    }

    fn take_descriptor(&self, ticket: &str) -> Result<OwnedFd> {
        let taken = self.descriptors.taken.lock().unwrap().remove(ticket);
        taken.ok_or_else(|| ToolError::invalid_argument("stdin_ticket", "is unknown"))
    }
}
