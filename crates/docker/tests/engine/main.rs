//! The backend against a real engine. Without one, or without the program that goes into containers
//! (`STIGMER_SIDECAR`, a static build), these tests are left out, which is said, and a failure in CI.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod copies;
mod deaths;
mod directories;
mod disk;
mod fault_engine;
mod faults;
mod kills;
mod life;
mod many;
mod outages;
mod pool;
mod pulling;
mod relay;
mod support;
