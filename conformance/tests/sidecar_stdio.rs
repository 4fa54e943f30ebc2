//! The suite through a sidecar's standard input and output.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::path::Path;
use std::process::ExitCode;

use stigmer_api::client::Endpoint;
use tokio::net::unix::pipe;
use wire::Running;

fn main() -> ExitCode {
    stigmer_conformance::run("sidecar-stdio", || async {
        let (home, root) = wire::directory();
        let mut child = wire::sidecar(&root, &home.path().join("state"), "stdio", &[]);
        wire::first_word(&mut child);
        let output = pipe::Receiver::from_owned_fd(child.stdout.take().unwrap().into()).unwrap();
        let input = pipe::Sender::from_owned_fd(child.stdin.take().unwrap().into()).unwrap();
        let endpoint = Endpoint::stream(tokio::io::join(output, input));
        wire::fixture(endpoint, Path::new(""), root, (Running(child), home)).await
    })
}
