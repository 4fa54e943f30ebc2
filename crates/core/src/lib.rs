//! The words of stigmer: what a tool operation takes, what it returns and how it fails.
//!
//! Everything here is plain data and two traits, [`ToolExecutor`] and [`WorkspaceManager`]. This
//! crate performs no input or output, knows no wire format beyond `serde`, and depends on no other
//! crate of the project, so that every backend, front-end and client can speak of the same things.

mod bytestring;
mod capability;
mod capture;
mod error;
pub mod event;
mod executor;
pub mod file;
mod id;
pub mod limits;
pub mod manager;
mod place;
pub mod process;
mod routing;
pub mod search;
pub mod skill;
mod trace;
pub mod transfer;
pub mod workspace;

pub use bytestring::{ByteString, FilePath};
pub use capability::{Capabilities, Capability};
pub use capture::Capture;
pub use error::{ErrorCode, Result, ToolError};
pub use executor::{ByteStream, ChangeStream, OutputStream, ToolExecutor};
pub use id::{InvalidProcessId, ProcessId};
pub use manager::WorkspaceManager;
pub use place::{ExecutionMode, Lane, Place};
pub use routing::{Denial, Denied, Enforced, Routing, WithoutLanes};
pub use trace::is_traceparent;
pub use workspace::{InvalidWorkspaceId, WorkspaceId};
