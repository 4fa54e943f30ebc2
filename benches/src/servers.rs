//! Servers to measure: real processes, each in a place of its own, which end with their values here.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};

use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor, Token};
use stigmer_core::workspace::OpenWorkspace;

use crate::scratch::Scratch;
use crate::{Bench, Outcome};

/// A daemon and its home.
pub(crate) struct Daemon {
    _stop: Stop,
    pub(crate) pid: u32,
    socket: PathBuf,
    pub(crate) address: String,
    home: Scratch,
}

impl Daemon {
    /// Starts one as a person would, on a port that is free, and returns when the command does.
    pub(crate) fn start(bench: &Bench) -> Outcome<Self> {
        Self::start_beneath(bench, bench.home.path())
    }

    /// The same with its home, and so its state, in this directory.
    pub(crate) fn start_beneath(bench: &Bench, directory: &Path) -> Outcome<Self> {
        let home = Scratch::beneath(directory)?;
        let mut stop = bench.cli(home.path())?;
        stop.args(["server", "stop", "--now"]).stdout(Stdio::null()).stderr(Stdio::null());
        let stop = Stop(stop);
        let mut start = bench.cli(home.path())?;
        start.args(["--json", "server", "start", "--listen", "127.0.0.1:0"]);
        let done = start.output()?;
        if !done.status.success() {
            let reason = String::from_utf8_lossy(&done.stderr);
            return Err(format!("stigmer server start: {}", reason.trim()).into());
        }
        let record: serde_json::Value = serde_json::from_slice(&done.stdout)?;
        let text = |name: &str| record[name].as_str().map(str::to_owned);
        let pid = record["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        let missing = || format!("stigmer server start: said {record}");
        Ok(Self {
            _stop: stop,
            pid: pid.ok_or_else(missing)?,
            socket: text("socket").ok_or_else(missing)?.into(),
            address: text("tcp").ok_or_else(missing)?,
            home,
        })
    }

    pub(crate) fn unix(&self) -> Endpoint {
        Endpoint::Unix(self.socket.clone())
    }

    pub(crate) fn tcp(&self) -> Outcome<Endpoint> {
        let token = Some(Token::new(&self.token()?)?);
        Ok(Endpoint::Tcp { address: self.address.clone(), token })
    }

    pub(crate) fn token(&self) -> Outcome<String> {
        let file = self.home.path().join("state/daemon/token");
        Ok(std::fs::read_to_string(file)?.trim().to_owned())
    }

    /// The workspace through it.
    pub(crate) fn open(&self, bench: &Bench, endpoint: Endpoint) -> Outcome<RemoteExecutor> {
        let path = bench.workspace().as_path().into();
        open(bench, endpoint, OpenWorkspace { path, ..OpenWorkspace::default() })
    }

    /// What `STIGMER_HOME` is for its clients.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Where it keeps what commands wrote.
    pub(crate) fn processes(&self) -> PathBuf {
        self.home.path().join("state/processes")
    }
}

/// What ends a daemon.
struct Stop(Command);

impl Drop for Stop {
    fn drop(&mut self) {
        // That none runs is what is wanted, too.
        let _ = self.0.status();
    }
}

/// A sidecar of the workspace.
pub(crate) struct Sidecar {
    child: Ending,
    pub(crate) endpoint: Endpoint,
    /// Nobody may find it closed.
    _stderr: BufReader<ChildStderr>,
    /// Where it keeps its state.
    _home: Scratch,
}

/// A program that ends with this.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sidecar {
    /// One that listens on a unix socket.
    pub(crate) fn unix(bench: &Bench) -> Outcome<Self> {
        let home = Scratch::beneath(bench.home.path())?;
        let socket = home.path().join("run/socket");
        let listen = format!("unix:{}", socket.display());
        Self::start(bench, home, &listen, |_| Ok(Endpoint::Unix(socket)))
    }

    /// One that speaks through its standard input and output.
    pub(crate) fn stdio(bench: &Bench) -> Outcome<Self> {
        let home = Scratch::beneath(bench.home.path())?;
        Self::start(bench, home, "stdio", |child| {
            let _entered = bench.runtime.enter();
            let input = child.stdin.take().ok_or("no standard input")?;
            let output = child.stdout.take().ok_or("no standard output")?;
            let input = tokio::process::ChildStdin::from_std(input)?;
            let output = tokio::process::ChildStdout::from_std(output)?;
            Ok(Endpoint::stream(tokio::io::join(output, input)))
        })
    }

    fn start(
        bench: &Bench,
        home: Scratch,
        listen: &str,
        endpoint: impl FnOnce(&mut Child) -> Outcome<Endpoint>,
    ) -> Outcome<Self> {
        let mut command = Command::new(bench.sidecar()?);
        command.arg("--root").arg(bench.workspace());
        command.arg("--state").arg(home.path().join("state")).args(["--listen", listen]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = Ending(command.spawn()?);
        let mut stderr = BufReader::new(child.0.stderr.take().ok_or("no standard error")?);
        let mut line = String::new();
        // It says so when it listens.
        stderr.read_line(&mut line)?;
        if !line.contains("listening on") {
            return Err(format!("no sidecar: {}", line.trim()).into());
        }
        let endpoint = endpoint(&mut child.0)?;
        Ok(Self { child, endpoint, _stderr: stderr, _home: home })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.0.id()
    }

    /// The workspace through it.
    pub(crate) fn open(&self, bench: &Bench) -> Outcome<RemoteExecutor> {
        open(bench, self.endpoint.clone(), OpenWorkspace::default())
    }
}

/// A client, which connects with its first request.
pub(crate) fn client(endpoint: Endpoint) -> Client {
    let options = ClientOptions::for_endpoint(&endpoint);
    Client::connect(endpoint, options)
}

fn open(bench: &Bench, endpoint: Endpoint, workspace: OpenWorkspace) -> Outcome<RemoteExecutor> {
    Ok(bench.runtime.block_on(RemoteExecutor::open(client(endpoint), workspace))?)
}
