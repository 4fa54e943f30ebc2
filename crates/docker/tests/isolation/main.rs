//! What SECURITY.md claims of sandbox mode, each claim a test, against a real engine. Without one,
//! or without the program that goes into containers (`STIGMER_SIDECAR`, a static build), these tests
//! are left out, which is said, and a failure in CI.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod claims;
mod hostile;
mod identity;
mod kernel;
mod limits;
mod machine;
mod neighbours;
mod network;
mod packages;
mod pool;
mod sandbox;
#[path = "../engine/support.rs"]
#[allow(dead_code, reason = "it serves other tests, too")]
mod support;
