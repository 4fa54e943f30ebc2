//! The suite through a daemon's TCP port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::process::ExitCode;
use std::sync::Arc;

fn main() -> ExitCode {
    let daemon = Arc::new(wire::Daemon::start("127.0.0.1:0"));
    stigmer_conformance::run("daemon-tcp", move || {
        let daemon = Arc::clone(&daemon);
        async move {
            let (home, root) = wire::directory();
            wire::fixture(daemon.tcp(), &root.clone(), root, (home, daemon)).await
        }
    })
}
