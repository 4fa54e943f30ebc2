//! The suite through a sidecar's unix socket.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::path::Path;
use std::process::ExitCode;

use stigmer_api::client::Endpoint;
use wire::Running;

fn main() -> ExitCode {
    stigmer_conformance::run("sidecar-unix", || async {
        let (home, root) = wire::directory();
        let socket = home.path().join("socket");
        let listen = format!("unix:{}", socket.display());
        let mut child = wire::sidecar(&root, &home.path().join("state"), &listen, &[]);
        wire::first_word(&mut child);
        let keep = (Running(child), home);
        wire::fixture(Endpoint::Unix(socket), Path::new(""), root, keep).await
    })
}
