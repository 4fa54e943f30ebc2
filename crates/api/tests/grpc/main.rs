//! The server as its clients see it: generated clients, and requests that no client of ours makes.
//!
//! Supervisors are forked before a program has threads, so this suite has a `main` of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod calls;
mod commands;
mod http;
mod place;
mod skew;
mod transfers;

use std::sync::Arc;

use libtest_mimic::Arguments;
use stigmer_host::{Launcher, Reserve};

fn main() {
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(4)).unwrap());
    let mut trials = calls::trials(&launcher);
    trials.extend(commands::trials(&launcher));
    trials.extend(http::trials(&launcher));
    trials.extend(skew::trials(&launcher));
    trials.extend(transfers::trials(&launcher));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}
