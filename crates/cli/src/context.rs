//! What a command works with.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stigmer_api::client::RemoteExecutor;
use stigmer_core::manager::Progress;
use stigmer_core::workspace::{OpenWorkspace, Preparation};
use stigmer_core::{ByteString, ErrorCode, ExecutionMode, Result, ToolError, ToolExecutor};
use stigmer_daemon::DaemonPlace;
use stigmer_engine::configuration::variables::Key;
use stigmer_engine::{
    Configuration, Engine, Launcher, ProcessScope, Sources, Surroundings, Workspace, configuration,
};

use tokio::runtime::Runtime;

use crate::arguments::Globals;
use crate::circumstances;
use crate::commands::workspace::refill;
use crate::connection::{self, Found, Server};
use crate::outliving::Outliving;
use crate::output::Output;
use crate::places;
use crate::progress::{Shown, Telling};

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
    /// A server does the work.
    pub(crate) is_remote: bool,
    /// The commands of all workspaces: a person looks after them from wherever they are.
    pub(crate) processes: Arc<dyn ToolExecutor>,
    /// The engine in this process, if it has just made a sandbox.
    engine: Option<Engine>,
}

/// What a context is made of, before a workspace is looked at.
pub(crate) struct Settings {
    /// Those of the daemon included.
    configuration: Configuration,
    /// Where commands run.
    mode: ExecutionMode,
    /// The server to use; nothing if the engine works in this process.
    pub(crate) server: Option<Server>,
}

impl Settings {
    /// Where commands run.
    pub(crate) fn mode(&self) -> ExecutionMode {
        self.mode
    }

    /// The settings, those of the daemon included.
    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// Reads the settings, and looks for a server.
    pub(crate) fn read(globals: &Globals, surroundings: Surroundings) -> Result<Self> {
        let flags = sandbox_flags(globals);
        let mut sources = Sources { flags, surroundings, ..Sources::default() };
        let Found { mut server, settings } = connection::look(&Configuration::load(&sources)?)?;
        sources.daemon = settings;
        let configuration = Configuration::load(&sources)?;
        let mode = match globals.mode {
            Some(mode) => mode,
            None => configuration.target()?.0,
        };
        let has_sandbox = matches!(mode, ExecutionMode::Sandbox | ExecutionMode::Auto);
        if globals.sandbox_image.is_some() && !has_sandbox {
            let reason = format!("is for sandboxes, and commands run in {mode} mode");
            return Err(ToolError::invalid_argument("--sandbox-image", reason)
                .with_hint("say `--mode sandbox`, too"));
        }
        // State is on disk, so that it is the same wherever the engine works.
        let differs = |server: &Server| server.pid.is_some_and(|pid| !circumstances::same_as(pid));
        let on_host = matches!(mode, ExecutionMode::Local | ExecutionMode::Auto);
        if on_host && server.as_ref().is_some_and(differs) {
            server = None;
        }
        Ok(Self { configuration, mode, server })
    }
}

/// What a command needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    /// A workspace that is ready.
    Workspace,
    /// The commands of all workspaces: no place is made to look after them.
    Processes,
}

impl Context {
    /// Opens the workspace. Without a server `launcher` gives the supervisors.
    pub(crate) async fn open(
        globals: &Globals,
        settings: Settings,
        launcher: Option<Launcher>,
        needs: Needs,
    ) -> Result<Self> {
        let Settings { configuration, mode, server } = settings;
        let current =
            std::env::current_dir().map_err(|error| io("open", "the current directory", &error))?;
        let named = globals.workspace.as_deref().or(configuration.workspace_directory());
        let workspace = Workspace::choose(named, &current)?;
        let shown = Shown::new(if globals.json { Telling::Nothing } else { Telling::Little });
        let is_remote = server.is_some();
        let context = |mode, executor, processes, engine| Self {
            configuration: configuration.clone(),
            workspace: workspace.clone(),
            mode,
            executor,
            is_remote,
            processes,
            engine,
        };
        if needs == Needs::Processes {
            // What our daemon has started is on our disk, with supervisors that listen: whoever
            // follows it needs the daemon no more.
            let processes: Arc<dyn ToolExecutor> = match server {
                Some(Server { endpoint, pid: None }) => {
                    Arc::new(RemoteExecutor::of_all_workspaces(connection::client(endpoint)))
                }
                _ => {
                    let engine = Engine::new(configuration.clone(), None, ProcessScope::All);
                    engine.homeless(globals.workspace.as_ref().map(|_| workspace.root()))?
                }
            };
            return Ok(context(mode, Arc::clone(&processes), processes, None));
        }
        let Some(Server { endpoint, pid }) = server else {
            let engine = Engine::new(configuration.clone(), launcher, ProcessScope::All);
            let made = AtomicBool::new(false);
            let listener = |event: Progress| {
                made.store(true, Ordering::Relaxed);
                shown.show(&event);
            };
            let executor = engine
                .executor(Some(mode), &workspace, &listener)
                .await
                .map_err(|error| connection::blame(error, globals.mode, &configuration))?;
            let processes = Arc::clone(&executor);
            let engine = made.into_inner().then_some(engine);
            return Ok(context(mode, executor, processes, engine));
        };
        let request = OpenWorkspace {
            path: workspace.given().into(),
            mode: connection::mode_to_send(globals.mode, &configuration)?,
            // What auto mode's sandbox is made like, when a command needs it.
            settings: match mode {
                ExecutionMode::Auto => configuration.said_of_places(),
                _ => Vec::new(),
            },
        };
        let client = connection::client(endpoint);
        let opened = RemoteExecutor::open(client.clone(), request.clone());
        let executor = connection::in_time(opened)
            .await
            .map_err(|error| connection::blame(error, globals.mode, &configuration))?;
        let mode = executor.workspace().map_or(mode, |info| info.mode);
        if mode == ExecutionMode::Sandbox {
            // Opening has a limit; making a container, and pulling its image, has none.
            let settings = configuration.said_of_places();
            let request = OpenWorkspace { settings, ..request };
            let preparing = client.prepare(request, Preparation::Open).await?;
            places::follow(preparing, &|event| shown.show(&event)).await?;
        }
        let id = executor.workspace().map(|info| info.id.clone());
        let executor: Arc<dyn ToolExecutor> = Arc::new(executor);
        let processes: Arc<dyn ToolExecutor> = match (pid, mode) {
            // What our daemon has started on this machine is on our disk, with a supervisor that
            // listens: whoever follows it needs the daemon no more.
            (Some(_), ExecutionMode::Local) => {
                let engine = Engine::new(configuration.clone(), None, ProcessScope::All);
                engine.executor(Some(ExecutionMode::Local), &workspace, &|_| ()).await?
            }
            // So it is in lanes; and in the sandbox it needs our daemon as little.
            (Some(_), ExecutionMode::Auto) => {
                let engine = Engine::new(configuration.clone(), None, ProcessScope::All);
                engine.homeless(Some(workspace.root()))?
            }
            (_, ExecutionMode::Sandbox) => match (pid, id) {
                // A container needs our daemon as little.
                (Some(pid), Some(id)) => {
                    let engine = Engine::new(configuration.clone(), None, ProcessScope::All);
                    Arc::new(Outliving::new(Arc::clone(&executor), pid, engine, id))
                }
                _ => Arc::clone(&executor),
            },
            _ => Arc::new(RemoteExecutor::of_all_workspaces(client)),
        };
        Ok(context(mode, executor, processes, None))
    }

    /// Clears away sandboxes that nobody needs, if this program made one, and has others wait. With
    /// a daemon that does it itself.
    pub(crate) async fn clear_away(&self, globals: &Globals) {
        if let Some(engine) = &self.engine {
            refill::in_background(engine, &self.workspace, globals);
            // What is not done in this time the next one does.
            let _ = tokio::time::timeout(CLEARING, engine.reap()).await;
        }
    }
}

/// How long a command that is done may take to clear away behind others.
const CLEARING: Duration = Duration::from_secs(2);

/// What the flags say of sandboxes.
pub(crate) fn sandbox_flags(globals: &Globals) -> Vec<(Key, &'static str, String)> {
    let image = globals.sandbox_image.iter();
    image.map(|image| (Key::SandboxImage, "--sandbox-image", image.clone())).collect()
}

/// A runtime of this one thread: blocking work has threads of its own, and more would only cost
/// start-up time.
pub(crate) fn runtime() -> Result<Runtime> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| io("start", "the runtime", &error))
}

/// Warns of variables that begin as ours do and are none.
pub(crate) fn warn_of_variables(surroundings: &Surroundings, output: &mut Output) {
    for (name, near) in configuration::unknown_variables(surroundings) {
        match near {
            Some(near) => output.warn(format_args!("{name} has no effect; did you mean {near}?")),
            None => output.warn(format_args!("{name} has no effect: it is no setting")),
        }
    }
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
    let flags = mode.into_iter().chain(workspace).chain(sandbox_flags(globals)).collect();
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
