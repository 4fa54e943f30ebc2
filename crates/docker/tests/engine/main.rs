//! The backend against a real engine. Without one, or without the program that goes into containers
//! (`STIGMER_SIDECAR`, a static build), these tests are left out, which is said, and a failure in CI.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod copies;
mod deaths;
mod faults;
mod kills;
mod life;
mod pool;
mod pulling;
mod support;
