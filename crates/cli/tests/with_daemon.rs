//! The suites of the command line once more, with a daemon doing the work: nobody shall notice.
//!
//! `support` starts a daemon for each place when it is compiled into this program.

#![allow(clippy::duplicate_mod, reason = "each suite brings its support along")]

#[path = "files.rs"]
mod files;
#[path = "mcp.rs"]
mod mcp;
#[path = "processes.rs"]
mod processes;
#[path = "search.rs"]
mod search;
#[path = "skills.rs"]
mod skills;
