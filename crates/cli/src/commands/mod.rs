//! One file a command: what it is told, and what it does.

pub(crate) mod attach;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod find;
pub(crate) mod fs;
pub(crate) mod grep;
pub(crate) mod image;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod mcp;
pub(crate) mod ps;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod skill;
pub(crate) mod version;
pub(crate) mod wait;
pub(crate) mod workspace;
