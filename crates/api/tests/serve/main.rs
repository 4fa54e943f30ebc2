//! What the serving loop promises, whoever is at the other end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod access;
mod bounds;
mod draining;
#[allow(dead_code, reason = "the suite of memory uses the rest")]
mod support;
