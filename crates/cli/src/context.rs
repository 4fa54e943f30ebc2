//! What a command works with.

use std::path::PathBuf;
use std::sync::Arc;

use stigmer_core::{ByteString, ErrorCode, ExecutionMode, Result, ToolError, ToolExecutor};
use stigmer_engine::configuration::variables::Key;
use stigmer_engine::{
    Configuration, Engine, Launcher, ProcessScope, Sources, Surroundings, Workspace,
};

use crate::arguments::Globals;

/// An open workspace.
#[allow(dead_code, reason = "the commands that run processes read the settings")]
pub(crate) struct Context {
    /// The engine, and with it the settings.
    pub(crate) engine: Engine,
    /// Where the command works.
    pub(crate) workspace: Workspace,
    /// Where processes run.
    pub(crate) mode: ExecutionMode,
    /// The operations.
    pub(crate) executor: Arc<dyn ToolExecutor>,
}

impl Context {
    /// Reads the settings and opens the workspace.
    pub(crate) fn open(globals: &Globals, launcher: Option<Launcher>) -> Result<Self> {
        let sources = Sources { surroundings: surroundings(), ..Sources::default() };
        let configuration = Configuration::load(&sources)?;
        // A person looks after their commands from wherever they are.
        let engine = Engine::new(configuration, launcher, ProcessScope::All);
        let current =
            std::env::current_dir().map_err(|error| io("open", "the current directory", &error))?;
        let named = globals.workspace.as_deref().or(engine.configuration().workspace_directory());
        let workspace = Workspace::choose(named, &current)?;
        let mode = engine.mode(globals.mode)?;
        let executor = engine.executor(globals.mode, &workspace)?;
        Ok(Self { engine, workspace, mode, executor })
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
    let flags = mode.into_iter().chain(workspace).collect();
    Sources { flags, surroundings: surroundings(), ..Sources::default() }
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
