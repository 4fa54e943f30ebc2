//! Workspaces: where an agent works.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Capabilities, ExecutionMode, FilePath};

/// The id of a workspace: the letters `ws-` and sixteen hexadecimal digits. It follows from the
/// directory and the mode, so that whoever opens the same gets the same.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WorkspaceId(String);

/// A text that is not the id of a workspace.
#[derive(Debug, thiserror::Error)]
#[error("\"{0}\" is not a workspace id: ws- and sixteen hexadecimal digits")]
pub struct InvalidWorkspaceId(String);

const PREFIX: &str = "ws-";
const DIGITS: usize = 16;

impl WorkspaceId {
    /// The id with these digits.
    pub fn from_number(number: u64) -> Self {
        Self(format!("{PREFIX}{number:016x}"))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for WorkspaceId {
    type Err = InvalidWorkspaceId;

    fn from_str(text: &str) -> Result<Self, InvalidWorkspaceId> {
        let digits = text.strip_prefix(PREFIX).unwrap_or_default();
        let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if digits.len() == DIGITS && digits.bytes().all(hexadecimal) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidWorkspaceId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for WorkspaceId {
    type Error = InvalidWorkspaceId;
    fn try_from(text: String) -> Result<Self, InvalidWorkspaceId> {
        text.parse()
    }
}

impl From<WorkspaceId> for String {
    fn from(id: WorkspaceId) -> Self {
        id.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for WorkspaceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Opens a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenWorkspace {
    /// Its directory, absolute. Empty where there is one workspace only: in a sidecar.
    pub path: FilePath,
    /// Where its commands run; `None` leaves it to the settings.
    #[serde(default)]
    pub mode: Option<ExecutionMode>,
    /// Settings of whoever asks that say what its place is made like: names and values, as they
    /// would stand in the configuration file. They overrule the server's own until somebody
    /// prepares the place otherwise; only with [`Preparation::Create`] are they kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
}

/// What to do that a workspace's place be ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preparation {
    /// What a use does: one that is not there is made, one that was stopped is started.
    #[default]
    Open,
    /// The same, and what is said of it is kept with the workspace: whoever uses it later and says
    /// nothing has it so.
    Create,
    /// One that was stopped is started.
    Start,
    /// One that failed is removed, and another made.
    Recover,
}

/// What is known of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkspaceInfo {
    /// Its id.
    pub id: WorkspaceId,
    /// Its directory.
    pub root: FilePath,
    /// Where its commands run.
    pub mode: ExecutionMode,
    /// What its backend can do.
    pub capabilities: Capabilities,
    /// When it was first opened, milliseconds since 1970.
    pub opened_ms: u64,
    /// What the environment set that the server was started with: names of settings and their
    /// values, as they would stand in the configuration file, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub server_settings: Vec<(String, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_and_nothing_else_does() {
        for number in [0, 1, u64::MAX] {
            let id = WorkspaceId::from_number(number);
            assert_eq!(id.as_str().parse::<WorkspaceId>().unwrap(), id);
        }
        for bad in ["", "ws-", "ws-0123456789ABCDEF", "ws-0123456789abcde", "0123456789abcdef", "/"]
        {
            assert!(bad.parse::<WorkspaceId>().is_err(), "{bad}");
        }
    }
}
