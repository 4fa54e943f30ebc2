//! The lanes on a real kernel: real programs, and what became of the files.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod confinement;
mod fixture;
mod git;
mod hostile;
mod read_only;
mod secrets;
mod startup;
mod workspace;
