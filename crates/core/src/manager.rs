//! What a backend has to answer: how to get a place for a workspace, and how to reach it.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{FilePath, Result, ToolError, ToolExecutor, WorkspaceId};

/// How far a workspace's place is.
///
/// `creating → ready → (stopped ⇄ ready) → deleting → gone`; `failed` from any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceState {
    /// It is being made. This has a deadline.
    Creating,
    /// Commands can run.
    Ready,
    /// It is kept as it is, and nothing runs in it until it is started.
    Stopped,
    /// It is being removed. This has a deadline.
    Deleting,
    /// There is none. The next use makes one.
    Gone,
    /// It cannot be used; the reason is beside it.
    Failed,
}

impl PlaceState {
    /// The name on the wire and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
            Self::Gone => "gone",
            Self::Failed => "failed",
        }
    }
}

/// What is known of a workspace's place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlaceStatus {
    /// The workspace that it is for.
    pub workspace: WorkspaceId,
    /// Its directory.
    pub root: FilePath,
    /// How far it is.
    pub state: PlaceState,
    /// Why it failed, and what is not as it should be.
    #[serde(default)]
    pub reason: Option<ToolError>,
    /// What the backend calls it: a container's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The image that it was made from.
    #[serde(default)]
    pub image: Option<String>,
    /// When it was made, milliseconds since 1970.
    #[serde(default)]
    pub created_ms: Option<u64>,
    /// What whoever relies on it should know: limits that are only watched, files that are a copy.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Toolchains (`python`, `node`) whose state lives in it, so that auto mode sends their commands
    /// there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affinity: Vec<String>,
}

/// How far the making of a place is, for people who wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// A step begins: `pulling image debian:12`, `creating container`.
    Step(String),
    /// A layer of an image is on its way.
    Layer {
        /// The layer, as its registry names it, shortened.
        id: String,
        /// What happens to it: `downloading`, `extracting`, `complete`.
        what: String,
        /// Bytes done.
        done: u64,
        /// Bytes in all; 0 if not known.
        total: u64,
    },
    /// Something that whoever waits should know, and nothing stopped for.
    Note(String),
}

/// Takes what a backend tells while somebody waits. It must not block.
pub type Listener<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// The workspace that a place is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its id.
    pub workspace: WorkspaceId,
    /// Its directory on this machine, absolute and without links.
    pub root: FilePath,
}

/// What became of a place that is gone.
#[derive(Clone, Debug, PartialEq)]
pub struct PlaceFate {
    /// When it was made, milliseconds since 1970: commands that are older were not lost with it.
    pub created_ms: u64,
    /// What is known, as `unavailable` with the detail `cause`.
    pub reason: ToolError,
}

/// A backend: it gets a place for a workspace, puts what executes into it, and reaches it.
///
/// All methods may be called by several programs at once; one of them owns a workspace's changes at
/// any time and the others wait for it. What lives outside is found again by its labels, whoever
/// made it.
#[async_trait]
pub trait WorkspaceManager: Send + Sync {
    /// The operations in a workspace. Makes its place, starts or adopts it, and returns once
    /// commands can run there.
    ///
    /// # Errors
    /// `not_available` if the backend cannot be used at all; what making the place says.
    async fn open(&self, site: &Site, listener: Listener<'_>) -> Result<Arc<dyn ToolExecutor>>;

    /// The operations of the place that is there, whatever settings it was made with; for whoever
    /// looks after its commands. Nothing is made, replaced or started for it, and about two seconds
    /// are waited at most (longer only where the sidecar is reached through the engine).
    ///
    /// Nothing if no place is there, or it is stopped: no command runs then, and what is known of
    /// earlier ones is on disk.
    ///
    /// # Errors
    /// `unavailable` if it is there and cannot be asked, such as one that somebody else paused: its
    /// commands may run still. `deadline_exceeded` if it does not answer in time. What the backend
    /// says.
    async fn attach(&self, site: &Site) -> Result<Option<Arc<dyn ToolExecutor>>>;

    /// What became of the place that was there last, for whoever lost commands with it. Nothing if it
    /// is there still, or nobody knows. About two seconds are waited at most.
    async fn fate(&self, site: &Site) -> Option<PlaceFate>;

    /// What tells the workspace's place from those that it had before, as it was known last: no backend is
    /// asked. Nothing if there is no place, or the backend does not tell.
    fn identity(&self, site: &Site) -> Option<String> {
        let _ = site;
        None
    }

    /// How far the workspace's place is.
    ///
    /// # Errors
    /// `not_available` if the backend cannot be asked.
    async fn status(&self, site: &Site) -> Result<PlaceStatus>;

    /// All places of this user and home, also those whose workspace was forgotten.
    ///
    /// # Errors
    /// As [`WorkspaceManager::status`].
    async fn list(&self) -> Result<Vec<PlaceStatus>>;

    /// Ends the commands and keeps the place as it is. One that is not there stays so.
    ///
    /// # Errors
    /// As [`WorkspaceManager::status`].
    async fn stop(&self, site: &Site) -> Result<PlaceStatus>;

    /// Makes a stopped place ready, or a new one.
    ///
    /// # Errors
    /// As [`WorkspaceManager::open`].
    async fn start(&self, site: &Site, listener: Listener<'_>) -> Result<PlaceStatus>;

    /// Ends the commands and removes the place and what is in it; the workspace's directory stays.
    ///
    /// # Errors
    /// As [`WorkspaceManager::status`].
    async fn remove(&self, site: &Site) -> Result<()>;

    /// Removes a place that failed and makes another. Outputs of commands that are on disk stay.
    ///
    /// # Errors
    /// As [`WorkspaceManager::open`].
    async fn recover(&self, site: &Site, listener: Listener<'_>) -> Result<PlaceStatus>;

    /// Removes what nobody needs any more: places that ended or were half made, those of workspaces
    /// that `is_known` does not know. Returns how many.
    ///
    /// # Errors
    /// As [`WorkspaceManager::status`].
    async fn reap(
        &self,
        is_known: &(dyn for<'a> Fn(&'a WorkspaceId) -> bool + Send + Sync),
    ) -> Result<usize>;

    /// Makes ready what shall wait for workspaces that are opened later, and returns how many places
    /// that are. One program does it at a time. A backend in which nothing waits has nothing to do.
    ///
    /// # Errors
    /// What the backend says.
    async fn refill(&self) -> Result<usize> {
        Ok(0)
    }
}
