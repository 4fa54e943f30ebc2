//! Servers for the suite: real processes, reached as their clients reach them.
#![allow(dead_code, reason = "each backend uses its part")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor, Token};
use stigmer_conformance::Fixture;
use stigmer_core::workspace::OpenWorkspace;

/// A program of ours, which is built beside this one.
pub(crate) fn program(name: &str) -> Command {
    let ours = std::env::current_exe().unwrap();
    let path = ours.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{}: build it first: cargo build -p {name}", path.display());
    Command::new(path)
}

/// Ends a program when the suite, or the case, is over.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A daemon with a home of its own.
pub(crate) struct Daemon {
    home: tempfile::TempDir,
    _running: Running,
}

impl Daemon {
    /// Starts one. `listen` is as the command line has it.
    pub(crate) fn start(listen: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = program("stigmer");
        command.args(["server", "start", "--foreground", "--listen", listen]);
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("STIGMER_HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the daemon did not start");
        Self { home, _running: Running(child) }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.home.path().join("state/daemon").join(name)
    }

    /// Its unix socket.
    pub(crate) fn unix(&self) -> Endpoint {
        Endpoint::Unix(self.place("socket"))
    }

    /// Its TCP port.
    pub(crate) fn tcp(&self) -> Endpoint {
        let record = std::fs::read(self.place("daemon.json")).unwrap();
        let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
        let address = record["tcp"].as_str().unwrap().to_owned();
        let token = std::fs::read_to_string(self.place("token")).unwrap();
        Endpoint::Tcp { address, token: Some(Token::new(&token).unwrap()) }
    }
}

/// A new, empty directory for a workspace, and what keeps it.
pub(crate) fn directory() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().canonicalize().unwrap().join("workspace");
    std::fs::create_dir(&root).unwrap();
    (home, root)
}

/// The workspace at `root`, reached through `endpoint`.
pub(crate) async fn fixture(
    endpoint: Endpoint,
    path: &Path,
    root: PathBuf,
    keep: impl std::any::Any + Send,
) -> Fixture {
    let options = ClientOptions::for_endpoint(&endpoint);
    let request = OpenWorkspace { path: path.into(), ..OpenWorkspace::default() };
    let executor = RemoteExecutor::open(Client::connect(endpoint, options), request).await.unwrap();
    Fixture {
        executor: Arc::new(executor),
        host_view: Some(root.clone()),
        root,
        keep: Box::new(keep),
    }
}

/// Starts a sidecar for a workspace; it says on its standard error when it listens.
pub(crate) fn sidecar(root: &Path, state: &Path, listen: &str, more: &[&str]) -> Child {
    let mut command = program("stigmer-sidecar");
    command.arg("--root").arg(root).arg("--state").arg(state).args(["--listen", listen]);
    command.args(more).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The first line of a sidecar's standard error, which says where it listens.
pub(crate) fn first_word(child: &mut Child) -> String {
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    // The rest is read so that it never blocks.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    line
}
