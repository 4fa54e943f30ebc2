//! The suite through a daemon's unix socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let daemon = Arc::new(wire::Daemon::start("none"));
    stigmer_conformance::run("daemon-unix", move || {
        let daemon = Arc::clone(&daemon);
        async move {
            let (home, root) = wire::directory();
            wire::fixture(daemon.unix(), &root.clone(), root, (home, daemon)).await
        }
    })
}
