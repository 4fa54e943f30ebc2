//! `write`: a file, whole.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::file::{WriteFile, WriteSummary};
use stigmer_core::{Result, ToolError};

use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;

/// What to write.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Write {
    /// The file, relative to the workspace or absolute beneath it. Missing directories are made.
    path: String,
    /// The whole new content.
    content: String,
    /// How `content` is to be read: the text itself (utf-8), or bytes (base64). Default: utf-8.
    #[serde(default)]
    encoding: How,
    /// Fail if the file exists.
    #[serde(default)]
    create_only: bool,
    /// Fail if the file's SHA-256 is another: somebody changed it since it was read.
    expected_sha256: Option<String>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
enum How {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

/// What was written.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    /// Whether there was no file before.
    is_new_file: bool,
    /// Lines that the old content did not have.
    lines_added: u64,
    /// Lines of the old content that are gone.
    lines_removed: u64,
    /// The SHA-256 of the file as it is now.
    sha256: String,
}

impl Operation for Write {
    const NAME: &'static str = "write";
    const TITLE: &'static str = "Write a file";
    const DESCRIPTION: &'static str = "\
Create a file or replace its whole content, at once: nobody sees half of it. To change a part, use \
edit.";
    const EFFECT: Effect = Effect::ReplacesOnce;
    type Answer = Written;

    async fn call(self, call: Call) -> Result<Written> {
        let content = match self.encoding {
            How::Utf8 => self.content.into(),
            How::Base64 => STANDARD
                .decode(self.content)
                .map_err(|error| ToolError::invalid_argument("content", error))?
                .into(),
        };
        let executor = call.executor(self.workspace.as_deref()).await?;
        let WriteSummary { is_new_file, lines_added, lines_removed, sha256 } = executor
            .write_file(WriteFile {
                path: self.path.into(),
                content,
                expected_sha256: self.expected_sha256,
                create_only: self.create_only,
            })
            .await?;
        Ok(Written { is_new_file, lines_added, lines_removed, sha256 })
    }
}

impl Answer for Written {
    fn text(&self) -> String {
        let done = if self.is_new_file { "created" } else { "replaced" };
        format!("{done}: {} lines added, {} removed", self.lines_added, self.lines_removed)
    }
}
