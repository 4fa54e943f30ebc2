//! What a backend can do.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ToolError;

/// One thing that some backends can do and others cannot.
///
/// Asking for one that is missing is an error ([`ErrorCode::Unsupported`](crate::ErrorCode)); an
/// option is never silently ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// A command may have a terminal.
    Terminal,
    /// A command may read the very descriptor that the caller has as its standard input.
    InheritStdin,
    /// A command may have the caller's whole environment.
    CallerEnvironment,
    /// A command may run as another user.
    User,
    /// Limits on a command's resources.
    ResourceLimits,
    /// Changes to files are reported as they happen.
    Watch,
}

impl Capability {
    /// The name used in messages and on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::InheritStdin => "inherit_stdin",
            Self::CallerEnvironment => "caller_environment",
            Self::User => "user",
            Self::ResourceLimits => "resource_limits",
            Self::Watch => "watch",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// What one executor can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The backend's name, for messages.
    pub backend: String,
    /// What it has.
    pub has: Vec<Capability>,
}

impl Capabilities {
    /// Whether the backend has it.
    pub fn has(&self, capability: Capability) -> bool {
        self.has.contains(&capability)
    }

    /// Refuses a request that needs what the backend lacks.
    ///
    /// # Errors
    /// `unsupported`, naming the capability and the backend.
    pub fn require(&self, capability: Capability) -> Result<(), ToolError> {
        if self.has(capability) {
            Ok(())
        } else {
            Err(ToolError::unsupported(capability, &self.backend))
        }
    }
}
