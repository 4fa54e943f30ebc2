//! `grep`: lines by content.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::search::{CaseRule, GrepMatch, GrepSearch};
use stigmer_core::{Result, ToolError};

use super::list::{unreadable, within};
use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;
use crate::clip;

/// The matches of one answer if nothing is said, and the most.
const MATCHES: usize = 100;
const MAX_MATCHES: usize = 1_000;

/// The most lines around a match.
const MAX_CONTEXT: u32 = 20;

/// What to look for.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Grep {
    /// A regular expression in ripgrep's syntax, held against each line.
    #[schemars(length(min = 1))]
    pattern: String,
    /// Take the pattern as it stands, not as a regular expression.
    #[serde(default)]
    literal: bool,
    /// Whether upper and lower case differ: sensitive, insensitive, or smart (they do if the pattern
    /// has an upper-case letter). Default: sensitive.
    #[serde(default)]
    case: Case,
    /// Files or directories to search. Default: the whole workspace.
    #[serde(default)]
    paths: Vec<String>,
    /// Search only files that one of these globs names, such as `*.rs`.
    #[serde(default)]
    include: Vec<String>,
    /// Search no file that one of these globs names.
    #[serde(default)]
    exclude: Vec<String>,
    /// Search hidden files and what .gitignore names, too.
    #[serde(default)]
    no_ignore: bool,
    /// Lines to show before and after each match. Default: 0.
    #[schemars(range(max = 20))]
    context: Option<u32>,
    /// The most matches to return, in all. Default: 100.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Case {
    #[default]
    Sensitive,
    Insensitive,
    Smart,
}

/// What was found.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    /// The lines, sorted by path, then by line.
    matches: Vec<Match>,
    /// Whether there are more.
    truncated: bool,
    /// Files that match but are no text, so that not all of their lines are shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    binary: Vec<String>,
    /// Files that could not be read, each with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unreadable: Vec<String>,
}

/// A line that matches.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Match {
    /// The file, relative to the workspace.
    path: String,
    /// The line's number, from 1.
    line: u64,
    /// Where the match begins in the line, in bytes, from 1.
    column: u64,
    /// The line.
    text: String,
    /// Lines before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    before: Vec<String>,
    /// Lines after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    after: Vec<String>,
}

impl From<GrepMatch> for Match {
    fn from(found: GrepMatch) -> Self {
        Self {
            path: found.path.to_string(),
            line: found.line,
            column: found.column,
            text: clip::line(&found.text),
            before: found.before.iter().map(clip::line).collect(),
            after: found.after.iter().map(clip::line).collect(),
        }
    }
}

impl Match {
    fn bytes(&self) -> usize {
        let around = self.before.iter().chain(&self.after).map(String::len).sum::<usize>();
        self.path.len() + self.text.len() + around
    }
}

impl Operation for Grep {
    const NAME: &'static str = "grep";
    const TITLE: &'static str = "Search in files";
    const DESCRIPTION: &'static str = "\
Find lines by content, as ripgrep does. No match is a success with none. Leaves out hidden files, what \
.gitignore names and files that are no text, unless `no_ignore`.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Found;

    async fn call(self, call: Call) -> Result<Found> {
        let limit = within("limit", self.limit, MATCHES, MAX_MATCHES)?;
        let context = self.context.unwrap_or_default();
        if context > MAX_CONTEXT {
            let reason = format!("{context} is more than {MAX_CONTEXT}");
            return Err(ToolError::invalid_argument("context", reason));
        }
        let executor = call.executor(self.workspace.as_deref()).await?;
        let found = executor
            .grep_search(GrepSearch {
                pattern: self.pattern.into(),
                literal: self.literal,
                case: match self.case {
                    Case::Sensitive => CaseRule::Sensitive,
                    Case::Insensitive => CaseRule::Insensitive,
                    Case::Smart => CaseRule::Smart,
                },
                paths: self.paths.into_iter().map(Into::into).collect(),
                include: self.include,
                exclude: self.exclude,
                no_ignore: self.no_ignore,
                before: context,
                after: context,
                limit: Some(limit),
            })
            .await?;
        let mut matches = Vec::new();
        let (mut bytes, mut truncated) = (0, found.truncated);
        for one in found.matches.into_iter().map(Match::from) {
            bytes += one.bytes();
            // One is always shown: it is not longer than its lines may be.
            if bytes > clip::MAX_TEXT_BYTES && !matches.is_empty() {
                truncated = true;
                break;
            }
            matches.push(one);
        }
        Ok(Found {
            matches,
            truncated,
            binary: unreadable(found.binary),
            unreadable: unreadable(found.unreadable),
        })
    }
}

impl Answer for Found {
    fn text(&self) -> String {
        let mut text = String::new();
        for Match { path, line, text: found, before, after, .. } in &self.matches {
            let first = line - before.len() as u64;
            for (number, line) in (first..).zip(before) {
                text.push_str(&format!("{path}-{number}-{line}\n"));
            }
            text.push_str(&format!("{path}:{line}:{found}\n"));
            for (number, line) in (line + 1..).zip(after) {
                text.push_str(&format!("{path}-{number}-{line}\n"));
            }
        }
        if self.matches.is_empty() {
            text.push_str("no line matches\n");
        }
        if self.truncated {
            text.push_str("[there are more: narrow the search, or pass a larger limit]\n");
        }
        for path in &self.binary {
            text.push_str(&format!("[{path} matches and is no text]\n"));
        }
        for reason in &self.unreadable {
            text.push_str(&format!("[not read: {reason}]\n"));
        }
        text
    }
}
