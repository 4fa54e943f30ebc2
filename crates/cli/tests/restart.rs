//! The daemon is killed at random moments, and a client that follows a command notices nothing.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt;
use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor};
use stigmer_core::ToolExecutor;
use stigmer_core::process::{Follow, OutputEvent, ProcessState, ReadOutput, StartProcess};
use stigmer_core::workspace::OpenWorkspace;

/// A home with a daemon.
struct Home {
    directory: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(home.path("work")).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    fn stigmer(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stigmer"));
        command.args(arguments).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("STIGMER_HOME", self.path("home")).current_dir(self.path("work"));
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn start(&self) {
        self.stigmer(&["server", "start", "--listen", "none"]);
    }

    fn kill(&self) {
        self.stigmer(&["server", "stop", "--now"]);
    }

    async fn executor(&self) -> RemoteExecutor {
        let endpoint = Endpoint::Unix(self.path("home/state/daemon/socket"));
        let options = ClientOptions::for_endpoint(&endpoint);
        let request = OpenWorkspace { path: self.path("work").into(), ..OpenWorkspace::default() };
        RemoteExecutor::open(Client::connect(endpoint, options), request).await.unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_stigmer"));
        command.args(["server", "stop", "--now"]).env("STIGMER_HOME", self.path("home"));
        let _ = command.output();
    }
}

/// Writes for a third of a second, in order, and ends with 7.
const COMMAND: &str = "for part in 0 1 2 3 4 5 6 7 8 9; do
    seq $((part * 2000)) $((part * 2000 + 1999)); sleep 0.03; done; exit 7";

fn random(below: u64) -> u64 {
    let mut bytes = [0; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom").unwrap(), &mut bytes)
        .unwrap();
    u64::from_le_bytes(bytes) % below
}

/// How often: ten times, or STIGMER_KILLS.
fn rounds() -> usize {
    std::env::var("STIGMER_KILLS").map_or(10, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_gets_every_byte_once_whenever_the_daemon_is_killed() {
    let expected: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let home = Home::new();
    home.start();
    for round in 0..rounds() {
        let executor = home.executor().await;
        let started = executor.start_process(StartProcess::shell(COMMAND)).await.unwrap();
        let read = ReadOutput { since: 0, follow: Follow::UntilExit, hold: true };
        let mut stream = executor.process_output(&started.id, read).await.unwrap();
        let follower = async {
            let (mut output, mut exit) = (Vec::new(), None);
            while let Some(event) = stream.next().await {
                match event.unwrap() {
                    OutputEvent::Output { offset, bytes, .. } => {
                        assert_eq!(offset, output.len() as u64, "round {round}");
                        output.extend_from_slice(bytes.as_bytes());
                    }
                    OutputEvent::Exit(status) => exit = Some(status),
                    gap @ OutputEvent::Gap { .. } => panic!("round {round}: {gap:?}"),
                }
            }
            (output, exit)
        };
        let killer = async {
            tokio::time::sleep(Duration::from_micros(random(400_000))).await;
            tokio::task::block_in_place(|| {
                home.kill();
                home.start();
            });
            // Who comes anew finds the command as it is.
            let info = home.executor().await.process(&started.id).await.unwrap();
            match info.state {
                ProcessState::Running => {}
                ProcessState::Exited => assert_eq!(info.exit.unwrap().code, 7),
                ProcessState::Lost => panic!("round {round}: lost"),
            }
        };
        let ((output, exit), ()) = tokio::join!(follower, killer);
        assert_eq!(output.len(), expected.len(), "round {round}");
        assert!(output == expected.as_bytes(), "round {round}: other bytes");
        assert_eq!(exit.unwrap().code, 7, "round {round}");
    }
}
