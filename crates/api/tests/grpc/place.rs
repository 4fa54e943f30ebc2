//! A workspace on this machine, and a server of it.

use std::collections::HashMap;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use libtest_mimic::Trial;
use stigmer_api::{EventStream, Provider, RequestContext, ServerInfo, ServerKind, server, wire};
use stigmer_core::event::{Event, EventKind};
use stigmer_core::process::Command;
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{ErrorCode, ExecutionMode, Result, ToolError, ToolExecutor, WorkspaceId};
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions};
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::transport::Channel;

/// How long one test may take. Only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

pub(crate) struct Place {
    pub(crate) home: tempfile::TempDir,
    pub(crate) executor: Arc<HostExecutor>,
    pub(crate) provider: Arc<One>,
    pub(crate) routes: Routes,
}

/// Serves one workspace.
pub(crate) struct One {
    executor: Arc<HostExecutor>,
    pub(crate) tickets: Mutex<HashMap<String, OwnedFd>>,
    pub(crate) asked: Mutex<Option<RequestContext>>,
    /// Whether a stream of events that was followed is gone.
    pub(crate) dropped: watch::Sender<bool>,
}

/// Part of a stream; says when it is gone.
struct Held(watch::Sender<bool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}

impl One {
    fn workspace(&self) -> WorkspaceInfo {
        WorkspaceInfo {
            id: WorkspaceId::from_number(1),
            root: self.executor.root().into(),
            mode: ExecutionMode::Local,
            capabilities: self.executor.capabilities().clone(),
            opened_ms: 1,
            server_settings: vec![("execution_mode".into(), "local".into())],
        }
    }
}

fn unknown(workspace: &str) -> ToolError {
    let message = format!("no workspace has the id {workspace}");
    ToolError::new(ErrorCode::UnknownWorkspace, message)
}

#[tonic::async_trait]
impl Provider for One {
    fn info(&self) -> ServerInfo {
        ServerInfo {
            version: "1".into(),
            kind: ServerKind::Sidecar,
            pid: 2,
            uid: 3,
            started_ms: 4,
            descriptor_socket: Some("/s".into()),
        }
    }
    async fn executor(
        &self,
        workspace: &str,
        context: &RequestContext,
    ) -> Result<Arc<dyn ToolExecutor>> {
        *self.asked.lock().unwrap() = Some(context.clone());
        if !workspace.is_empty() {
            return Err(unknown(workspace));
        }
        Ok(Arc::clone(&self.executor) as Arc<dyn ToolExecutor>)
    }
    async fn open(&self, request: OpenWorkspace, _: &RequestContext) -> Result<WorkspaceInfo> {
        Ok(WorkspaceInfo { root: request.path, ..self.workspace() })
    }
    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        let known = Some(self.workspace()).filter(|known| known.id.as_str() == workspace);
        known.ok_or_else(|| unknown(workspace))
    }
    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        Ok(vec![self.workspace()])
    }
    async fn forget(&self, workspace: &str, _: &RequestContext) -> Result<bool> {
        Ok(self.get(workspace).await.is_ok())
    }
    async fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream> {
        let event = |next| Event {
            next,
            at_ms: 1,
            workspace: "/w".into(),
            request_id: None,
            kind: EventKind::EventsLost,
        };
        let first = since.unwrap_or(0);
        let events = stream::iter([Ok(event(first + 1))]);
        if !follow {
            return Ok(Box::pin(events.chain(stream::iter([Err(unknown("of the event"))]))));
        }
        let held = Held(self.dropped.clone());
        Ok(Box::pin(events.chain(stream::pending()).inspect(move |_| {
            let _ = &held;
        })))
    }
    fn take_descriptor(&self, ticket: &str) -> Result<OwnedFd> {
        let none = || ToolError::invalid_argument("stdin_ticket", "there is no such ticket");
        self.tickets.lock().unwrap().remove(ticket).ok_or_else(none)
    }
}

impl Place {
    fn new(launcher: &Arc<Launcher>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap().join("workspace");
        std::fs::create_dir(&root).unwrap();
        let processes =
            ProcessOptions { launcher: Some(Arc::clone(launcher)), ..ProcessOptions::default() };
        let options =
            HostOptions { processes, ..HostOptions::new(root, home.path().join("state")) };
        let executor = Arc::new(HostExecutor::open(options).unwrap());
        let provider = Arc::new(One {
            executor: Arc::clone(&executor),
            tickets: Mutex::default(),
            asked: Mutex::default(),
            dropped: watch::Sender::new(false),
        });
        let routes = server::routes(Arc::clone(&provider) as Arc<dyn Provider>);
        Self { home, executor, provider, routes }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.home.path().join("workspace").join(name)
    }
}

/// One test, in a runtime of its own with a workspace of its own.
pub(crate) fn trial<F: Future<Output = ()>>(
    launcher: &Arc<Launcher>,
    name: &str,
    test: impl FnOnce(Place) -> F + Send + 'static,
) -> Trial {
    let launcher = Arc::clone(launcher);
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let place = async { tokio::time::timeout(HANG, test(Place::new(&launcher))).await };
        runtime.block_on(place).map_err(|_| "hangs".into())
    })
}

/// Lists the functions of a module as tests.
macro_rules! trials {
    ($($test:ident,)+) => {
        pub(crate) fn trials(
            launcher: &std::sync::Arc<stigmer_host::Launcher>,
        ) -> Vec<libtest_mimic::Trial> {
            let module = module_path!().rsplit("::").next().unwrap();
            vec![$($crate::place::trial(
                launcher, &format!("{module}::{}", stringify!($test)), $test,
            ),)+]
        }
    };
}
pub(crate) use trials;

pub(crate) fn shell(line: &str) -> Option<wire::Command> {
    Some(Command::Shell(line.into()).into())
}

/// What failed, as a client of ours understands it.
pub(crate) fn error<T>(result: Result<T, tonic::Status>) -> ToolError {
    match result {
        Ok(_) => panic!("it did not fail"),
        Err(status) => stigmer_api::convert::errors::from_status(&status),
    }
}

/// A connection of its own, as a real server has them.
pub(crate) async fn connect(place: &Place) -> Channel {
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use hyper_util::service::TowerToHyperService;
    let (near, far) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(place.routes.clone());
    tokio::spawn(async move {
        let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
        // A connection that is lost is what this is for.
        let _ = builder.serve_connection(TokioIo::new(far), service).await;
    });
    let near = Mutex::new(Some(near));
    let connector = tower::service_fn(move |_: http::Uri| {
        let near = near.lock().unwrap().take();
        async { near.map(TokioIo::new).ok_or_else(|| std::io::Error::other("once only")) }
    });
    let endpoint = tonic::transport::Endpoint::from_static("http://here");
    endpoint.connect_with_connector(connector).await.unwrap()
}
