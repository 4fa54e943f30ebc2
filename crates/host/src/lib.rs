//! Every tool operation on the machine that this code runs on.
//!
//! [`HostExecutor`] is the one implementation of
//! [`ToolExecutor`](stigmer_core::ToolExecutor): local mode uses it in process, every other backend
//! uses it inside its sidecar. Files are reached through [`Root`], which keeps every operation
//! beneath the workspace; commands run under a [`supervisor`] each.

mod executor;
mod files;
pub mod journal;
mod process;
mod root;
mod search;
mod session;
mod state;
pub mod supervisor;
mod transfer;
mod watch;

pub use executor::{HostExecutor, HostOptions};
pub use process::{Confined, Confinement, ProcessOptions, ProcessScope};
pub use root::{Held, Resolver, Root};
pub use session::new_session;
pub use state::make_directory as make_state_directory;
pub use supervisor::{Launcher, Reserve};
