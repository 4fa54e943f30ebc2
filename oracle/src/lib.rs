//! An oracle of effects: what commands do in the lanes that auto mode sends them to.
//!
//! A [`World`] is a process in namespaces of its own, with a home directory, a workspace, secrets, tools,
//! and servers that nobody should reach. Commands are run there in two ways: in a lane, as
//! `stigmer-guard` makes it, and *bare*, held by nothing but the world. Both are observed from outside
//! of the lane: every file before and after, secrets that were read, connections that came. A bare
//! command is also followed by `strace`, which shows what it tried; that says whether the decision of
//! `stigmer-route` was right, and needs no word of the guard's.
//!
//! Nothing that is run here reaches the machine: the world's file system is read-only but for its own
//! directories in memory, and it has no network.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "runs in tests only: what fails there panics"
)]

mod labelled;
mod listeners;
mod report;
mod rights;
mod run;
mod setup;
mod snapshot;
mod trace;
mod trial;
mod worker;
mod world;

pub use labelled::{Labelled, labelled};
pub use report::{Judged, LEAST_KEPT, Report};
pub use rights::beyond;
pub use trial::{Change, Observation, Trial, Way, What};
pub use worker::serve;
pub use world::{World, run_all};

/// The caller's home directory in a world.
pub const HOME: &str = "/home/ada";

/// The workspace in a world.
pub const PROJECT: &str = "/home/ada/project";
