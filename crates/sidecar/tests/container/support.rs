//! A container with the sidecar as its process 1, started by hand as the manager does it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor};
use stigmer_core::ToolExecutor;
use stigmer_core::process::{
    Command as Line, Execute, Executed, ExitStatus, Lifetime, StartProcess, StartedProcess,
};
use stigmer_core::workspace::OpenWorkspace;

/// Debian with Python, Node.js and git; a shell and nothing else; nothing.
pub(crate) const BASE: &str = "base";
pub(crate) const BUSYBOX: &str = "busybox";
pub(crate) const EMPTY: &str = "empty";

/// Long enough for a loaded machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What process 1 keeps.
const CAPABILITIES: [&str; 6] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETUID", "SETGID", "KILL"];

/// Where the sidecar's file and the shared directory are in a container.
pub(crate) const SIDECAR: &str = "/.stigmer/sidecar";
pub(crate) const SHARED: &str = "/.stigmer/shared";

/// Whether there is an engine. Without one the tests are left out, which is said, and a failure in CI.
pub(crate) fn engine() -> bool {
    static ENGINE: OnceLock<bool> = OnceLock::new();
    *ENGINE.get_or_init(|| {
        let answer =
            Command::new("docker").args(["version", "--format", "{{.Server.Version}}"]).output();
        let why = match answer {
            Ok(answer) if answer.status.success() => return true,
            Ok(answer) => String::from_utf8_lossy(&answer.stderr).trim().to_owned(),
            Err(error) => error.to_string(),
        };
        left_out("the tests in containers", &format!("no engine answers: {why}"));
        false
    })
}

#[allow(clippy::print_stderr, reason = "what is left out is said aloud")]
pub(crate) fn left_out(what: &str, why: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}: {why}");
    eprintln!("LEFT OUT {what}: {why}");
}

/// The program: the static one that goes into containers, or what cargo built.
pub(crate) fn program() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_stigmer-sidecar"));
    std::env::var_os("STIGMER_SIDECAR").map_or_else(built, PathBuf::from)
}

/// What the program needs of this machine's libraries, as volumes; nothing if it is static.
fn libraries() -> Vec<String> {
    let listed = Command::new("ldd").arg(program()).output().unwrap();
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let files = text.split_whitespace().filter(|word| word.starts_with('/'));
    let resolved = |file: &str| std::fs::canonicalize(file).unwrap().display().to_string();
    files.map(|file| format!("--volume={}:{file}:ro", resolved(file))).collect()
}

fn image(kind: &str) -> String {
    static MADE: OnceLock<()> = OnceLock::new();
    MADE.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/test-image");
        let made = Command::new(script).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    });
    format!("stigmer-test-{kind}:local")
}

/// How a container is started.
pub(crate) struct Wanted {
    pub(crate) image: &'static str,
    pub(crate) engine: Vec<String>,
    pub(crate) ttl: u32,
    pub(crate) init: Vec<String>,
}

impl Wanted {
    pub(crate) fn new(image: &'static str) -> Self {
        Self { image, engine: Vec::new(), ttl: 600, init: Vec::new() }
    }

    pub(crate) fn engine(mut self, argument: impl Into<String>) -> Self {
        self.engine.push(argument.into());
        self
    }

    pub(crate) fn ttl(mut self, seconds: u32) -> Self {
        self.ttl = seconds;
        self
    }

    pub(crate) fn init(mut self, argument: impl Into<String>) -> Self {
        self.init.push(argument.into());
        self
    }

    /// Starts it for the user of this test.
    pub(crate) fn start(self) -> Container {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().canonicalize().unwrap();
        let (root, shared) = (path.join("work space"), path.join("shared"));
        for directory in [&root, &shared] {
            std::fs::create_dir(directory).unwrap();
        }
        std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o700)).unwrap();
        let about = std::fs::metadata(&root).unwrap();
        let (uid, gid) = (about.uid(), about.gid());
        let volumes = [
            format!("--volume={}:{SIDECAR}:ro", program().display()),
            format!("--volume={}:{SHARED}", shared.display()),
            format!("--volume={0}:{0}", root.display()),
        ];
        let user = format!("{uid}:{gid}");
        let container = Container { name: new_name(), place, root, uid };
        let mut command = self.command(&container.name, &user, &container.root);
        command.splice(1..1, volumes);
        docker(&command);
        container
    }

    /// `docker run`, without volumes.
    pub(crate) fn command(&self, name: &str, user: &str, root: &Path) -> Vec<String> {
        let mut all: Vec<String> = ["run", "--detach", "--rm", "--user=0:0", "--pids-limit=512"]
            .map(str::to_owned)
            .to_vec();
        all.push(format!("--name={name}"));
        all.push("--label=stigmer-test-sidecar".to_owned());
        all.extend(["--cap-drop=ALL", "--security-opt=no-new-privileges"].map(str::to_owned));
        all.extend(CAPABILITIES.map(|capability| format!("--cap-add={capability}")));
        if self.image != BASE {
            all.extend(libraries());
        }
        all.extend(self.engine.clone());
        all.push(format!("--entrypoint={SIDECAR}"));
        all.extend([image(self.image), "init".to_owned(), format!("--user={user}")]);
        all.extend([format!("--root={}", root.display()), format!("--shared={SHARED}")]);
        all.push(format!("--ttl={}", self.ttl));
        all.extend(self.init.clone());
        all
    }
}

pub(crate) fn new_name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("stigmer-test-sidecar-{}-{count}", std::process::id())
}

/// A running container; it goes with this.
pub(crate) struct Container {
    pub(crate) name: String,
    place: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) uid: u32,
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.name]).output();
    }
}

impl Container {
    pub(crate) fn new(image: &'static str) -> Self {
        Wanted::new(image).start()
    }

    pub(crate) fn shared(&self) -> PathBuf {
        self.place.path().canonicalize().unwrap().join("shared")
    }

    pub(crate) async fn executor(&self) -> RemoteExecutor {
        let socket = self.shared().join("socket");
        until("the server listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok())
            .await;
        open(Endpoint::Unix(socket)).await
    }

    /// What process 1 and the server said.
    pub(crate) fn said(&self) -> String {
        let logs = Command::new("docker").args(["logs", &self.name]).output().unwrap();
        String::from_utf8_lossy(&logs.stderr).into_owned()
    }

    pub(crate) fn is_there(&self) -> bool {
        let found = Command::new("docker").args(["inspect", &self.name]).output().unwrap();
        found.status.success()
    }

    /// Process 1, as this machine calls it.
    pub(crate) fn pid(&self) -> u32 {
        docker(&["inspect", "--format={{.State.Pid}}", &self.name].map(str::to_owned))
            .parse()
            .unwrap()
    }

    /// How a command ended, as it is on disk.
    pub(crate) fn exit(&self, started: &StartedProcess) -> ExitStatus {
        let record = self.shared().join("state/processes").join(started.id.as_str());
        serde_json::from_slice(&std::fs::read(record.join("exit.json")).unwrap()).unwrap()
    }
}

/// Asks the engine for something; its answer in one line.
pub(crate) fn docker(arguments: &[String]) -> String {
    let output = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(crate) async fn open(endpoint: Endpoint) -> RemoteExecutor {
    let options = ClientOptions::for_endpoint(&endpoint);
    RemoteExecutor::open(Client::connect(endpoint, options), OpenWorkspace::default())
        .await
        .unwrap()
}

pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{what}: never");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn shell(line: &str) -> StartProcess {
    StartProcess::new(Line::Shell(line.into()))
}

pub(crate) fn argv(words: &[&str]) -> StartProcess {
    StartProcess::new(Line::Argv(words.iter().map(|word| (*word).into()).collect()))
}

pub(crate) fn detached(mut request: StartProcess) -> StartProcess {
    request.lifetime = Lifetime::Detached;
    request
}

pub(crate) async fn run(executor: &RemoteExecutor, request: StartProcess) -> Executed {
    executor.execute(Execute::new(request)).await.unwrap()
}

/// Runs a line that must succeed; what it printed, without the last line end.
pub(crate) async fn line(executor: &RemoteExecutor, text: &str) -> String {
    let executed = run(executor, shell(text)).await;
    let out = |captured: &stigmer_core::process::Captured| {
        let tail = captured.tail.as_bytes();
        String::from_utf8_lossy(&[captured.head.as_bytes(), tail].concat()).trim_end().to_owned()
    };
    assert_eq!(
        executed.exit.code,
        0,
        "{text}: {} {}",
        out(&executed.stdout),
        out(&executed.stderr)
    );
    out(&executed.stdout)
}

/// Everything beneath a directory that is not its user's.
pub(crate) fn not_mine(directory: &Path, uid: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let about = std::fs::symlink_metadata(&path).unwrap();
        if about.uid() != uid {
            found.push(path.clone());
        }
        if about.is_dir() {
            found.extend(not_mine(&path, uid));
        }
    }
    found
}
