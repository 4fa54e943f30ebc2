//! The Model Context Protocol (MCP) server of stigmer: its operations as tools for agents.
//!
//! Written once over [`Workspaces`] and mounted twice: by the daemon over HTTP ([`http`]), and by
//! `stigmer mcp` over standard input and output ([`stdio`]). The protocol itself is the `rmcp`
//! crate's, the official SDK.
//!
//! A failed operation is a tool's result that says so, with the code, message and hint that it has
//! everywhere. Protocol errors are for what is no call of a tool of ours.

mod answer;
mod arguments;
mod call;
mod clip;
pub mod http;
mod progress;
mod schema;
mod scope;
mod server;
mod sessions;
pub mod stdio;
mod tools;
mod workspaces;

pub use scope::Scope;
pub use server::{CommandSettings, Server};
pub use workspaces::{Served, Workspaces};
