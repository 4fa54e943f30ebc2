//! The two lanes, and what can be refused about them.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use stigmer_core::{ErrorCode, Lane, ToolError};

/// A lane on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostLane {
    /// May read, and change nothing.
    ReadOnly,
    /// May change the workspace, and nothing else.
    Workspace,
}

impl HostLane {
    /// Its name in data files.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Workspace => "workspace",
        }
    }

    /// The lane of a verdict; `None` for the sandbox.
    pub fn of(lane: Lane) -> Option<Self> {
        match lane {
            Lane::HostReadOnly => Some(Self::ReadOnly),
            Lane::HostWorkspace => Some(Self::Workspace),
            Lane::Sandbox => None,
        }
    }
}

impl fmt::Display for HostLane {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Why a command does not run in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The kernel cannot do what the lane needs.
    Unsupported {
        /// Which lane is off.
        lane: HostLane,
        /// What is missing.
        reason: String,
    },
    /// The program that the caller's shell would run cannot be executed in the lane.
    Program {
        /// The first match of PATH.
        path: PathBuf,
        /// The lane.
        lane: HostLane,
    },
    /// Something about the workspace or the caller's surroundings does not fit the lane.
    Unfit {
        /// The path that it is about.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The process that was to execute the command could not enter the lane: on this machine, or as things
    /// are, the lane is off. Nothing was executed.
    NotEntered {
        /// Which lane is off.
        lane: HostLane,
        /// The step at which it failed, and what the system said.
        reason: String,
    },
    /// The operating system failed.
    Io {
        /// What was tried.
        step: &'static str,
        /// What it said.
        error: String,
    },
}

impl Refusal {
    pub(crate) fn io(step: &'static str, error: impl fmt::Display) -> Self {
        Self::Io { step, error: error.to_string() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported { lane, reason } => {
                write!(formatter, "the {lane} lane is off: {reason}")
            }
            Self::NotEntered { lane, reason } => {
                write!(formatter, "the {lane} lane is off: cannot {reason}")
            }
            Self::Program { path, lane } => {
                let path = path.display();
                write!(formatter, "{path} cannot be executed in the {lane} lane")
            }
            Self::Unfit { path, reason } => write!(formatter, "{}: {reason}", path.display()),
            Self::Io { step, error } => write!(formatter, "cannot {step}: {error}"),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<Refusal> for ToolError {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        match refusal {
            Refusal::Unsupported { .. } | Refusal::NotEntered { .. } => {
                Self::new(ErrorCode::Unsupported, message).with_hint(
                    "run it in a sandbox (`--mode sandbox`); `stigmer doctor` says what is missing",
                )
            }
            Refusal::Program { path, .. } => Self::new(ErrorCode::PermissionDenied, message)
                .with_detail("path", path.display().to_string())
                .with_hint("name its directory as a tool root, or run the command in a sandbox"),
            Refusal::Unfit { path, .. } => Self::new(ErrorCode::PermissionDenied, message)
                .with_detail("path", path.display().to_string())
                .with_hint("run the command in a sandbox (`--mode sandbox`)"),
            Refusal::Io { .. } => Self::new(ErrorCode::Io, message),
        }
    }
}
