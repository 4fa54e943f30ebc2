//! The suite in auto mode: each command in a lane on this machine, or in the sandbox of its workspace.
//! Without a container engine, or without the program that goes into containers (`STIGMER_SIDECAR`, a
//! static build), it is left out, which is said, and a failure in CI: what is not for a lane would be
//! refused.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use stigmer_conformance::Fixture;
use stigmer_core::ExecutionMode;
use stigmer_docker::DockerManager;
use stigmer_engine::{
    Configuration, Engine, Launcher, ProcessScope, Reserve, Sources, Surroundings, Workspace,
};

/// What the cases need: a shell, the usual tools, Python and git. `scripts/test-image` makes it.
const IMAGE: &str = "stigmer-test-base:local";

/// What a user has whose sandboxes are these. What a suite that was killed leaves behind goes by itself.
const SETTINGS: [(&str, &str); 5] = [
    ("STIGMER_SANDBOX_IMAGE", IMAGE),
    ("STIGMER_SANDBOX_AUTO_PULL", "false"),
    ("STIGMER_SANDBOX_NETWORK", "none"),
    ("STIGMER_SANDBOX_MEMORY", "1GiB"),
    ("STIGMER_SANDBOX_TTL", "300"),
];

/// Removes the case's container, if it needed one, when the case is over.
struct Removed {
    root: PathBuf,
    _engine: Engine,
    _directories: [tempfile::TempDir; 2],
}

impl Drop for Removed {
    fn drop(&mut self) {
        let label = format!("label=dev.stigmer.root={}", self.root.display());
        let listed = Command::new("docker").args(["ps", "-aq", "--filter", &label]).output();
        let listed = listed.map(|output| output.stdout).unwrap_or_default();
        for id in String::from_utf8_lossy(&listed).lines() {
            let _ = Command::new("docker").args(["rm", "--force", id]).output();
        }
    }
}

fn configuration(home: &Path, beside: &Path) -> Configuration {
    let kept = ["PATH", "DOCKER_HOST", "STIGMER_SIDECAR"];
    let kept = kept.into_iter().filter_map(|name| Some((name.into(), std::env::var_os(name)?)));
    let said = SETTINGS.map(|(name, value)| (name.into(), value.into()));
    // What lies beside the workspace is there, so that it is not for want of it that nothing gets out.
    let beside = format!("{0}:{0}", beside.display());
    let own = [
        ("STIGMER_HOME".into(), home.join("home").into_os_string()),
        ("STIGMER_SANDBOX_VOLUMES".into(), beside.into()),
    ];
    let environment: Vec<(OsString, OsString)> = kept.chain(said).chain(own).collect();
    let surroundings = Surroundings { environment, home: Some(home.join("user")) };
    Configuration::load(&Sources { surroundings, ..Sources::default() }).unwrap()
}

async fn fixture(launcher: Arc<Launcher>) -> Fixture {
    let (place, root) = wire::directory();
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("user")).unwrap();
    let engine = Engine::with_managers(
        configuration(&home.path().canonicalize().unwrap(), root.parent().unwrap()),
        Some(launcher),
        ProcessScope::Workspace,
        Box::new(|options| Ok(Arc::new(DockerManager::new(options)?))),
    );
    let workspace = Workspace::choose(Some(&root), &root).unwrap();
    let mode = Some(ExecutionMode::Auto);
    let executor = engine.executor(mode, &workspace, &|_| {}).await.unwrap();
    let directories = [place, home];
    let keep = Box::new(Removed { root: root.clone(), _engine: engine, _directories: directories });
    Fixture { executor, host_view: Some(root.clone()), root, keep }
}

#[allow(clippy::print_stderr, reason = "what is left out is said aloud")]
fn left_out(why: &str) -> ExitCode {
    eprintln!("LEFT OUT the suite in auto mode: {why}");
    if std::env::var_os("CI").is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn main() -> ExitCode {
    // Supervisors are forked before there are threads.
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    if std::env::var_os("STIGMER_SIDECAR").is_none() {
        return left_out("STIGMER_SIDECAR names no static sidecar");
    }
    let answers = Command::new("docker").arg("version").output();
    if !answers.is_ok_and(|answer| answer.status.success()) {
        return left_out("no engine answers");
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/test-image");
    let made = Command::new(script).arg("base").output();
    if !made.is_ok_and(|made| made.status.success()) {
        return left_out("scripts/test-image cannot make the image");
    }
    stigmer_conformance::run_waiting("auto", move || fixture(Arc::clone(&launcher)))
}
