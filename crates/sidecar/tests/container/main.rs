//! The sidecar as process 1 of real containers. Run as a user who may ask the engine, not as root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod images;
mod life;
mod memory;
mod names;
mod packages;
mod support;
mod trial;
