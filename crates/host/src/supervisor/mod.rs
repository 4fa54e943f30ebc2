//! One small process for each command: its subreaper, its log, its exit record.
//!
//! A supervisor belongs to nobody: it is forked by whoever starts a command ([`Launcher`]), leaves
//! that program's session, terminal and descriptors, and lives as long as anything of its command
//! does. What it knows is on disk ([`record`], [`log`]); what it can do is asked for over its
//! socket ([`protocol`]).

pub(crate) mod begin;
mod client;
mod endpoints;
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

pub use launcher::{Launcher, Reserve};
pub use tree::kill_descendants;
