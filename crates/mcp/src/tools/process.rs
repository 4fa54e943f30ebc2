//! `process_input`, `process_kill`, `process_list`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::process::{ProcessInfo, ProcessState, SignalRequest};
use stigmer_core::{ProcessId, Result, ToolError};

use super::lane::{Refused, Routed, refused};
use super::run::{notes, taken_back};
use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;
use crate::clip;

/// The most commands in one answer, and how many are if nothing is said.
const MAX_COMMANDS: usize = 500;
const COMMANDS: usize = 50;

pub(super) fn process_id(text: &str) -> Result<ProcessId> {
    text.parse().map_err(|error| {
        ToolError::invalid_argument("process", error).with_hint("`process_list` shows the ids")
    })
}

/// What to type.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Input {
    /// The command's id.
    process: String,
    /// The text to write to its standard input, with its line end.
    #[serde(default)]
    text: String,
    /// Close its standard input then, so that it reads its end.
    #[serde(default)]
    close: bool,
    /// The workspace it was started in, if that is not the default one.
    workspace: Option<String>,
}

/// What was typed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Typed {
    /// The command's id.
    process: String,
    /// How many bytes it was sent.
    bytes: usize,
    /// Whether its standard input was closed.
    closed: bool,
}

impl Operation for Input {
    const NAME: &'static str = "process_input";
    const TITLE: &'static str = "Write to a command's input";
    const DESCRIPTION: &'static str = "\
Write to the standard input of a command that was started with `background` and `interactive`, or \
close it. Returns when the command's pipe has taken all.";
    const EFFECT: Effect = Effect::Anything;
    type Answer = Typed;

    async fn call(self, call: Call) -> Result<Typed> {
        let id = process_id(&self.process)?;
        if self.text.is_empty() && !self.close {
            let reason = "there is nothing to write, and it is not to be closed";
            return Err(ToolError::invalid_argument("text", reason));
        }
        let bytes = self.text.len();
        let writing = async {
            let executor = call.executor_of_processes(self.workspace.as_deref()).await?;
            if bytes > 0 {
                executor.write_stdin(&id, self.text.into()).await?;
            }
            if self.close {
                executor.close_stdin(&id).await?;
            }
            Ok(Typed { process: id.to_string(), bytes, closed: self.close })
        };
        call.unless_unwanted(writing).await.unwrap_or_else(|| Err(taken_back()))
    }
}

impl Answer for Typed {
    fn text(&self) -> String {
        let closed = if self.closed { ", and its standard input is closed" } else { "" };
        format!("process {} was sent {} bytes{closed}", self.process, self.bytes)
    }
}

/// What to end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kill {
    /// The command's id.
    process: String,
    /// Kill it at once. Without, it has two seconds to end by itself (TERM, then KILL).
    #[serde(default)]
    force: bool,
    /// The workspace it was started in, if that is not the default one.
    workspace: Option<String>,
}

/// What was ended.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Killed {
    /// The command's id.
    process: String,
    /// Its exit code, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// Processes that could not be ended, and what else is to be known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

impl Operation for Kill {
    const NAME: &'static str = "process_kill";
    const TITLE: &'static str = "End a command";
    const DESCRIPTION: &'static str = "\
End a command and everything that it started, also what left its process group or went to the \
background. Returns when nothing of it is left. One that has ended already is a success.";
    const EFFECT: Effect = Effect::ReplacesOnce;
    type Answer = Killed;

    async fn call(self, call: Call) -> Result<Killed> {
        let id = process_id(&self.process)?;
        let executor = call.executor_of_processes(self.workspace.as_deref()).await?;
        let how = if self.force { SignalRequest::Kill } else { SignalRequest::Cancel };
        let exit = executor.signal(&id, how).await?;
        Ok(Killed {
            process: id.to_string(),
            exit_code: exit.as_ref().map(|exit| exit.code),
            notes: exit.as_ref().map(|exit| notes(None, exit)).unwrap_or_default(),
        })
    }
}

impl Answer for Killed {
    fn text(&self) -> String {
        let code = self.exit_code.map(|code| format!(" with exit code {code}"));
        let mut text = format!("process {} has ended{}", self.process, code.unwrap_or_default());
        for note in &self.notes {
            text.push_str(&format!("\n[{note}]"));
        }
        text
    }
}

/// Which commands.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct List {
    /// Show those that have ended, too. Default: only those that run.
    #[serde(default)]
    all: bool,
    /// The most commands to show. Default: 50.
    #[schemars(range(min = 1, max = 500))]
    limit: Option<usize>,
    /// The workspace they were started in, if that is not the default one.
    workspace: Option<String>,
}

/// The commands.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// The newest first.
    processes: Vec<Process>,
    /// Whether there are more than the limit.
    truncated: bool,
}

/// A command.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Process {
    /// Its id.
    process: String,
    /// What was run.
    command: String,
    /// The directory it was run in.
    cwd: String,
    /// Where it is in its life.
    state: State,
    /// Its exit code, if it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// When it was started, in milliseconds since 1970.
    started_ms: u64,
    /// Bytes that it has written.
    output_bytes: u64,
    /// Processes that it left behind and that still run.
    background: u32,
    /// In auto mode: which lane it runs in, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routed>,
    /// In auto mode: what it was refused there.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    Running,
    Exited,
    Lost,
}

impl From<ProcessInfo> for Process {
    fn from(info: ProcessInfo) -> Self {
        Self {
            process: info.id.to_string(),
            command: clip::line(&info.command.display().into()),
            cwd: info.cwd.to_string(),
            state: match info.state {
                ProcessState::Running => State::Running,
                ProcessState::Exited => State::Exited,
                ProcessState::Lost => State::Lost,
            },
            routing: info.routing.as_deref().map(Into::into),
            refused: info.exit.as_ref().and_then(refused),
            exit_code: info.exit.map(|exit| exit.code),
            started_ms: info.started_ms,
            output_bytes: info.output_bytes,
            background: info.background,
        }
    }
}

impl Operation for List {
    const NAME: &'static str = "process_list";
    const TITLE: &'static str = "List commands";
    const DESCRIPTION: &'static str = "\
List the commands that run in the workspace, or with `all` those that have ended, too. What they \
wrote is kept for a week: process_output reads it.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Listed;

    async fn call(self, call: Call) -> Result<Listed> {
        let limit = self.limit.unwrap_or(COMMANDS);
        if !(1..=MAX_COMMANDS).contains(&limit) {
            let reason = format!("{limit} is not from 1 to {MAX_COMMANDS}");
            return Err(ToolError::invalid_argument("limit", reason));
        }
        let executor = call.executor_of_processes(self.workspace.as_deref()).await?;
        let mut infos = executor.list_processes().await?;
        infos.retain(|info| self.all || info.state == ProcessState::Running || info.background > 0);
        let truncated = infos.len() > limit;
        let processes = infos.into_iter().rev().take(limit).map(Process::from).collect();
        Ok(Listed { processes, truncated })
    }
}

impl Answer for Listed {
    fn text(&self) -> String {
        if self.processes.is_empty() {
            return "no commands".to_owned();
        }
        let mut text = String::new();
        for one in &self.processes {
            let state = match (one.state, one.exit_code) {
                (State::Running, _) => "running".to_owned(),
                (State::Lost, _) => "lost".to_owned(),
                (State::Exited, code) => format!("exit code {}", code.unwrap_or_default()),
            };
            text.push_str(&format!("{}  {state}  {}\n", one.process, one.command));
        }
        if self.truncated {
            text.push_str("[there are more: pass a larger limit]\n");
        }
        text
    }
}
