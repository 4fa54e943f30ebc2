//! The suite through a sidecar's TCP port.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod wire;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::ExitCode;

use stigmer_api::client::{Endpoint, Token};
use wire::Running;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn main() -> ExitCode {
    stigmer_conformance::run("sidecar-tcp", || async {
        let (home, root) = wire::directory();
        let token = home.path().join("token");
        std::fs::write(&token, TOKEN).unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        let more = ["--token-file", token.to_str().unwrap()];
        let state = home.path().join("state");
        let mut child = wire::sidecar(&root, &state, "tcp:127.0.0.1:0", &more);
        let line = wire::first_word(&mut child);
        let address = line.trim().rsplit("tcp:").next().unwrap().to_owned();
        let endpoint = Endpoint::Tcp { address, token: Some(Token::new(TOKEN).unwrap()) };
        wire::fixture(endpoint, Path::new(""), root, (Running(child), home)).await
    })
}
