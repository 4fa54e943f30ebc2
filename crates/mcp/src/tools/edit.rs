//! `edit`: replacements in a file, all or none.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::Result;
use stigmer_core::file::{self, EditFile, EditSummary};

use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;
use crate::clip;

/// What to change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edit {
    /// The file, relative to the workspace or absolute beneath it.
    path: String,
    /// The replacements, in order, each on the result of the one before it.
    #[schemars(length(min = 1, max = 1000))]
    edits: Vec<Replacement>,
    /// Fail if the file's SHA-256 is another: somebody changed it since it was read.
    expected_sha256: Option<String>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

/// One replacement.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Replacement {
    /// The text to replace, exactly as it stands in the file, with its indentation. It must occur
    /// once, unless `replace_all`.
    #[schemars(length(min = 1))]
    old: String,
    /// What takes its place.
    new: String,
    /// Replace every occurrence.
    #[serde(default)]
    replace_all: bool,
}

/// What was changed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Edited {
    /// How many places each replacement has changed.
    occurrences: Vec<u64>,
    /// Lines added in all.
    lines_added: u64,
    /// Lines removed in all.
    lines_removed: u64,
    /// The change as a unified diff.
    diff: String,
    /// Whether the end of the diff was left out.
    diff_cut: bool,
    /// The SHA-256 of the file as it is now.
    sha256: String,
}

impl Operation for Edit {
    const NAME: &'static str = "edit";
    const TITLE: &'static str = "Edit a file";
    const DESCRIPTION: &'static str = "\
Replace text in a file. All replacements are made, or none: a text that does not occur, or occurs more \
than once, fails with the nearest lines or their numbers, and nothing is written. Returns the diff.";
    const EFFECT: Effect = Effect::Replaces;
    type Answer = Edited;

    async fn call(self, call: Call) -> Result<Edited> {
        let edits = self.edits.into_iter().map(|edit| file::Edit {
            old: edit.old.into(),
            new: edit.new.into(),
            replace_all: edit.replace_all,
        });
        let request = EditFile {
            path: self.path.into(),
            edits: edits.collect(),
            expected_sha256: self.expected_sha256,
        };
        let executor = call.executor(self.workspace.as_deref()).await?;
        let EditSummary { occurrences, lines_added, lines_removed, diff, sha256 } =
            executor.edit_file(request).await?;
        let (diff, whole) = clip::text(&diff, clip::MAX_TEXT_BYTES);
        Ok(Edited { occurrences, lines_added, lines_removed, diff, diff_cut: !whole, sha256 })
    }
}

impl Answer for Edited {
    fn text(&self) -> String {
        let mut text = self.diff.clone();
        if self.diff_cut {
            super::run::end_line(&mut text);
            text.push_str("[the diff is cut here; read shows the file as it is now]");
        }
        text
    }
}
