//! The API of stigmer: one contract, its server and its client.
//!
//! The `.proto` files are the only definition. gRPC serves them as they are; HTTP/JSON, SSE,
//! WebSocket and the OpenAPI document are derived from their descriptors. The daemon and the sidecar
//! mount the same server, and [`ToolExecutor`](stigmer_core::ToolExecutor) is what it serves.

pub mod client;
pub mod codec;
pub mod convert;
pub mod http;
pub mod message_size;
mod methods;
pub mod openapi;
pub mod provider;
pub mod resilience;
pub mod serve;
pub mod server;
pub mod shape;

/// What the contract's compiler made: messages, clients and servers.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used, reason = "generated")]
pub mod wire {
    tonic::include_proto!("stigmer.v1");
}

/// The contract as a serialised `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The same, comments included: they are a third of it, and the sidecar, which serves no HTTP, is made
/// without.
pub(crate) const DOCUMENTED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/documented.bin"));

pub use provider::{
    EventStream, Preparing, PreparingStream, Provider, RequestContext, ServerInfo, ServerKind,
};
