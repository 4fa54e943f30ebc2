//! One small process for each command: its subreaper, its log, its exit record.
//!
//! A supervisor belongs to nobody: it is forked by whoever starts a command ([`Launcher`]), leaves
//! that program's session, terminal and descriptors, and lives as long as anything of its command
//! does. What it knows is on disk ([`record`], [`log`]); what it can do is asked for over its
//! socket ([`protocol`]).

pub(crate) mod begin;
mod client;
mod endpoints;
#[cfg(feature = "lanes")]
mod lane;
#[cfg(not(feature = "lanes"))]
#[path = "no_lane.rs"]
mod lane;
mod launcher;
pub(crate) mod limits;
pub mod log;
mod memory;
mod news;
mod outputs;
pub mod protocol;
mod prune;
pub mod record;
mod reserve;
mod spawn;
mod supervise;
mod tree;

pub(crate) use launcher::LAUNCH_LIMIT;
pub use launcher::{Launcher, Reserve};
pub use memory::be_killed_first;
pub use tree::kill_descendants;
