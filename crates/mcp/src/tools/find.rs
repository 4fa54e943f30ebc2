//! `find`: files by name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::Result;
use stigmer_core::search::{QueryKind, SearchFiles};

use super::list::{unreadable, within};
use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;

/// The paths of one answer if nothing is said, and the most.
const PATHS: usize = 100;
const MAX_PATHS: usize = 5_000;

/// What to look for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Find {
    /// What to look for in names.
    #[schemars(length(min = 1))]
    query: String,
    /// How the query is read: as a glob (`*.rs`, `src/**/mod.rs`), or fuzzy, as characters in order
    /// with gaps, the best match first. Default: glob.
    #[serde(default)]
    kind: Kind,
    /// Directories to look in. Default: the whole workspace.
    #[serde(default)]
    directories: Vec<String>,
    /// Look at hidden files and what .gitignore names, too.
    #[serde(default)]
    no_ignore: bool,
    /// The most paths to return. Default: 100.
    #[schemars(range(min = 1, max = 5000))]
    limit: Option<usize>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Kind {
    #[default]
    Glob,
    Fuzzy,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    /// Paths, relative to the workspace.
    paths: Vec<String>,
    /// Whether there are more than the limit.
    truncated: bool,
    /// Directories that could not be looked into, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

impl Operation for Find {
    const NAME: &'static str = "find";
    const TITLE: &'static str = "Find files";
    const DESCRIPTION: &'static str = "\
Find files by name, with a glob or a fuzzy query. A glob without / is held against the file's name, \
else against its path from the workspace. Leaves out hidden files and what .gitignore names, unless \
`no_ignore`.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Found;

    async fn call(self, call: Call) -> Result<Found> {
        let limit = within("limit", self.limit, PATHS, MAX_PATHS)?;
        let executor = call.executor(self.workspace.as_deref()).await?;
        let found = executor
            .search_files(SearchFiles {
                query: self.query,
                kind: match self.kind {
                    Kind::Glob => QueryKind::Glob,
                    Kind::Fuzzy => QueryKind::Fuzzy,
                },
                directories: self.directories.into_iter().map(Into::into).collect(),
                ignore_rules: !self.no_ignore,
                limit: Some(limit),
            })
            .await?;
        Ok(Found {
            paths: found.paths.iter().map(ToString::to_string).collect(),
            truncated: found.truncated,
            unreadable: unreadable(found.unreadable),
        })
    }
}

impl Answer for Found {
    fn text(&self) -> String {
        let mut text = self.paths.join("\n");
        if self.paths.is_empty() {
            text.push_str("no file has such a name");
        }
        if self.truncated {
            text.push_str("\n[there are more: narrow the query, or pass a larger limit]");
        }
        for reason in &self.unreadable {
            text.push_str(&format!("\n[not read: {reason}]"));
        }
        text
    }
}
