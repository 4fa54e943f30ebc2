//! The suite on this machine, in process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::ExitCode;
use std::sync::Arc;

use stigmer_conformance::Fixture;
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

fn main() -> ExitCode {
    // Supervisors are forked before there are threads.
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    stigmer_conformance::run("host", move || {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap().join("workspace");
        std::fs::create_dir(&root).unwrap();
        let processes =
            ProcessOptions { launcher: Some(Arc::clone(&launcher)), ..ProcessOptions::default() };
        let state = home.path().join("state");
        let options = HostOptions { root: root.clone(), state, resolver: None, processes };
        let executor = HostExecutor::open(options).unwrap();
        std::future::ready(Fixture {
            executor: Arc::new(executor),
            host_view: Some(root.clone()),
            root,
            keep: Box::new(home),
        })
    })
}
