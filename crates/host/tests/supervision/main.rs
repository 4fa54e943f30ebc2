//! The first proof, before anything is built on it: nothing a command started outlives its end, two
//! commands never touch each other, and nothing is lost when everything but the supervisor dies.
//!
//! Supervisors are forked before a program has threads, so this suite has a `main` of its own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and its child programs speak"
)]

mod ending;
mod escape;
mod identity;
mod output;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use stigmer_core::ByteString;
use stigmer_core::process::{Caller, StartProcess};
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, kind, mark] = arguments.as_slice() {
        if flag == "--escape" {
            escape::run(kind, Path::new(mark));
        }
        if flag == "--client" {
            ending::client(kind, Path::new(mark));
        }
    }
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    let mut trials = Vec::new();
    trials.extend(ending::trials(&launcher));
    trials.extend(output::trials(&launcher));
    trials.extend(identity::trials(&launcher));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A workspace of its own.
struct Place {
    home: tempfile::TempDir,
    executor: HostExecutor,
    launcher: Arc<Launcher>,
}

impl Place {
    fn new(launcher: &Arc<Launcher>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let executor = open(home.path(), Some(Arc::clone(launcher)));
        Self { home, executor, launcher: Arc::clone(launcher) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }
}

fn open(home: &Path, launcher: Option<Arc<Launcher>>) -> HostExecutor {
    let root = home.join("workspace");
    std::fs::create_dir_all(&root).unwrap();
    let processes = ProcessOptions { launcher, ..ProcessOptions::default() };
    HostExecutor::open(HostOptions { processes, ..HostOptions::new(root, home.join("state")) })
        .unwrap()
}

/// One test, run by a runtime of its own with a workspace of its own.
fn trial<F>(
    launcher: &Arc<Launcher>,
    name: &str,
    test: impl FnOnce(Place) -> F + Send + 'static,
) -> Trial
where
    F: Future<Output = ()>,
{
    let launcher = Arc::clone(launcher);
    Trial::test(name, move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(Place::new(&launcher)));
        Ok(())
    })
}

/// A command with the caller's environment.
fn shell(line: impl Into<ByteString>) -> StartProcess {
    let mut request = StartProcess::shell(line);
    let environment = std::env::vars_os().map(|(name, value)| (name.into(), value.into()));
    request.caller = Some(Caller::with_environment(environment.collect()));
    request
}
