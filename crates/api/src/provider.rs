//! What a server serves.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;
use stigmer_core::event::Event;
use stigmer_core::manager::{PlaceStatus, Progress};
use stigmer_core::skill::{AddedSkill, Skill};
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{ByteStream, ErrorCode, Result, ToolError, ToolExecutor};

/// A stream of what happens.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<Event>> + Send>>;

/// How far a place is that is being made.
#[derive(Clone, Debug, PartialEq)]
pub enum Preparing {
    /// What is going on.
    Progress(Progress),
    /// It is done; nothing comes behind it.
    Done(PlaceStatus),
}

/// A stream that ends with [`Preparing::Done`], or an error.
pub type PreparingStream = Pin<Box<dyn Stream<Item = Result<Preparing>> + Send>>;

/// What is known of who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The request's id: the client's, or one of ours.
    pub request_id: String,
    /// The client's W3C `traceparent`.
    pub traceparent: Option<String>,
}

/// Which of the two servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// The user's daemon.
    Daemon,
    /// The agent of ours inside a container or machine.
    Sidecar,
}

/// What a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its version.
    pub version: String,
    /// Which of the two.
    pub kind: ServerKind,
    /// Its process id.
    pub pid: u32,
    /// The user it runs as.
    pub uid: u32,
    /// When it was started, milliseconds since 1970.
    pub started_ms: u64,
    /// The socket that takes descriptors from clients on the same machine.
    pub descriptor_socket: Option<PathBuf>,
}

/// What a server serves: workspaces, and the executor of each.
///
/// The server knows nothing else of where it is mounted; the daemon implements this over the
/// engine, the sidecar over its one workspace.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// What the server is.
    fn info(&self) -> ServerInfo;

    /// The executor of a workspace, named by its id or its absolute path. An empty name is the only
    /// workspace of a sidecar; of a daemon it is an executor that knows the commands of all
    /// workspaces and refuses whatever needs one (`invalid_argument`).
    ///
    /// # Errors
    /// `unknown_workspace`, `not_found`, `not_available` and what opening a workspace says.
    async fn executor(
        &self,
        workspace: &str,
        context: &RequestContext,
    ) -> Result<Arc<dyn ToolExecutor>>;

    /// Opens a workspace; the same directory and mode give the same one.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `bad_configuration`, `not_available`.
    async fn open(&self, request: OpenWorkspace, context: &RequestContext)
    -> Result<WorkspaceInfo>;

    /// What is known of a workspace.
    ///
    /// # Errors
    /// `unknown_workspace`.
    async fn get(&self, workspace: &str) -> Result<WorkspaceInfo>;

    /// The workspaces that were opened and not forgotten, sorted by root.
    ///
    /// # Errors
    /// `io` if they cannot be read.
    async fn list(&self) -> Result<Vec<WorkspaceInfo>>;

    /// Forgets a workspace; returns whether there was one.
    ///
    /// # Errors
    /// `io` if it cannot be removed; `unsupported` in a sidecar.
    async fn forget(&self, workspace: &str, context: &RequestContext) -> Result<bool>;

    /// Makes the place of a workspace, which is opened with it.
    ///
    /// # Errors
    /// As [`Provider::open`], and `unsupported` where workspaces have no places: in a sidecar.
    async fn prepare(
        &self,
        _request: OpenWorkspace,
        _preparation: Preparation,
        _context: &RequestContext,
    ) -> Result<PreparingStream> {
        Err(no_places())
    }

    /// How far the place of a workspace is.
    ///
    /// # Errors
    /// `unknown_workspace`, what its backend says; `unsupported` in a sidecar.
    async fn place_status(&self, _workspace: &str) -> Result<PlaceStatus> {
        Err(no_places())
    }

    /// All places, also those of workspaces that were forgotten, sorted by root.
    ///
    /// # Errors
    /// What the backend says; `unsupported` in a sidecar.
    async fn places(&self) -> Result<Vec<PlaceStatus>> {
        Err(no_places())
    }

    /// Ends the commands of a workspace and keeps its place as it is.
    ///
    /// # Errors
    /// As [`Provider::place_status`].
    async fn stop_place(&self, _workspace: &str) -> Result<PlaceStatus> {
        Err(no_places())
    }

    /// Ends the commands of a workspace and removes its place.
    ///
    /// # Errors
    /// As [`Provider::place_status`].
    async fn remove_place(&self, _workspace: &str) -> Result<PlaceStatus> {
        Err(no_places())
    }

    /// Forgets which toolchains' state lives in the place of a workspace. What is installed there stays.
    ///
    /// # Errors
    /// As [`Provider::place_status`].
    async fn reset_affinity(&self, _workspace: &str) -> Result<PlaceStatus> {
        Err(no_places())
    }

    /// Adds a skill to a workspace, from a tar archive.
    ///
    /// # Errors
    /// As [`Provider::executor`]; `outside_workspace`, `too_large` and `invalid_argument` for what is
    /// no skill; `unsupported` in a sidecar.
    async fn add_skill(
        &self,
        _workspace: &str,
        _archive: ByteStream,
        _context: &RequestContext,
    ) -> Result<AddedSkill> {
        Err(no_skills())
    }

    /// The skills of a workspace, sorted by name.
    ///
    /// # Errors
    /// As [`Provider::executor`]; `unsupported` in a sidecar.
    async fn skills(&self, _workspace: &str, _context: &RequestContext) -> Result<Vec<Skill>> {
        Err(no_skills())
    }

    /// Removes a skill from a workspace; returns whether there was one.
    ///
    /// # Errors
    /// As [`Provider::executor`]; `invalid_argument` for what is no name; `unsupported` in a sidecar.
    async fn remove_skill(
        &self,
        _workspace: &str,
        _name: &str,
        _context: &RequestContext,
    ) -> Result<bool> {
        Err(no_skills())
    }

    /// What happens from an offset on (`None`: from now), for ever if `follow`.
    ///
    /// # Errors
    /// `invalid_argument` (an offset past the end), `unsupported` in a sidecar.
    async fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream>;

    /// The descriptor that a client on this machine handed over under a ticket; each is given once.
    ///
    /// # Errors
    /// `invalid_argument` if there is none.
    fn take_descriptor(&self, ticket: &str) -> Result<OwnedFd>;
}

/// The answer of a server that is itself in the one place that there is.
fn no_places() -> ToolError {
    ToolError::new(ErrorCode::Unsupported, "this server looks after no places")
        .with_hint("ask the daemon that made the place that this server is in")
}

/// The answer of a server whose workspace is looked after from outside.
fn no_skills() -> ToolError {
    ToolError::new(ErrorCode::Unsupported, "this server looks after no skills")
        .with_hint("ask the daemon that made the place that this server is in")
}
