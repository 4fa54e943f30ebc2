//! Composition: settings, modes and workspaces become a [`ToolExecutor`].
//!
//! Front-ends ask the [`Engine`] for an executor and never make one themselves. That is what keeps
//! the one promise of the modes: a mode that cannot be had is an error, never the bare host.

mod audit;
mod auto;
mod cache;
pub mod configuration;
pub mod doctor;
mod homeless;
mod routing;
mod sandbox;
mod secret;
mod store;
mod workspace;
mod workspaces;

use std::sync::{Arc, Mutex};

use stigmer_api::RequestContext;
use stigmer_core::manager::Listener;
use stigmer_core::workspace::Preparation;
use stigmer_core::{
    ErrorCode, ExecutionMode, FilePath, Result, ToolError, ToolExecutor, WorkspaceManager,
};
use stigmer_host::journal::{self, Journal};
use stigmer_host::{Held, HostExecutor, HostOptions, ProcessOptions};

use audit::Audited;
use auto::{AutoWorkspace, Confining};
use cache::{Cache, Kept};
use sandbox::Sandboxes;
use store::Store;

pub use stigmer_host::{Launcher, ProcessScope, Reserve};

pub use auto::{OwnedListener, RouteCount};
pub use configuration::{Configuration, Sources, Surroundings};
pub use routing::{Explanation, Router};
pub use sandbox::{Factory, LOCAL_IMAGE};
pub use secret::{REDACTED, Secret};
pub use stigmer_route::Verdict;
pub use workspace::Workspace;

/// All execution modes, in the order in which they are shown.
pub const EXECUTION_MODES: [ExecutionMode; 6] = [
    ExecutionMode::Local,
    ExecutionMode::Sandbox,
    ExecutionMode::Auto,
    ExecutionMode::Firecracker,
    ExecutionMode::Kubernetes,
    ExecutionMode::Cloud,
];

/// The execution mode of this name.
pub fn execution_mode_named(name: &str) -> Option<ExecutionMode> {
    EXECUTION_MODES.into_iter().find(|mode| mode.name() == name)
}

/// What all front-ends share.
#[derive(Debug)]
pub struct Engine {
    configuration: Configuration,
    launcher: Option<Arc<Launcher>>,
    scope: ProcessScope,
    /// Missing where there is no home for it.
    journal: Option<Arc<Journal>>,
    cache: Mutex<Cache>,
    sandboxes: Arc<Sandboxes>,
    auto: Arc<auto::Shared>,
}

impl Engine {
    /// An engine with these settings. Without a launcher it starts no commands; `scope` says whose
    /// processes its executors know.
    pub fn new(
        configuration: Configuration,
        launcher: Option<Launcher>,
        scope: ProcessScope,
    ) -> Self {
        Self::with_managers(configuration, launcher.map(Arc::new), scope, Box::new(docker))
    }

    /// An engine whose sandboxes are got from elsewhere: for tests, and a backend of one's own.
    pub fn with_managers(
        configuration: Configuration,
        launcher: Option<Arc<Launcher>>,
        scope: ProcessScope,
        make: Factory,
    ) -> Self {
        let state = configuration.state_directory().ok();
        let sandboxes = Sandboxes::new(configuration.clone(), make);
        let journal = state.map(|state| Arc::new(Journal::new(journal::directory(&state))));
        let (shared, told) = (Arc::clone(&sandboxes), journal.clone());
        let auto = auto::Shared::new(configuration.clone(), shared, told);
        Self { configuration, launcher, scope, journal, cache: Mutex::default(), sandboxes, auto }
    }

    /// The settings.
    pub fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    /// What the environment has set that this program was started with, for its clients: names of
    /// settings and their values, without secrets.
    pub fn settings_of_environment(&self) -> Vec<(String, String)> {
        self.configuration.of_environment()
    }

    /// Where commands run: what the flag says, else what the settings say.
    ///
    /// # Errors
    /// `bad_configuration` for settings that contradict each other.
    pub fn mode(&self, flag: Option<ExecutionMode>) -> Result<ExecutionMode> {
        match flag {
            Some(mode) => Ok(mode),
            None => self.configuration.target().map(|(mode, _)| mode),
        }
    }

    /// The tool operations in a workspace, ready to be used. `listener` is told what is going on
    /// where that takes a while.
    ///
    /// # Errors
    /// `bad_configuration`; `not_available` for a mode that this build does not have: what was to
    /// be isolated never runs on the host instead; and what opening the workspace says.
    pub async fn executor(
        &self,
        flag: Option<ExecutionMode>,
        workspace: &Workspace,
        listener: Listener<'_>,
    ) -> Result<Arc<dyn ToolExecutor>> {
        let mode = self.mode(flag)?;
        let context = RequestContext::default();
        if mode == ExecutionMode::Sandbox {
            let said = self.configuration.said_of_places();
            let record = self.record_sandbox(workspace, &said, &context)?;
            let sandbox = self.sandboxes.with(&record, said)?;
            sandbox.prepare(Preparation::Open, listener).await?;
            return Ok(self.audited(sandbox, record.root, context));
        }
        let said = || Some(self.configuration.said_of_places());
        Ok(self.executor_in(self.kept_in(mode, flag, workspace, said)?, context))
    }

    /// What can be kept of a mode's executor; `flag` is for the message, and `said` is what is said of the
    /// sandbox that auto mode uses, if it is not what was said last.
    fn kept_in(
        &self,
        mode: ExecutionMode,
        flag: Option<ExecutionMode>,
        workspace: &Workspace,
        said: impl FnOnce() -> Option<Vec<(String, String)>>,
    ) -> Result<Kept> {
        match mode {
            ExecutionMode::Local => {
                Ok(Kept::Host(Arc::new(self.host(workspace, self.scope, None)?)))
            }
            ExecutionMode::Auto => {
                let host = self.host(workspace, self.scope, Some(auto::is_held))?;
                let (shared, host) = (Arc::clone(&self.auto), Confining::new(Arc::new(host)));
                Ok(Kept::Auto(AutoWorkspace::new(shared, host, said())))
            }
            ExecutionMode::Sandbox
            | ExecutionMode::Firecracker
            | ExecutionMode::Kubernetes
            | ExecutionMode::Cloud => Err(self.not_available(mode, flag)),
        }
    }

    /// The executor for one request.
    fn executor_in(&self, kept: Kept, context: RequestContext) -> Arc<dyn ToolExecutor> {
        match kept {
            Kept::Host(executor) => {
                let root = FilePath::from(executor.root());
                self.audited(executor, root, context)
            }
            Kept::Auto(workspace) => {
                let root = workspace.root().clone();
                let executor = auto::Automatic { workspace, context: context.clone() };
                self.audited(Arc::new(executor), root, context)
            }
        }
    }

    /// Has somebody told how far a sandbox is that a command of auto mode waits for: it is opened when the
    /// first command needs it, and not with the executor. Who comes later is told instead.
    pub fn tell_of_sandboxes(&self, listener: OwnedListener) {
        self.auto.listen(listener);
    }

    /// How many commands each rule of auto mode has sent to each lane, since this engine was made.
    pub fn route_counts(&self) -> Vec<RouteCount> {
        self.auto.counts()
    }

    /// An executor whose changes to files are told to the journal.
    fn audited(
        &self,
        inner: Arc<dyn ToolExecutor>,
        workspace: FilePath,
        context: RequestContext,
    ) -> Arc<dyn ToolExecutor> {
        match &self.journal {
            Some(journal) => {
                let journal = Arc::clone(journal);
                Arc::new(Audited { inner, journal, workspace, context })
            }
            None => inner,
        }
    }

    fn store(&self) -> Result<Store> {
        Ok(Store::new(&self.configuration.state_directory()?))
    }

    /// The one place where the host's executor is made. No operation changes files that are held.
    fn host(
        &self,
        workspace: &Workspace,
        scope: ProcessScope,
        held: Option<Held>,
    ) -> Result<HostExecutor> {
        let options = HostOptions {
            // As it was named, so that absolute paths may name it so too.
            root: workspace.given().to_owned(),
            state: self.configuration.state_directory()?,
            resolver: None,
            processes: ProcessOptions {
                launcher: self.launcher.clone(),
                scope,
                output_cap: self.configuration.output_cap(),
                retention: self.configuration.output_retention(),
                ..ProcessOptions::default()
            },
        };
        let host = match held {
            Some(held) => HostExecutor::open_holding(options, held),
            None => HostExecutor::open(options),
        }?;
        if host.root() != workspace.root() {
            let given = workspace.given().display();
            return Err(ToolError::new(
                ErrorCode::Busy,
                format!("{given}: led to another directory while it was opened"),
            ));
        }
        Ok(host)
    }

    fn not_available(&self, mode: ExecutionMode, flag: Option<ExecutionMode>) -> ToolError {
        let origin = match (flag, self.configuration.target()) {
            (None, Ok((_, Some(origin)))) => format!(" ({origin} asks for it)"),
            _ => String::new(),
        };
        ToolError::not_available(format!("execution mode {mode}"))
            .with_detail("mode", mode.name())
            .with_hint(format!(
                "nothing was run{origin}; `--mode local` works on this machine, without isolation"
            ))
    }
}

/// Gets places from the container engine.
fn docker(options: stigmer_docker::DockerOptions) -> Result<Arc<dyn WorkspaceManager>> {
    Ok(Arc::new(stigmer_docker::DockerManager::new(options)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(home: &std::path::Path, variables: &[(&str, &str)]) -> Engine {
        let environment = variables.iter().map(|(name, value)| (name.into(), value.into()));
        let surroundings =
            Surroundings { environment: environment.collect(), home: Some(home.to_owned()) };
        let sources = Sources { surroundings, ..Sources::default() };
        Engine::new(Configuration::load(&sources).unwrap(), None, ProcessScope::Workspace)
    }

    #[test]
    fn every_name_is_found_and_nothing_else() {
        for mode in EXECUTION_MODES {
            assert_eq!(execution_mode_named(mode.name()), Some(mode));
        }
        assert_eq!(execution_mode_named("Local"), None);
    }

    /// Whatever asks for another mode, the host is not used.
    #[tokio::test]
    async fn a_mode_that_is_not_there_never_runs_on_the_host() {
        let scratch = tempfile::tempdir().unwrap();
        let workspace = Workspace::choose(None, scratch.path()).unwrap();
        type Case = (Option<ExecutionMode>, Vec<(&'static str, &'static str)>);
        let by_flag = |mode| (Some(mode), vec![]);
        let mut cases: Vec<Case> = EXECUTION_MODES[3..].iter().map(|mode| by_flag(*mode)).collect();
        cases.extend([
            (None, vec![("AGENT_MODE", "firecracker")]),
            (None, vec![("FIRECRACKER_ENABLED", "true")]),
            (None, vec![("SANDBOX_TYPE", "daytona"), ("DAYTONA_API_KEY", "k")]),
            (None, vec![("MODE", "cloud"), ("DAYTONA_API_KEY", "k"), ("REDIS_HOST", "r")]),
            // A flag for isolation overrules an environment for the host.
            (Some(ExecutionMode::Cloud), vec![("STIGMER_EXECUTION_MODE", "local")]),
        ]);
        for (flag, variables) in cases {
            let engine = engine(scratch.path(), &variables);
            let Err(error) = engine.executor(flag, &workspace, &|_| ()).await else {
                panic!("{flag:?} {variables:?} ran on the host");
            };
            assert_eq!(error.code, ErrorCode::NotAvailable, "{flag:?} {variables:?}");
            assert!(error.hint.unwrap().contains("--mode local"));
        }
        let engine = engine(scratch.path(), &[("MODE", "cloud")]);
        let error = engine.executor(None, &workspace, &|_| ()).await;
        assert_eq!(error.err().unwrap().code, ErrorCode::BadConfiguration);
    }

    #[tokio::test]
    async fn a_link_that_led_elsewhere_meanwhile_is_not_opened() {
        let scratch = tempfile::tempdir().unwrap();
        let link = scratch.path().join("link");
        for name in ["a", "b"] {
            std::fs::create_dir(scratch.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("a", &link).unwrap();
        let workspace = Workspace::choose(Some(&link), scratch.path()).unwrap();
        let engine = engine(scratch.path(), &[]);
        let open = async || engine.executor(None, &workspace, &|_| ()).await.map(drop);
        open().await.unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink("b", &link).unwrap();
        assert_eq!(open().await.unwrap_err().code, ErrorCode::Busy);
    }

    #[test]
    fn the_flag_overrules_the_environment() {
        let scratch = tempfile::tempdir().unwrap();
        let engine = engine(scratch.path(), &[("STIGMER_EXECUTION_MODE", "sandbox")]);
        assert_eq!(engine.mode(None).unwrap(), ExecutionMode::Sandbox);
        assert_eq!(engine.mode(Some(ExecutionMode::Local)).unwrap(), ExecutionMode::Local);
    }
}
