//! The daemon: the engine, served on a unix socket and on TCP.
//!
//! It keeps nothing that matters in memory. Commands have supervisors of their own and go on without
//! it; workspaces, processes and events are on disk. So it may end at any moment, and the next one
//! has to clear away a socket and nothing else.

mod ask;
mod control;
mod descriptors;
mod idle;
mod listen;
mod lock;
mod logging;
mod metrics;
mod place;
mod provider;
mod record;
mod run;
mod tail;
mod telemetry;
mod token;

pub use ask::ask;
pub use control::{Stop, stop};
pub use listen::Listen;
pub use place::DaemonPlace;
pub use record::{Record, Running, find, left_behind, since};
pub use run::{Options, run};
pub use tail::LogReader;
pub use token::token;
