//! Workspaces in Docker containers: one long-lived container for each, with the sidecar as its
//! process 1.

mod options;

pub use options::{
    Credentials, DEFAULT_MEMORY, DEFAULT_PIDS, DockerOptions, Network, Owner, Port, Volume,
};
