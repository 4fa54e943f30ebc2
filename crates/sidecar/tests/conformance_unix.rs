//! The suite of all backends through a sidecar, over a unix socket.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each suite uses its part")]
mod support;

fn main() {
    stigmer_conformance::run("sidecar-unix", || support::fixture(support::Sidecar::unix));
}
