//! A sidecar in a workspace of its own, and a client of it.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor, Token};
use stigmer_core::workspace::OpenWorkspace;

pub(crate) const TOKEN: &str = "an-example-token-that-nobody-uses";

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_stigmer-sidecar");

/// Long enough for a loaded machine; a test that gets here has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A place with a workspace, room for the state, and a token.
pub(crate) struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let home = Self { directory };
        std::fs::create_dir(home.root()).unwrap();
        write_private(&home.token_file(), TOKEN);
        home
    }

    fn path(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("workspace")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub(crate) fn token_file(&self) -> PathBuf {
        self.path().join("token")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("run/s")
    }

    /// The program with the arguments that it always needs.
    pub(crate) fn command(&self, listen: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--root").arg(self.root()).arg("--state").arg(self.state());
        command.arg("--listen").arg(listen).env_clear();
        command
    }
}

pub(crate) fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// A running sidecar; it ends with this.
pub(crate) struct Sidecar {
    pub(crate) child: Child,
    pub(crate) endpoint: Endpoint,
    pub(crate) home: Home,
    _stderr: BufReader<ChildStderr>,
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts it; returns where it says that it listens.
pub(crate) fn start(mut command: Command) -> (Child, String, BufReader<ChildStderr>) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let place = line.trim().strip_prefix("stigmer-sidecar: listening on ");
    let place = place.unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, place, stderr)
}

impl Sidecar {
    pub(crate) fn unix() -> Self {
        let home = Home::new();
        let socket = home.socket();
        let (child, _, stderr) = start(home.command(&format!("unix:{}", socket.display())));
        Self { child, endpoint: Endpoint::Unix(socket), home, _stderr: stderr }
    }

    pub(crate) fn tcp() -> Self {
        let home = Home::new();
        let mut command = home.command("tcp:127.0.0.1:0");
        command.arg("--token-file").arg(home.token_file());
        let (child, place, stderr) = start(command);
        let address = place.strip_prefix("tcp:").unwrap().to_owned();
        let endpoint = Endpoint::Tcp { address, token: Some(Token::new(TOKEN).unwrap()) };
        Self { child, endpoint, home, _stderr: stderr }
    }

    /// Its streams are made in the runtime that this is called in.
    pub(crate) fn stdio() -> Self {
        let home = Home::new();
        let mut command = home.command("stdio");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let (mut child, _, stderr) = start(command);
        let input = tokio::process::ChildStdin::from_std(child.stdin.take().unwrap()).unwrap();
        let output = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
        let endpoint = Endpoint::stream(tokio::io::join(output, input));
        Self { child, endpoint, home, _stderr: stderr }
    }

    pub(crate) async fn executor(&self) -> RemoteExecutor {
        connect(self.endpoint.clone()).await
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        ended(&mut self.child).await
    }

    pub(crate) fn terminate(&self) {
        terminate(self.child.id());
    }
}

pub(crate) async fn connect(endpoint: Endpoint) -> RemoteExecutor {
    let options = ClientOptions::for_endpoint(&endpoint);
    let client = Client::connect(endpoint, options);
    RemoteExecutor::open(client, OpenWorkspace::default()).await.unwrap()
}

pub(crate) fn terminate(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// Waits for the end of a program. The client's connections go on in the meantime.
pub(crate) async fn ended(child: &mut Child) -> ExitStatus {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "it does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
