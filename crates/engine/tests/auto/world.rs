//! A home with a workspace, and an engine whose sandboxes are the host without any confinement: what runs
//! there can be told from what runs in a lane.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stigmer_api::RequestContext;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::manager::{Listener, PlaceFate, PlaceState, PlaceStatus, Progress, Site};
use stigmer_core::process::{Caller, Execute, Executed, StartProcess};
use stigmer_core::{
    ByteString, ErrorCode, ExecutionMode, Lane, Result, Routing, ToolError, ToolExecutor,
    WorkspaceManager,
};
use stigmer_docker::DockerOptions;
use stigmer_engine::{
    Configuration, Engine, Launcher, ProcessScope, Sources, Surroundings, Workspace,
};
use stigmer_host::{HostExecutor, HostOptions, ProcessOptions};

/// What the sandboxes have been asked for.
#[derive(Default)]
pub(crate) struct Log {
    /// How many places there were, the one that is there included.
    pub(crate) places: AtomicUsize,
    /// How often one was opened.
    pub(crate) opened: AtomicUsize,
    /// What opening says, if it fails.
    pub(crate) failing: Mutex<Option<ToolError>>,
}

struct Unconfined {
    log: Arc<Log>,
    options: DockerOptions,
    launcher: Arc<Launcher>,
}

impl Unconfined {
    fn executor(&self, site: &Site) -> Result<Arc<dyn ToolExecutor>> {
        let place = self.options.state.join(site.workspace.as_str());
        let state = place.join("shared/state");
        std::fs::create_dir_all(&state).unwrap();
        let mut options = HostOptions::new(site.root.as_path(), state);
        let launcher = Some(Arc::clone(&self.launcher));
        options.processes = ProcessOptions { launcher, ..ProcessOptions::default() };
        Ok(Arc::new(HostExecutor::open(options)?))
    }

    fn told(&self, site: &Site) -> PlaceStatus {
        let there = self.identity(site).is_some();
        PlaceStatus {
            workspace: site.workspace.clone(),
            root: site.root.clone(),
            state: if there { PlaceState::Ready } else { PlaceState::Gone },
            reason: None,
            name: self.identity(site),
            image: None,
            created_ms: None,
            notes: Vec::new(),
            affinity: Vec::new(),
        }
    }
}

#[async_trait]
impl WorkspaceManager for Unconfined {
    async fn open(&self, site: &Site, listener: Listener<'_>) -> Result<Arc<dyn ToolExecutor>> {
        listener(Progress::Step("making".to_owned()));
        if let Some(error) = self.log.failing.lock().unwrap().clone() {
            return Err(error);
        }
        self.log.opened.fetch_add(1, Ordering::SeqCst);
        let _ = self.log.places.compare_exchange(0, 1, Ordering::SeqCst, Ordering::SeqCst);
        self.executor(site)
    }
    async fn attach(&self, site: &Site) -> Result<Option<Arc<dyn ToolExecutor>>> {
        self.identity(site).map(|_| self.executor(site)).transpose()
    }
    async fn fate(&self, _: &Site) -> Option<PlaceFate> {
        None
    }
    fn identity(&self, _: &Site) -> Option<String> {
        let number = self.log.places.load(Ordering::SeqCst);
        (number > 0).then(|| format!("place-{number}"))
    }
    async fn status(&self, site: &Site) -> Result<PlaceStatus> {
        Ok(self.told(site))
    }
    async fn list(&self) -> Result<Vec<PlaceStatus>> {
        Ok(Vec::new())
    }
    async fn stop(&self, site: &Site) -> Result<PlaceStatus> {
        Ok(self.told(site))
    }
    async fn start(&self, site: &Site, _: Listener<'_>) -> Result<PlaceStatus> {
        Ok(self.told(site))
    }
    async fn remove(&self, _: &Site) -> Result<()> {
        Ok(())
    }
    async fn recover(&self, site: &Site, _: Listener<'_>) -> Result<PlaceStatus> {
        Ok(self.told(site))
    }
    async fn reap(
        &self,
        _: &(dyn for<'a> Fn(&'a stigmer_core::WorkspaceId) -> bool + Send + Sync),
    ) -> Result<usize> {
        Ok(0)
    }
}

pub(crate) struct World {
    _directory: tempfile::TempDir,
    pub(crate) home: PathBuf,
    pub(crate) work: PathBuf,
    pub(crate) tools: PathBuf,
    pub(crate) log: Arc<Log>,
    pub(crate) engine: Engine,
    launcher: Arc<Launcher>,
}

impl World {
    pub(crate) fn new(launcher: Arc<Launcher>) -> Self {
        // Everybody's temporary directory is another one in the workspace lane.
        let directory = tempfile::tempdir_in("/var/tmp").unwrap();
        let base = directory.path().canonicalize().unwrap();
        let [home, tools] = ["home", "tools"].map(|name| base.join(name));
        let work = home.join("work");
        for path in [&work, &tools, &home.join(".stigmer")] {
            std::fs::create_dir_all(path).unwrap();
        }
        let sidecar = base.join("static");
        // The head of a static program.
        let mut head = [0_u8; 64];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        std::fs::write(&sidecar, head).unwrap();
        executable(&sidecar);
        let log = Arc::<Log>::default();
        let engine = engine(&home, &sidecar, &tools, &log, &launcher);
        let world = Self { _directory: directory, home, work, tools, log, engine, launcher };
        // Two that say that they install, and a rule of the user's that is wrong.
        world.tool("pip", "exit ${FAIL:-0}");
        world.tool("npm", "mkdir -p node_modules; exit ${FAIL:-0}");
        world.rules("[touch]\nlane = 'read-only'\nargs = 'read*'\n");
        world
    }

    /// Another program with the same home.
    pub(crate) fn other_engine(&self) -> Engine {
        let sidecar = self.home.with_file_name("static");
        engine(&self.home, &sidecar, &self.tools, &self.log, &self.launcher)
    }

    pub(crate) fn rules(&self, text: &str) {
        std::fs::write(self.home.join(".stigmer/rules.toml"), text).unwrap();
    }

    /// A program of the caller's.
    pub(crate) fn tool(&self, name: &str, script: &str) {
        let path = self.tools.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        executable(&path);
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.file(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// As a daemon has it.
    pub(crate) fn executor(&self) -> Arc<dyn ToolExecutor> {
        self.executor_for("")
    }

    pub(crate) fn executor_for(&self, request: &str) -> Arc<dyn ToolExecutor> {
        let context = RequestContext { request_id: request.to_owned(), traceparent: None };
        self.engine.executor_of(self.name(), &context).unwrap()
    }

    /// As a program has it that embeds the engine.
    pub(crate) async fn embedded(&self) -> Arc<dyn ToolExecutor> {
        let workspace = Workspace::choose(Some(&self.work), &self.work).unwrap();
        self.engine.executor(Some(ExecutionMode::Auto), &workspace, &|_| ()).await.unwrap()
    }

    pub(crate) fn name(&self) -> &str {
        self.work.to_str().unwrap()
    }

    pub(crate) fn start(&self, line: &str) -> StartProcess {
        let mut start = StartProcess::shell(line);
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.tools.display());
        let own = |name: &str, value: &str| (ByteString::from(name), ByteString::from(value));
        start.caller = Some(Caller::with_environment(vec![
            own("PATH", &path),
            own("HOME", self.home.to_str().unwrap()),
            own("CALLERS", "yes"),
        ]));
        // The sandbox has no programs of ours.
        start.variables.insert("PATH".into(), path.as_str().into());
        start.timeout = Some(std::time::Duration::from_secs(60));
        start
    }

    pub(crate) async fn run(&self, line: &str) -> Executed {
        self.try_run(line).await.unwrap_or_else(|error| panic!("{line}: {error:?}"))
    }

    pub(crate) async fn try_run(&self, line: &str) -> Result<Executed> {
        self.executor().execute(Execute::new(self.start(line))).await
    }

    /// Where a command ran, and by which rule.
    #[track_caller]
    pub(crate) fn is(&self, done: &Executed, lane: Lane, rule: &str) -> Routing {
        let routing = done.routing.as_deref().expect("it says where it ran").clone();
        assert_eq!((routing.lane, routing.rule.as_str()), (lane, rule), "{done:?}");
        let on_host = done.place == stigmer_core::Place::Host;
        assert_eq!(on_host, lane != Lane::Sandbox, "{done:?}");
        assert_eq!(routing.enforced.is_some(), on_host, "{routing:?}");
        routing
    }

    pub(crate) fn fail(&self, code: ErrorCode) {
        let error = ToolError::new(code, "the engine is asleep").with_hint("wake it");
        *self.log.failing.lock().unwrap() = Some(error);
    }

    pub(crate) async fn routed(&self) -> Vec<Event> {
        let all = self.engine.events(Some(0), false).unwrap();
        let all: Vec<Event> = all.map(Result::unwrap).collect().await;
        all.into_iter()
            .filter(|event| matches!(event.kind, EventKind::CommandRouted { .. }))
            .collect()
    }

    pub(crate) fn text(done: &Executed) -> String {
        done.stdout.head.to_string()
    }
}

fn engine(
    home: &Path,
    sidecar: &Path,
    tools: &Path,
    log: &Arc<Log>,
    launcher: &Arc<Launcher>,
) -> Engine {
    let variables = [
        ("STIGMER_SIDECAR", sidecar),
        ("STIGMER_EXECUTION_MODE", Path::new("auto")),
        ("STIGMER_TOOL_ROOTS", tools),
    ];
    let surroundings = Surroundings {
        environment: variables.map(|(name, value)| (name.into(), value.into())).to_vec(),
        home: Some(home.to_owned()),
    };
    let sources = Sources { surroundings, ..Sources::default() };
    let (log, inner) = (Arc::clone(log), Arc::clone(launcher));
    let make = move |options| -> Result<Arc<dyn WorkspaceManager>> {
        let (log, launcher) = (Arc::clone(&log), Arc::clone(&inner));
        Ok(Arc::new(Unconfined { log, options, launcher }))
    };
    let configuration = Configuration::load(&sources).unwrap();
    let launcher = Some(Arc::clone(launcher));
    Engine::with_managers(configuration, launcher, ProcessScope::Workspace, Box::new(make))
}

fn executable(path: &Path) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path, mode).unwrap();
}
