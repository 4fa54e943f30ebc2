//! One suite for every backend.
//!
//! Each case is written against [`ToolExecutor`](stigmer_core::ToolExecutor) and knows nothing of
//! the backend; a backend adds one small test file that makes [`Fixture`]s and calls [`run`]. The
//! suite is proven on the host first. A case is left out only where the backend lacks a capability
//! that the case names, and the run says so.
//!
//! A case prepares and inspects the workspace in a way that does not go through the operation under
//! test: through the file system where the test's process sees the workspace
//! ([`Fixture::host_view`]), else with ordinary commands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the suite runs in tests only: a case fails by panicking"
)]

mod archive;
mod cases;
mod check;
mod fixture;
mod harness;
mod random;

pub use fixture::Fixture;
pub use harness::{Case, all, run, run_waiting};
