//! The sidecar as process 1 of a root that has nothing but it, for which user namespaces are needed.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each suite uses its part")]
mod support;

use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use stigmer_api::client::{Endpoint, RemoteExecutor};
use stigmer_core::ToolExecutor;
use stigmer_core::file::ListDirectory;
use stigmer_core::process::{Command as Line, EndReason, Execute, Lifetime, StartProcess};
use support::{Home, PATIENCE, PROGRAM, connect, ended, start, terminate};

/// Makes the root: the program, what its loader needs, /proc, /dev/null, a workspace and a place for
/// the state. All
/// else is missing, and nothing but those two can be written to.
const MAKE_ROOT: &str = r#"
set -e
mount -t proc proc /proc
root=$1 home=$2 program=$3
mount -t tmpfs tmpfs "$root"
mkdir "$root/proc" "$root/workspace" "$root/state"
put() { mkdir -p "$root${1%/*}"; : > "$root$1"; mount --bind "$2" "$root$1"; }
put /sidecar "$program"
put /dev/null /dev/null
# A static program has none.
for file in $(ldd "$program" 2>/dev/null | grep -o '/[^ )]*'); do put "$file" "$(readlink -f "$file")"; done
mount -t proc proc "$root/proc"
mount --bind "$home/workspace" "$root/workspace"
mount --bind "$home/state" "$root/state"
mount -o remount,bind,ro "$root"
exec chroot "$root" /sidecar --root /workspace --state /state/sidecar --listen unix:/state/run/s
"#;

struct Init {
    unshare: Child,
    /// Process 1, as it is called outside.
    pid: u32,
    home: Home,
    _root: tempfile::TempDir,
    _stderr: std::io::BufReader<std::process::ChildStderr>,
}

impl Drop for Init {
    fn drop(&mut self) {
        // With process 1 everything in its namespace goes.
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.pid).unwrap()).unwrap();
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = self.unshare.wait();
    }
}

impl Init {
    fn new() -> Self {
        let (home, root) = (Home::new(), tempfile::tempdir().unwrap());
        std::fs::create_dir(home.state()).unwrap();
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"])
            .args(["sh", "-c", MAKE_ROOT, "sh"])
            .args([root.path(), home.root().parent().unwrap(), Path::new(PROGRAM)]);
        let (unshare, place, stderr) = start(command);
        assert_eq!(place, "unix:/state/run/s");
        let pid = children(unshare.id())[0];
        Self { unshare, pid, home, _root: root, _stderr: stderr }
    }

    async fn executor(&self) -> RemoteExecutor {
        connect(Endpoint::Unix(self.home.state().join("run/s"))).await
    }
}

fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
}

fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{what}: never"));
}

fn argv(words: &[&str]) -> StartProcess {
    StartProcess::new(Line::Argv(words.iter().map(|word| (*word).into()).collect()))
}

#[tokio::test]
async fn it_needs_nothing_but_itself() {
    let init = Init::new();
    let executor = init.executor().await;
    let executed = executor.execute(Execute::new(argv(&["/sidecar", "--version"]))).await.unwrap();
    assert_eq!(executed.exit.code, 0);
    assert!(executed.stdout.head.as_bytes().starts_with(b"stigmer-sidecar "));
    // There is no shell, and that is what a command that needs one says.
    let shell = StartProcess::new(Line::Shell("true".into()));
    let executed = executor.execute(Execute::new(shell)).await.unwrap();
    assert_eq!(executed.exit.code, 127);
    let found = executor.list_directory(ListDirectory::default()).await.unwrap();
    assert!(found.entries.is_empty());
}

#[tokio::test]
async fn it_takes_in_orphans() {
    let init = Init::new();
    let target = init.pid.to_string();
    // Somebody from outside leaves a process in the namespace.
    let left = Command::new("nsenter")
        .args([
            "--preserve-credentials",
            "--user",
            "--pid",
            "--target",
            &target,
            "sh",
            "-c",
            "sleep 1 &",
        ])
        .status()
        .unwrap();
    assert!(left.success());
    let orphan = || children(init.pid).into_iter().find(|pid| name(*pid) == "sleep");
    until("the orphan is there", || orphan().is_some()).await;
    until("the orphan is taken in", || orphan().is_none()).await;
}

#[tokio::test]
async fn told_to_end_it_ends_every_command_first() {
    let mut init = Init::new();
    let executor = init.executor().await;
    let listen = "unix:/workspace/run/s";
    let words =
        ["/sidecar", "--root", "/workspace", "--state", "/workspace/state", "--listen", listen];
    let mut long = argv(&words);
    long.lifetime = Lifetime::Detached;
    let started = executor.start_process(long).await.unwrap();
    until("the command runs", || init.home.root().join("run/s").exists()).await;
    terminate(init.pid);
    assert!(ended(&mut init.unshare).await.success());
    // It ended by itself on TERM, and there was time to write down how.
    assert!(!init.home.root().join("run/s").exists());
    let record = init.home.state().join("sidecar/processes").join(started.id.as_str());
    let exit = std::fs::read_to_string(record.join("exit.json")).unwrap();
    let exit: stigmer_core::process::ExitStatus =
        serde_json::from_str(&exit).unwrap_or_else(|error| panic!("{error}: {exit}"));
    assert_eq!(exit.reason, EndReason::Cancelled);
}
