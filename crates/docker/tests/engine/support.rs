//! A home with a workspace, and managers of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use stigmer_core::manager::{PlaceState, Progress, Site};
use stigmer_core::process::{Execute, Executed, StartProcess};
use stigmer_core::{ToolExecutor, WorkspaceId, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions, Network, Owner};

/// A small image with a shell; `scripts/test-image` makes it.
pub(crate) const IMAGE: &str = "stigmer-test-busybox:local";

/// Long enough for a loaded machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Says aloud what is left out: a test's own output is shown only if it fails.
pub(crate) fn left_out(why: &str) {
    assert!(std::env::var_os("CI").is_none(), "the tests against an engine: {why}");
    let line = format!("LEFT OUT the tests against an engine: {why}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Whether there is an engine, the image and the program.
pub(crate) fn engine() -> bool {
    static ENGINE: OnceLock<bool> = OnceLock::new();
    *ENGINE.get_or_init(|| {
        if std::env::var_os("STIGMER_SIDECAR").is_none() {
            left_out("STIGMER_SIDECAR names no static sidecar");
            return false;
        }
        match Command::new("docker").arg("version").output() {
            Ok(answer) if answer.status.success() => {}
            Ok(answer) => {
                left_out(&String::from_utf8_lossy(&answer.stderr));
                return false;
            }
            Err(error) => {
                left_out(&error.to_string());
                return false;
            }
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test-image");
        let made = Command::new(script).arg("busybox").output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        true
    })
}

/// Runs the engine's own client; returns what it says.
pub(crate) fn docker(arguments: &[&str]) -> String {
    let done = Command::new("docker").args(arguments).output().unwrap();
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}

/// The workspace's directory and the file with its id, in a home.
const WORKSPACE: &str = "work space";
const ID: &str = "id";

/// A home and a workspace; its container goes with it.
pub(crate) struct Home {
    /// It goes with this, if it is ours.
    _directory: Option<tempfile::TempDir>,
    path: PathBuf,
    pub(crate) site: Site,
    /// The engine's address, if it is not the usual one.
    pub(crate) engine: Option<String>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    pub(crate) fn at(directory: tempfile::TempDir) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let path = directory.path().canonicalize().unwrap();
        std::fs::create_dir(path.join(WORKSPACE)).unwrap();
        let number = (u64::from(std::process::id()) << 32) | NEXT.fetch_add(1, Ordering::Relaxed);
        let workspace = WorkspaceId::from_number(number);
        std::fs::write(path.join(ID), workspace.as_str()).unwrap();
        Self { _directory: Some(directory), ..Self::again(&path) }
    }

    /// A home that another process made.
    pub(crate) fn again(path: &Path) -> Self {
        let workspace = std::fs::read_to_string(path.join(ID)).unwrap().parse().unwrap();
        let site = Site { workspace, root: path.join(WORKSPACE).into() };
        Self { _directory: None, path: path.to_owned(), site, engine: None }
    }

    pub(crate) fn root(&self) -> &Path {
        self.site.root.as_path()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state/sandboxes")
    }

    pub(crate) fn record(&self) -> PathBuf {
        self.state().join(self.site.workspace.as_str()).join("sandbox.json")
    }

    pub(crate) fn options(&self) -> DockerOptions {
        let sidecar = std::env::var_os("STIGMER_SIDECAR").map(PathBuf::from).unwrap_or_default();
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        DockerOptions {
            engine: self.engine.clone(),
            auto_pull: false,
            // What a test that was killed leaves behind goes by itself.
            ttl: Some(Duration::from_secs(300)),
            network: Network::None,
            memory: 256 << 20,
            ..DockerOptions::new(self.state(), sidecar, owner, IMAGE)
        }
    }

    pub(crate) fn manager(&self) -> DockerManager {
        DockerManager::new(self.options()).unwrap()
    }

    /// The container's name: known once there is one.
    pub(crate) async fn name(&self) -> String {
        self.manager().status(&self.site).await.unwrap().name.unwrap()
    }

    /// The container's id.
    pub(crate) async fn id(&self) -> String {
        self.docker(&["inspect", "--format", "{{.Id}}", &self.name().await])
    }

    /// Runs the client of this home's engine; returns what it says.
    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        match &self.engine {
            Some(engine) => docker(&[&["--host", engine], arguments].concat()),
            None => docker(arguments),
        }
    }

    pub(crate) async fn state_of(&self) -> PlaceState {
        self.manager().status(&self.site).await.unwrap().state
    }

    pub(crate) async fn over(self) {
        self.manager().remove(&self.site).await.unwrap();
        assert_eq!(self.manager().list().await.unwrap(), []);
        assert_eq!(std::fs::read_dir(self.state()).unwrap().count(), 0);
    }
}

/// What a manager told while somebody waited.
#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<Progress>>);

impl Told {
    pub(crate) fn take(&self, progress: Progress) {
        self.0.lock().unwrap().push(progress);
    }

    pub(crate) fn text(&self) -> String {
        format!("{:?}", self.0.lock().unwrap())
    }
}

pub(crate) fn quiet(_: Progress) {}

pub(crate) async fn run(executor: &dyn ToolExecutor, line: &str) -> Executed {
    let running = executor.execute(Execute::new(StartProcess::shell(line)));
    tokio::time::timeout(PATIENCE, running).await.expect("an end").unwrap()
}

/// What a command that must succeed writes.
pub(crate) async fn text(executor: &dyn ToolExecutor, line: &str) -> String {
    let done = run(executor, line).await;
    assert_eq!(done.exit.code, 0, "{done:?}");
    String::from_utf8(done.stdout.head.into_bytes()).unwrap().trim_end().to_owned()
}
