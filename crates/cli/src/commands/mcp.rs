//! `stigmer mcp`.

use std::sync::Arc;

use async_trait::async_trait;
use clap::Args;
use stigmer_api::RequestContext;
use stigmer_api::client::{Client, RemoteExecutor};
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{ExecutionMode, Result, ToolError, ToolExecutor};
use stigmer_engine::{Configuration, Engine, ProcessScope, Workspace, configuration};
use stigmer_mcp::{CommandSettings, Scope, Workspaces};
use tokio::signal::unix::{SignalKind, signal};

use super::server;
use crate::arguments::Globals;
use crate::connection::{self, Server};
use crate::context::{self, Settings, io};
use crate::output::{Failure, Output};
use crate::places;

/// Serves the Model Context Protocol to the agent that starts it.
#[derive(Debug, Args)]
#[command(after_help = "\
Standard input and output are the protocol's (stdio transport); an agent starts this, not a person.
The tools work in the workspace, by default the directory that it is started in. Commands run where
`stigmer run` would run them: through the daemon if one runs, else from here. When the agent goes,
the commands that it waited for are ended, and those in the background go on. The daemon serves the
same at http://127.0.0.1:50051/mcp. docs/mcp.md tells how agents are set up.

Examples:
  stigmer mcp
  stigmer mcp --workspace ~/project
  stigmer mcp --workspace ~/project --mode sandbox")]
pub(crate) struct Mcp {}

impl Mcp {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        if globals.json {
            let reason = "standard output is the protocol's";
            return Err(ToolError::invalid_argument("--json", reason).into());
        }
        let surroundings = context::surroundings();
        if globals.mode.is_none() {
            configuration::refuse_unknown_modes(&surroundings)?;
        }
        context::warn_of_variables(&surroundings, output);
        let settings = Settings::read(globals, surroundings)?;
        let launcher = match settings.server {
            // Supervisors are forked before this process has a second thread or a runtime.
            None => Some(server::launcher()?),
            Some(_) => None,
        };
        let runtime = context::runtime()?;
        let served = runtime.block_on(async {
            let (configuration, mode) = (settings.configuration().clone(), settings.mode());
            let current = std::env::current_dir()
                .map_err(|error| io("open", "the current directory", &error))?;
            let named = globals.workspace.as_deref().or(configuration.workspace_directory());
            let workspace = Workspace::choose(named, &current)?;
            let is_remote = settings.server.is_some();
            let (workspaces, mode): (Arc<dyn Workspaces>, _) = match settings.server {
                Some(Server { endpoint, .. }) => {
                    let mode = connection::mode_to_send(globals.mode, &configuration)?;
                    let client = connection::client(endpoint);
                    (Arc::new(There { client, configuration: configuration.clone() }), mode)
                }
                None => {
                    let scope = ProcessScope::Workspace;
                    (
                        Arc::new(Here(Engine::new(configuration.clone(), launcher, scope))),
                        Some(mode),
                    )
                }
            };
            let request =
                OpenWorkspace { path: workspace.given().into(), mode, settings: Vec::new() };
            let opened = workspaces.open(request).await;
            let info =
                opened.map_err(|error| connection::blame(error, globals.mode, &configuration))?;
            let commands = CommandSettings {
                timeout: configuration.timeout(),
                termination_grace: configuration.termination_grace(),
                caller: Some(Box::new(move || connection::caller(is_remote))),
            };
            let scope = Scope { mode: info.mode, workspace: Some(info) };
            let server = stigmer_mcp::Server::new(workspaces, commands, scope);
            stigmer_mcp::stdio::serve(server, ending()?).await
        });
        // A thread may be blocked in reading standard input; the process ends without it.
        runtime.shutdown_background();
        served.map(|()| 0).map_err(Failure::from)
    }
}

/// Waits for a signal that means the end.
fn ending() -> Result<impl Future<Output = ()>> {
    let on = |kind| signal(kind).map_err(|error| io("listen to", "signals", &error));
    let (mut term, mut int) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let mut hangup = on(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

/// The engine in this process.
struct Here(Engine);

#[async_trait]
impl Workspaces for Here {
    async fn executor(&self, workspace: &str) -> Result<Arc<dyn ToolExecutor>> {
        self.0.executor_of(workspace, &RequestContext::default())
    }

    async fn open(&self, request: OpenWorkspace) -> Result<WorkspaceInfo> {
        self.0.open_workspace(request, &RequestContext::default())
    }

    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        self.0.workspace(workspace)
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        self.0.workspaces()
    }
}

/// A daemon.
struct There {
    client: Client,
    configuration: Configuration,
}

#[async_trait]
impl Workspaces for There {
    async fn executor(&self, workspace: &str) -> Result<Arc<dyn ToolExecutor>> {
        if workspace.is_empty() {
            return Ok(Arc::new(RemoteExecutor::of_all_workspaces(self.client.clone())));
        }
        let info = connection::in_time(self.client.workspace(workspace)).await?;
        let mode = info.mode;
        let settings = match mode {
            ExecutionMode::Sandbox | ExecutionMode::Auto => self.configuration.said_of_places(),
            _ => Vec::new(),
        };
        let request = OpenWorkspace { path: info.root, mode: Some(mode), settings };
        if mode == ExecutionMode::Sandbox {
            // Opening has a limit; making a container, and pulling its image, has none.
            let preparing = self.client.prepare(request.clone(), Preparation::Open).await?;
            places::follow(preparing, &|_| ()).await?;
        }
        // What auto mode's sandbox is made like counts when a command needs it.
        let settings = match mode {
            ExecutionMode::Auto => request.settings,
            _ => Vec::new(),
        };
        let request = OpenWorkspace { settings, ..request };
        let opened = RemoteExecutor::open(self.client.clone(), request);
        Ok(Arc::new(connection::in_time(opened).await?))
    }

    async fn open(&self, request: OpenWorkspace) -> Result<WorkspaceInfo> {
        connection::in_time(self.client.open_workspace(request)).await
    }

    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo> {
        connection::in_time(self.client.workspace(workspace)).await
    }

    async fn list(&self) -> Result<Vec<WorkspaceInfo>> {
        connection::in_time(self.client.workspaces()).await
    }
}
