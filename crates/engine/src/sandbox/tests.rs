//! Sandboxes over a manager of the tests' own, whose places are directories on the host.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stigmer_api::RequestContext;
use stigmer_core::file::{ReadFile, WriteFile};
use stigmer_core::manager::{Listener, PlaceFate, PlaceState, PlaceStatus, Progress, Site};
use stigmer_core::process::{EndReason, ProcessState, SignalRequest};
use stigmer_core::workspace::{OpenWorkspace, Preparation};
use stigmer_core::{
    ErrorCode, ExecutionMode, ProcessId, Result, ToolError, ToolExecutor, WorkspaceId,
    WorkspaceManager,
};
use stigmer_docker::DockerOptions;
use stigmer_host::{HostExecutor, HostOptions};

use crate::{Configuration, Engine, ProcessScope, Sources, Surroundings, Workspace};

/// An image of which the manager makes nothing.
const NO_IMAGE: &str = "none";

/// When every place was made that is gone.
const MADE_MS: u64 = 10;

/// What the manager was asked for.
#[derive(Default)]
struct Log {
    opened: AtomicUsize,
    refilled: AtomicUsize,
    images: Mutex<Vec<String>>,
    places: Mutex<HashMap<WorkspaceId, PlaceState>>,
    /// Places that are there and cannot be asked.
    deaf: Mutex<HashMap<WorkspaceId, Deaf>>,
}

/// Why a place cannot be asked.
#[derive(Clone, Copy)]
enum Deaf {
    Paused,
    Hanging,
}

struct Directories {
    log: Arc<Log>,
    options: DockerOptions,
}

impl Directories {
    fn told(&self, site: &Site) -> PlaceStatus {
        let places = self.log.places.lock().unwrap();
        PlaceStatus {
            workspace: site.workspace.clone(),
            root: site.root.clone(),
            state: places.get(&site.workspace).copied().unwrap_or(PlaceState::Gone),
            reason: None,
            name: None,
            image: Some(self.options.image.clone()),
            created_ms: None,
            notes: Vec::new(),
            affinity: Vec::new(),
        }
    }

    fn put(&self, site: &Site, state: PlaceState) -> PlaceStatus {
        self.log.places.lock().unwrap().insert(site.workspace.clone(), state);
        self.told(site)
    }
}

#[async_trait]
impl WorkspaceManager for Directories {
    async fn open(&self, site: &Site, listener: Listener<'_>) -> Result<Arc<dyn ToolExecutor>> {
        if self.told(site).state == PlaceState::Stopped {
            return Err(ToolError::new(ErrorCode::ProcessEnded, "it is stopped"));
        }
        if self.options.image == NO_IMAGE {
            return Err(ToolError::not_found(&NO_IMAGE.into()));
        }
        listener(Progress::Step("making".to_owned()));
        tokio::task::yield_now().await;
        self.log.opened.fetch_add(1, Ordering::SeqCst);
        self.log.images.lock().unwrap().push(self.options.image.clone());
        self.put(site, PlaceState::Ready);
        let state = self.options.state.join("inside");
        Ok(Arc::new(HostExecutor::open(HostOptions::new(site.root.as_path(), state))?))
    }
    async fn attach(&self, site: &Site) -> Result<Option<Arc<dyn ToolExecutor>>> {
        let deaf = self.log.deaf.lock().unwrap().get(&site.workspace).copied();
        match deaf {
            Some(Deaf::Hanging) => std::future::pending().await,
            Some(Deaf::Paused) => {
                return Err(ToolError::new(ErrorCode::Unavailable, "it is paused")
                    .with_detail("cause", "container_paused"));
            }
            None => {}
        }
        if self.told(site).state != PlaceState::Ready {
            return Ok(None);
        }
        let state = self.options.state.join("inside");
        Ok(Some(Arc::new(HostExecutor::open(HostOptions::new(site.root.as_path(), state))?)))
    }
    async fn fate(&self, _: &Site) -> Option<PlaceFate> {
        let reason = ToolError::new(ErrorCode::Unavailable, "it was killed");
        let reason = reason.with_detail("cause", "container_gone");
        Some(PlaceFate { created_ms: MADE_MS, reason })
    }
    async fn status(&self, site: &Site) -> Result<PlaceStatus> {
        Ok(self.told(site))
    }
    async fn list(&self) -> Result<Vec<PlaceStatus>> {
        Ok(Vec::new())
    }
    async fn stop(&self, site: &Site) -> Result<PlaceStatus> {
        Ok(self.put(site, PlaceState::Stopped))
    }
    async fn start(&self, site: &Site, _: Listener<'_>) -> Result<PlaceStatus> {
        Ok(self.put(site, PlaceState::Ready))
    }
    async fn remove(&self, site: &Site) -> Result<()> {
        self.put(site, PlaceState::Gone);
        Ok(())
    }
    async fn recover(&self, site: &Site, _: Listener<'_>) -> Result<PlaceStatus> {
        Ok(self.put(site, PlaceState::Ready))
    }
    async fn reap(
        &self,
        is_known: &(dyn for<'a> Fn(&'a WorkspaceId) -> bool + Send + Sync),
    ) -> Result<usize> {
        let places = self.log.places.lock().unwrap();
        Ok(places.keys().filter(|id| !is_known(id)).count())
    }
    async fn refill(&self) -> Result<usize> {
        self.log.refilled.fetch_add(1, Ordering::SeqCst);
        Ok(1)
    }
}

struct Home {
    directory: tempfile::TempDir,
    log: Arc<Log>,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["user/work", "sidecar"] {
            std::fs::create_dir_all(directory.path().join(name)).unwrap();
        }
        let sidecar = directory.path().join("static");
        // The head of a static program.
        let mut head = [0_u8; 64];
        head[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        std::fs::write(&sidecar, head).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&sidecar, mode).unwrap();
        Self { directory, log: Arc::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn engine(&self, variables: &[(&str, &str)]) -> Engine {
        let sidecar = self.path("static");
        let own = [("STIGMER_SIDECAR", sidecar.to_str().unwrap())];
        let all = variables.iter().chain(&own);
        let surroundings = Surroundings {
            environment: all.map(|(name, value)| (name.into(), value.into())).collect(),
            home: Some(self.path("user")),
        };
        let sources = Sources { surroundings, ..Sources::default() };
        let log = Arc::clone(&self.log);
        let make = move |options| -> Result<Arc<dyn WorkspaceManager>> {
            Ok(Arc::new(Directories { log: Arc::clone(&log), options }))
        };
        let configuration = Configuration::load(&sources).unwrap();
        Engine::with_managers(configuration, None, ProcessScope::Workspace, Box::new(make))
    }

    fn open(&self, path: &Path, settings: &[(&str, &str)]) -> OpenWorkspace {
        OpenWorkspace {
            path: path.into(),
            mode: Some(ExecutionMode::Sandbox),
            settings: settings.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect(),
        }
    }
}

fn read() -> ReadFile {
    ReadFile { path: "f".into(), ..ReadFile::default() }
}

#[tokio::test]
async fn opening_makes_nothing_and_the_first_uses_make_one_place_together() {
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    let info = engine.open_workspace(home.open(&home.path("user/work"), &[]), &context).unwrap();
    assert_eq!(info.capabilities.backend, "docker");
    assert_eq!(home.log.opened.load(Ordering::SeqCst), 0);
    let executor = || engine.executor_of(info.id.as_str(), &context).unwrap();
    let write = WriteFile { path: "f".into(), content: "x".into(), ..WriteFile::default() };
    executor().write_file(write).await.unwrap();
    let (a, b, c) = (executor(), executor(), executor());
    let (a, b, c) = tokio::join!(a.read_file(read()), b.read_file(read()), c.read_file(read()));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    assert_eq!(home.log.opened.load(Ordering::SeqCst), 1);
    assert_eq!(engine.reap().await.unwrap(), 0, "its workspace is known");
    engine.forget_workspace(info.id.as_str(), &context).unwrap();
    assert_eq!(engine.reap().await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_said_is_for_one_use_and_what_create_keeps_stays_until_the_place_is_removed() {
    let (home, context) = (Home::new(), RequestContext::default());
    let path = home.path("user/work");
    let name = path.to_str().unwrap();
    let servers = [("STIGMER_SANDBOX_IMAGE", "servers")];
    let prepare = async |engine: &Engine, how, settings: &[(&str, &str)]| {
        engine.prepare(home.open(&path, settings), how, &context, &|_| ()).await.unwrap()
    };
    let callers = [("sandbox_image", "callers"), ("sandbox_environment", "T=hunter2")];
    let made = || home.log.images.lock().unwrap().last().cloned().unwrap();
    // The same program, and another which was told nothing.
    let (engine, other) = (home.engine(&servers), home.engine(&servers));
    prepare(&engine, Preparation::Open, &[]).await;
    prepare(&engine, Preparation::Open, &callers).await;
    assert_eq!(made(), "callers");
    // Whoever names the workspace only works in what was opened last.
    assert_eq!(engine.place_status(name).await.unwrap().image.as_deref(), Some("callers"));
    for engine in [&engine, &other] {
        prepare(engine, Preparation::Open, &[]).await;
        assert_eq!(made(), "servers");
    }
    let status = prepare(&engine, Preparation::Create, &callers).await;
    assert!(status.notes.iter().any(|note| note.contains("sandbox_image=callers")), "{status:?}");
    prepare(&engine, Preparation::Open, &[]).await;
    prepare(&home.engine(&servers), Preparation::Open, &[]).await;
    assert_eq!(made(), "callers");
    let records = home.path("user/.stigmer/state/workspaces");
    for entry in std::fs::read_dir(records).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(text.contains("callers") && !text.contains("hunter2"), "{text}");
    }
    engine.remove_place(name).await.unwrap();
    let status = prepare(&home.engine(&servers), Preparation::Open, &[]).await;
    assert_eq!((made(), status.notes), ("servers".to_owned(), Vec::new()));
}

#[tokio::test]
async fn what_could_not_be_opened_was_never_said() {
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    let path = home.path("user/work");
    let bad = || home.open(&path, &[("sandbox_image", NO_IMAGE)]);
    let info = engine.open_workspace(home.open(&path, &[]), &context).unwrap();
    let list = async || {
        let executor = engine.executor_of(info.id.as_str(), &context).unwrap();
        executor.stat_file(".".into()).await.map(drop)
    };
    for how in [Preparation::Open, Preparation::Create] {
        engine.prepare(bad(), how, &context, &|_| ()).await.unwrap_err();
        list().await.unwrap();
    }
    // Who opens without preparing has it said for the next use, which fails; and no other.
    engine.open_workspace(bad(), &context).unwrap();
    list().await.unwrap_err();
    list().await.unwrap();
}

#[tokio::test]
async fn a_place_is_stopped_started_and_removed_and_its_next_use_makes_another() {
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    let path = home.path("user/work");
    let name = path.to_str().unwrap();
    assert_eq!(engine.place_status(name).await.unwrap_err().code, ErrorCode::UnknownWorkspace);
    let prepare =
        |preparation| engine.prepare(home.open(&path, &[]), preparation, &context, &|_| ());
    assert_eq!(prepare(Preparation::Open).await.unwrap().state, PlaceState::Ready);
    assert_eq!(engine.stop_place(name).await.unwrap().state, PlaceState::Stopped);
    assert_eq!(prepare(Preparation::Open).await.unwrap_err().code, ErrorCode::ProcessEnded);
    assert_eq!(prepare(Preparation::Start).await.unwrap().state, PlaceState::Ready);
    assert_eq!(engine.remove_place(name).await.unwrap().state, PlaceState::Gone);
    assert_eq!(engine.places().await.unwrap()[0].state, PlaceState::Gone);
    assert_eq!(prepare(Preparation::Open).await.unwrap().state, PlaceState::Ready);
    assert_eq!(home.log.opened.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_is_no_sandbox_is_refused() {
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    for bad in [Path::new("/"), Path::new("/etc"), &home.path("user")] {
        let error = engine.open_workspace(home.open(bad, &[]), &context).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{}", bad.display());
        let workspace = Workspace::choose(Some(bad), bad).unwrap();
        let mode = Some(ExecutionMode::Sandbox);
        let Err(error) = engine.executor(mode, &workspace, &|_| ()).await else { panic!() };
        assert_eq!(error.code, ErrorCode::InvalidArgument);
    }
    let work = home.path("user/work");
    let local = OpenWorkspace {
        mode: Some(ExecutionMode::Local),
        ..home.open(&work, &[("sandbox_image", "x")])
    };
    let error = engine.open_workspace(local, &context).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument, "a setting is never passed over");
    let error = engine.open_workspace(home.open(&work, &[("timeout", "1")]), &context).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
    assert_eq!(engine.workspaces().unwrap(), []);
    assert_eq!(home.log.opened.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_callers_environment_does_not_get_in() {
    use stigmer_core::process::{Caller, Command, StartProcess};
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    let info = engine.open_workspace(home.open(&home.path("user/work"), &[]), &context).unwrap();
    let executor = engine.executor_of(info.id.as_str(), &context).unwrap();
    let mut start = StartProcess::new(Command::Shell("true".into()));
    start.caller = Some(Caller::with_environment(Default::default()));
    let error = executor.start_process(start).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported);
}

#[tokio::test]
async fn whoever_made_a_place_has_others_wait_if_any_shall() {
    let home = Home::new();
    let workspace = Workspace::choose(None, &home.path("user/work")).unwrap();
    let open = async |engine: &Engine| {
        let mode = Some(ExecutionMode::Sandbox);
        engine.executor(mode, &workspace, &|_| ()).await.map(drop).unwrap();
    };
    let without = home.engine(&[]);
    open(&without).await;
    assert!(!without.has_pool() && !without.pool_is_low());
    let engine = home.engine(&[("STIGMER_SANDBOX_POOL", "2")]);
    assert!(engine.has_pool() && !engine.pool_is_low());
    open(&engine).await;
    assert!(engine.pool_is_low());
    assert_eq!(engine.refill_pool().await.unwrap(), 1);
    // What is open is not made.
    open(&engine).await;
    assert!(!engine.pool_is_low());
    assert_eq!(home.log.refilled.load(Ordering::SeqCst), 1);
    // A caller of a server has no say in how many wait there.
    let request = home.open(&home.path("user/work"), &[("sandbox_pool", "9")]);
    let error = engine.open_workspace(request, &RequestContext::default()).unwrap_err();
    assert_eq!(error.code, ErrorCode::BadConfiguration);
}

fn process_of(home: &Home, workspace: &WorkspaceId, id: &ProcessId) -> PathBuf {
    let place = home.path("user/.stigmer/state/sandboxes").join(workspace.as_str());
    place.join("shared/state/processes").join(id.as_str())
}

/// Writes what is on disk of a command that has not ended, in a sandbox.
fn plant(home: &Home, workspace: &WorkspaceId, id: &ProcessId, started_ms: u64) {
    let process = process_of(home, workspace, id);
    std::fs::create_dir_all(&process).unwrap();
    let record = format!(
        r#"{{"stigmer":"0","id":"{id}","command":{{"shell":"true"}},"workspace":"/w","cwd":"/w",
            "started_ms":{started_ms},"terminal":false,"detached":true}}"#
    );
    std::fs::write(process.join("process.json"), record).unwrap();
}

#[tokio::test]
async fn a_place_that_cannot_be_asked_has_not_lost_its_commands_and_hides_no_others() {
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    let open = |name: &str| {
        std::fs::create_dir_all(home.path(name)).unwrap();
        engine.open_workspace(home.open(&home.path(name), &[]), &context).unwrap().id
    };
    let (paused, hanging, gone) = (open("user/a"), open("user/b"), open("user/c"));
    let ids = [1, 2, 3].map(ProcessId::from_random);
    for (workspace, id) in [&paused, &hanging, &gone].into_iter().zip(&ids) {
        plant(&home, workspace, id, MADE_MS);
    }
    home.log.deaf.lock().unwrap().insert(paused, Deaf::Paused);
    home.log.deaf.lock().unwrap().insert(hanging, Deaf::Hanging);
    let all = engine.homeless(None).unwrap();
    let [first, _, third] = &ids;
    let error = all.signal(first, SignalRequest::Kill).await.unwrap_err();
    assert_eq!(error.details["cause"], "container_paused", "it is not ended, and nobody says so");
    assert_eq!(all.wait(first).await.unwrap_err().code, ErrorCode::Unavailable);
    assert_eq!(all.process(first).await.unwrap().state, ProcessState::Running);
    assert_eq!(all.process(third).await.unwrap().state, ProcessState::Lost);
    let exit = all.wait(third).await.unwrap();
    assert_eq!((exit.reason, exit.cause.as_deref()), (EndReason::Lost, Some("it was killed")));
    // One that is older than the place was lost with another.
    let older = ProcessId::from_random(4);
    plant(&home, &gone, &older, MADE_MS - 1);
    assert_eq!(all.wait(&older).await.unwrap().cause, None);
    assert_eq!(all.process(&older).await.unwrap().exit, None);
    std::fs::remove_dir_all(process_of(&home, &gone, &older)).unwrap();
    // If the one that hangs were waited for, this would not end.
    let mut listed = all.list_processes().await.unwrap();
    listed.sort_by_key(|info| ids.iter().position(|id| *id == info.id));
    let states: Vec<_> = listed.iter().map(|info| info.state).collect();
    assert_eq!(states, [ProcessState::Running, ProcessState::Running, ProcessState::Lost]);
    let cause = listed[2].exit.as_ref().and_then(|exit| exit.cause.as_deref());
    assert_eq!(cause, Some("it was killed"));
    assert_eq!(home.log.opened.load(Ordering::SeqCst), 0, "nothing is made to look after commands");
}

#[tokio::test]
async fn a_command_that_several_sandboxes_claim_is_nobodys_until_one_is_named() {
    let (home, context) = (Home::new(), RequestContext::default());
    let engine = home.engine(&[]);
    let (honest, liar) = (home.path("user/work"), home.path("user/liar"));
    std::fs::create_dir(&liar).unwrap();
    let id = ProcessId::from_random(1);
    let mut known = Vec::new();
    for path in [&honest, &liar] {
        let info = engine.open_workspace(home.open(path, &[]), &context).unwrap();
        plant(&home, &info.id, &id, MADE_MS);
        known.push(info.id);
    }
    let error = engine.homeless(None).unwrap().process(&id).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(known.iter().all(|id| error.message.contains(id.as_str())), "{error}");
    let named = engine.homeless(Some(&honest)).unwrap();
    assert_eq!(named.process(&id).await.unwrap().id, id);
    let elsewhere = engine.homeless(Some(Path::new("/"))).unwrap();
    assert!(elsewhere.process(&id).await.is_err());
}
