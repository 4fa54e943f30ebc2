//! Workspaces in Docker containers: one long-lived container for each, with the sidecar as its
//! process 1.

mod attach;
mod create;
mod disk;
mod engine;
mod executor;
mod image;
mod judge;
mod lock;
mod make;
mod manager;
mod names;
mod options;
mod pool;
mod prove;
mod pull;
mod reap;
mod record;
mod root;
mod shared;
mod status;
mod transitions;
mod transport;
mod volume;
mod warden;

pub use manager::DockerManager;
pub use options::{
    Credentials, DEFAULT_MEMORY, DEFAULT_PIDS, DockerOptions, Network, Owner, Port, Volume,
};
