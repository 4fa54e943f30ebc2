//! The suite of all backends through a sidecar, over TCP.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "each suite uses its part")]
mod support;

fn main() {
    stigmer_conformance::run("sidecar-tcp", || support::fixture(support::Sidecar::tcp));
}
