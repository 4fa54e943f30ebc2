//! What happens in a server, for whoever watches it.

use serde::{Deserialize, Serialize};

use crate::process::ExitStatus;
use crate::{FilePath, Lane, Place, ProcessId, WorkspaceId};

/// One thing that happened. No command line, environment or content is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The offset after this event: what a reader gives that wants to go on from here.
    #[serde(default)]
    pub next: u64,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The root of the workspace it happened in.
    #[serde(default, skip_serializing_if = "FilePath::is_empty")]
    pub workspace: FilePath,
    /// The request that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventKind {
    /// A command was started.
    ProcessStarted {
        /// Its id.
        id: ProcessId,
        /// Where it runs.
        place: Place,
        /// Whether it goes on without a client.
        detached: bool,
        /// The trace that it belongs to: a W3C `traceparent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
    /// A command ended.
    ProcessEnded {
        /// Its id.
        id: ProcessId,
        /// How.
        exit: ExitStatus,
        /// The trace that it belongs to: a W3C `traceparent`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        traceparent: Option<String>,
    },
    /// Auto mode chose a command's lane.
    CommandRouted {
        /// Its id.
        id: ProcessId,
        /// The lane that it runs in.
        lane: Lane,
        /// The rule that decided.
        rule: String,
        /// Why, in plain words.
        reason: String,
        /// The kinds of calls that were refused to a first try in the read-only lane, which was then
        /// discarded.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fell_over: Vec<String>,
    },
    /// A workspace was opened for the first time.
    WorkspaceOpened {
        /// Its id.
        id: WorkspaceId,
    },
    /// A workspace was forgotten.
    WorkspaceForgotten {
        /// Its id.
        id: WorkspaceId,
    },
    /// An operation changed files.
    FilesChanged {
        /// The operation, for example `edit_file`.
        operation: String,
        /// The path, as the caller named it.
        path: FilePath,
    },
    /// Events before the next one are gone.
    EventsLost,
}
