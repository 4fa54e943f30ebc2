//! The suite in containers of a real engine, one for each case. Without an engine, or without the
//! program that goes into containers (`STIGMER_SIDECAR`, a static build), it is left out, which is
//! said, and a failure in CI.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use stigmer_conformance::Fixture;
use stigmer_core::manager::Site;
use stigmer_core::{WorkspaceId, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions, Network, Owner, Volume};

/// What the cases need: a shell, the usual tools, Python and git. `scripts/test-image` makes it.
const IMAGE: &str = "stigmer-test-base:local";

/// What a suite that was killed leaves behind goes by itself.
const TTL: Duration = Duration::from_secs(300);

/// Removes the case's container when the case is over.
struct Removed {
    name: String,
    _home: tempfile::TempDir,
}

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "--force", &self.name]).output();
    }
}

fn options(state: PathBuf, sidecar: PathBuf) -> DockerOptions {
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    DockerOptions {
        auto_pull: false,
        ttl: Some(TTL),
        runtime: std::env::var("STIGMER_TEST_RUNTIME").ok(),
        network: Network::None,
        memory: 1 << 30,
        ..DockerOptions::new(state, sidecar, owner, IMAGE)
    }
}

async fn fixture(sidecar: PathBuf) -> Fixture {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let (home, root) = wire::directory();
    let number = (u64::from(std::process::id()) << 32) | NEXT.fetch_add(1, Ordering::Relaxed);
    let site = Site { workspace: WorkspaceId::from_number(number), root: root.clone().into() };
    let state = home.path().canonicalize().unwrap().join("sandboxes");
    let mut options = options(state, sidecar);
    // What lies beside the workspace is there, so that it is not for want of it that nothing gets
    // out.
    let beside = root.parent().unwrap().to_str().unwrap().to_owned();
    options.volumes.push(Volume { source: beside.clone(), target: beside, read_only: false });
    let manager = DockerManager::new(options).unwrap();
    let executor = manager.open(&site, &|_| {}).await.unwrap();
    let name = manager.status(&site).await.unwrap().name.unwrap();
    let keep = Box::new(Removed { name, _home: home });
    Fixture { executor, host_view: Some(root.clone()), root, keep }
}

#[allow(clippy::print_stderr, reason = "what is left out is said aloud")]
fn left_out(why: &str) -> ExitCode {
    eprintln!("LEFT OUT the suite in containers: {why}");
    if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn main() -> ExitCode {
    let Some(sidecar) = std::env::var_os("STIGMER_SIDECAR").map(PathBuf::from) else {
        return left_out("STIGMER_SIDECAR names no static sidecar");
    };
    let answers = Command::new("docker").arg("version").output();
    if !answers.is_ok_and(|answer| answer.status.success()) {
        return left_out("no engine answers");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test-image");
    let made = Command::new(script).arg("base").output();
    if !made.is_ok_and(|made| made.status.success()) {
        return left_out("scripts/test-image cannot make the image");
    }
    stigmer_conformance::run_waiting("docker", move || fixture(sidecar.clone()))
}
