//! What a command works with.

use std::path::PathBuf;
use std::sync::Arc;

use stigmer_api::client::{Endpoint, RemoteExecutor};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ByteString, ErrorCode, ExecutionMode, Result, ToolError, ToolExecutor};
use stigmer_daemon::DaemonPlace;
use stigmer_engine::configuration::variables::Key;
use stigmer_engine::{
    Configuration, Engine, Launcher, ProcessScope, Sources, Surroundings, Workspace, configuration,
};

use tokio::runtime::Runtime;

use crate::arguments::Globals;
use crate::connection;

/// An open workspace.
pub(crate) struct Context {
    /// The settings, those of the daemon included.
    pub(crate) configuration: Configuration,
    /// Where the command works.
    pub(crate) workspace: Workspace,
    /// Where processes run.
    pub(crate) mode: ExecutionMode,
    /// The operations.
    pub(crate) executor: Arc<dyn ToolExecutor>,
    /// The commands of all workspaces: a person looks after them from wherever they are.
    pub(crate) processes: Arc<dyn ToolExecutor>,
}

/// What a context is made of, before a workspace is looked at.
pub(crate) struct Settings {
    sources: Sources,
    configuration: Configuration,
    /// The server to use; nothing if the engine works in this process.
    pub(crate) server: Option<Endpoint>,
}

impl Settings {
    /// Reads the settings, and looks for a server.
    pub(crate) fn read(surroundings: Surroundings) -> Result<Self> {
        let sources = Sources { surroundings, ..Sources::default() };
        let configuration = Configuration::load(&sources)?;
        let server = connection::server(&configuration)?;
        Ok(Self { sources, configuration, server })
    }
}

impl Context {
    /// Opens the workspace. Without a server `launcher` gives the supervisors.
    pub(crate) async fn open(
        globals: &Globals,
        settings: Settings,
        launcher: Option<Launcher>,
    ) -> Result<Self> {
        let Settings { sources, configuration, server } = settings;
        let current =
            std::env::current_dir().map_err(|error| io("open", "the current directory", &error))?;
        let named = globals.workspace.as_deref().or(configuration.workspace_directory());
        let workspace = Workspace::choose(named, &current)?;
        match server {
            Some(endpoint) => {
                Self::through(globals, endpoint, sources, &configuration, workspace).await
            }
            None => {
                let engine = Engine::new(configuration.clone(), launcher, ProcessScope::All);
                let mode = engine.mode(globals.mode)?;
                let executor = engine.executor(globals.mode, &workspace)?;
                let processes = Arc::clone(&executor);
                Ok(Self { configuration, workspace, mode, executor, processes })
            }
        }
    }

    /// Opens the workspace in a server, whose settings count where the caller set nothing.
    async fn through(
        globals: &Globals,
        endpoint: Endpoint,
        mut sources: Sources,
        configuration: &Configuration,
        workspace: Workspace,
    ) -> Result<Self> {
        let request = OpenWorkspace {
            path: workspace.given().into(),
            mode: connection::mode_to_send(globals.mode, configuration)?,
        };
        let client = connection::client(endpoint);
        let processes = Arc::new(RemoteExecutor::of_all_workspaces(client.clone()));
        let executor = RemoteExecutor::open(client, request)
            .await
            .map_err(|error| connection::blame(error, globals.mode, configuration))?;
        let info = executor.workspace().cloned().ok_or_else(|| {
            ToolError::new(ErrorCode::Io, "the server's answer: it names no workspace")
        })?;
        sources.daemon = configuration::daemon::from_daemon(&info.server_settings)?;
        let configuration = Configuration::load(&sources)?;
        let executor = Arc::new(executor);
        Ok(Self { configuration, workspace, mode: info.mode, executor, processes })
    }
}

/// A runtime of this one thread: blocking work has threads of its own, and more would only cost
/// start-up time.
pub(crate) fn runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| io("start", "the runtime", &error))
}

/// This process's environment and the user's home, for the engine, which looks at neither.
pub(crate) fn surroundings() -> Surroundings {
    let home = std::env::home_dir().filter(|home: &PathBuf| home.is_absolute());
    Surroundings { environment: std::env::vars_os().collect(), home }
}

/// Where settings come from for the commands that show what is in force: the flags that every
/// command has are settings too.
///
/// `version`, `completions` and the commands that change the file answer the same whatever these
/// flags say, and take them without a word, so that an alias with a flag in it works for them.
pub(crate) fn sources(globals: &Globals) -> Sources {
    let mode = globals.mode.map(|mode| (Key::ExecutionMode, "--mode", mode.name().to_owned()));
    let workspace = globals.workspace.as_ref();
    let workspace = workspace
        .map(|path| (Key::WorkspaceDir, "--workspace", path.to_string_lossy().into_owned()));
    let flags = mode.into_iter().chain(workspace).collect();
    Sources { flags, surroundings: surroundings(), ..Sources::default() }
}

/// The same with the settings of a daemon that runs, which count where the caller set nothing.
///
/// # Errors
/// `bad_configuration` for what cannot be read, or what this version does not know.
pub(crate) fn sources_with_daemon(globals: &Globals) -> Result<Sources> {
    let mut sources = sources(globals);
    let configuration = Configuration::load(&sources)?;
    if let Ok(place) = DaemonPlace::of(&configuration)
        && let Some(record) = stigmer_daemon::find(&place)?.and_then(|running| running.record)
    {
        sources.daemon = configuration::daemon::from_daemon(&record.settings)?;
    }
    Ok(sources)
}

/// What the operating system said of a thing of ours.
pub(crate) fn io(operation: &str, what: &str, error: &std::io::Error) -> ToolError {
    let mut error = ToolError::from_io(operation, &ByteString::from(what), error);
    // Hints about a missing file or a directory are about those in the workspace.
    if matches!(
        error.code,
        ErrorCode::NotFound | ErrorCode::IsDirectory | ErrorCode::NotADirectory | ErrorCode::Exists
    ) {
        error.hint = None;
    }
    error
}
