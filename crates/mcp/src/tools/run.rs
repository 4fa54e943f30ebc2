//! `run`: a command to its end, or into the background.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::process::{
    EndReason, ExitStatus, Lifetime, SignalRequest, StartProcess, StartedProcess, Stdin,
};
use stigmer_core::{Capability, Result, Routing, ToolError};

use super::follow::{Written, follow};
use super::lane::{self, Refused, Routed};
use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;
use crate::clip;

/// The longest time limit: as long as what ended commands wrote is kept.
const MAX_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How long a command waits for a server that vanished without a word. No client can ask for the rest
/// of a call, so this is only for a daemon in between that starts anew, in some tenths of a second.
const CLIENT_GRACE: Duration = Duration::from_secs(5);

/// The most output of each stream that a result holds, if the caller wants more than usual.
const MAX_OUTPUT_BYTES: usize = 1 << 20;

/// Output of each stream in a result: two of them are what one answer holds.
const OUTPUT_BYTES: usize = clip::MAX_TEXT_BYTES / 2;

/// The least that can be asked for: below it there is no room for a beginning and an end.
const MIN_OUTPUT_BYTES: usize = 256;

/// What to run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Run {
    /// The command line, for bash (sh where there is none). Pipes, redirections, && and here
    /// documents work. Standard input is empty.
    #[schemars(length(min = 1))]
    command: String,
    /// The directory to run it in, relative to the workspace. Default: the workspace itself.
    cwd: Option<String>,
    /// Environment variables to set for it, as names and values.
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Seconds after which it is ended, with exit code 124 and what it had written. Default: 120, or
    /// what the settings say; in the background none.
    #[schemars(range(min = 0.001, max = 604_800.0))]
    timeout: Option<f64>,
    /// Return at once and leave it running. Follow it with process_output, end it with process_kill.
    #[serde(default)]
    background: bool,
    /// Keep its standard input open for process_input; only with background.
    #[serde(default)]
    interactive: bool,
    /// Bytes of standard output, and of standard error, in the result: half from the beginning, half
    /// from the end. Default: 16384.
    #[schemars(range(min = 256, max = 1_048_576))]
    max_output: Option<usize>,
    /// The workspace to work in: an id that `workspaces` lists, or an absolute directory. Default:
    /// the one this server was set up for.
    workspace: Option<String>,
}

/// What came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ran {
    /// The command's id for process_output, process_input and process_kill.
    process: String,
    /// Whether it still runs, in the background.
    running: bool,
    /// Its exit code: 124 timed out, 126 not executable, 127 not found, 128 + N ended by signal N.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    /// How long it ran, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
    /// What it wrote to standard output.
    stdout: String,
    /// What it wrote to standard error.
    stderr: String,
    /// Whether output was left out of the middle of stdout or stderr.
    truncated: bool,
    /// Where process_output finds what was left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    rest: Option<Rest>,
    /// Where it ran: host, container, vm, pod or cloud.
    place: String,
    /// In auto mode: which lane it ran in, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routed>,
    /// In auto mode: what it was refused there.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    /// What became of its place, what it was refused, or which processes could not be ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum End {
    Exited,
    Signalled,
    TimedOut,
    Cancelled,
    OutOfMemory,
    Lost,
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::Exited => Self::Exited,
            EndReason::Signalled => Self::Signalled,
            EndReason::TimedOut => Self::TimedOut,
            EndReason::Cancelled => Self::Cancelled,
            EndReason::OutOfMemory => Self::OutOfMemory,
            EndReason::Lost => Self::Lost,
        }
    }
}

/// Where more output is.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rest {
    /// The process to ask process_output for.
    pub(crate) process: String,
    /// The offset to ask from.
    pub(crate) offset: u64,
}

impl Operation for Run {
    const NAME: &'static str = "run";
    const TITLE: &'static str = "Run a command";
    const DESCRIPTION: &'static str = "\
Run a shell command in the workspace and wait for its end. Returns the exit code and what it wrote; \
a command that fails is a result, not an error. When it times out or is cancelled, nothing that it \
started is left; what it has put in the background itself goes on when it ends. Long output is cut in the middle, and `rest` says where process_output \
finds it. Use `background` for servers, watchers and anything that shall go on.";
    const EFFECT: Effect = Effect::Anything;
    type Answer = Ran;

    async fn call(self, call: Call) -> Result<Ran> {
        let limit = self.max_output.unwrap_or(OUTPUT_BYTES);
        let background = self.background;
        let workspace = self.workspace.clone();
        let mut start = self.into_request(&call)?;
        // Opening may take long, and nothing was done yet that had to be ended.
        let opening = call.executor(workspace.as_deref());
        let opened = call.unless_unwanted(opening).await;
        let executor = opened.unwrap_or_else(|| Err(taken_back()))?;
        if let Some(caller) = &call.server.commands.caller
            && executor.capabilities().has(Capability::CallerEnvironment)
        {
            start.caller = Some(caller());
        }
        let running = call.server.running.token();
        let started = executor.start_process(start).await?;
        if background {
            // Nobody would learn its id.
            if call.is_unwanted() {
                executor.signal(&started.id, SignalRequest::Cancel).await?;
                return Err(taken_back());
            }
            return Ok(Ran::in_background(started));
        }
        let (exit, written) = follow(&*executor, &started.id, &call, limit).await?;
        drop(running);
        Ok(Ran::ended(&started, &exit, written))
    }
}

impl Run {
    fn into_request(self, call: &Call) -> Result<StartProcess> {
        let invalid = |name, reason: &str| ToolError::invalid_argument(name, reason);
        if self.command.trim().is_empty() {
            return Err(invalid("command", "is empty"));
        }
        if self.interactive && !self.background {
            return Err(invalid("interactive", "is for commands in the background")
                .with_hint("pass `background`, too, or put the input in a here document"));
        }
        if let Some(bytes) = self.max_output
            && !(MIN_OUTPUT_BYTES..=MAX_OUTPUT_BYTES).contains(&bytes)
        {
            let reason = format!("{bytes} is not from {MIN_OUTPUT_BYTES} to {MAX_OUTPUT_BYTES}");
            return Err(invalid("max_output", &reason));
        }
        let timeout = self.timeout.map(limit).transpose()?;
        let commands = &call.server.commands;
        let mut start = StartProcess::shell(self.command);
        start.cwd = self.cwd.unwrap_or_default().into();
        for (name, value) in self.env {
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let reason = format!("{name:?} and its value cannot stand in an environment");
                return Err(invalid("env", &reason));
            }
            start.variables.insert(name.into(), value.into());
        }
        start.timeout = timeout.or(commands.timeout.filter(|_| !self.background));
        start.termination_grace = commands.termination_grace;
        start.stdin = if self.interactive { Stdin::Stream } else { Stdin::Empty };
        start.lifetime = match self.background {
            true => Lifetime::Detached,
            false => Lifetime::Foreground { client_grace: CLIENT_GRACE },
        };
        Ok(start)
    }
}

fn limit(seconds: f64) -> Result<Duration> {
    let limit = Duration::try_from_secs_f64(seconds).ok();
    limit.filter(|limit| !limit.is_zero() && *limit <= MAX_TIMEOUT).ok_or_else(|| {
        let most = MAX_TIMEOUT.as_secs();
        ToolError::invalid_argument("timeout", format!("{seconds} is not from 0.001 to {most} s"))
    })
}

/// The answer that nobody reads.
pub(crate) fn taken_back() -> ToolError {
    ToolError::new(
        stigmer_core::ErrorCode::Unavailable,
        "the call was taken back before anything was done",
    )
}

impl Ran {
    fn in_background(started: StartedProcess) -> Self {
        Self {
            process: started.id.to_string(),
            running: true,
            exit_code: None,
            end: None,
            duration_ms: None,
            stdout: String::new(),
            stderr: String::new(),
            truncated: false,
            rest: None,
            place: started.place.to_string(),
            routing: started.routing.as_deref().map(Into::into),
            refused: None,
            notes: Vec::new(),
        }
    }

    fn ended(started: &StartedProcess, exit: &ExitStatus, written: Written) -> Self {
        let process = started.id.to_string();
        let rest = written.rest.map(|offset| Rest { process: process.clone(), offset });
        Self {
            running: false,
            exit_code: Some(exit.code),
            end: Some(exit.reason.into()),
            duration_ms: Some(exit.duration_ms),
            stdout: written.stdout,
            stderr: written.stderr,
            truncated: rest.is_some(),
            rest,
            place: started.place.to_string(),
            routing: started.routing.as_deref().map(Into::into),
            refused: lane::refused(exit),
            notes: notes(started.routing.as_deref(), exit),
            process,
        }
    }
}

/// What the exit code does not say.
pub(crate) fn notes(routing: Option<&Routing>, exit: &ExitStatus) -> Vec<String> {
    let mut notes = lane::notes(routing, exit);
    notes.extend(exit.cause.iter().cloned());
    if let Some(limit) = exit.memory_limit {
        notes.push(format!("it ran out of memory: the limit is {limit} bytes"));
    }
    let survivors = exit.survivors.iter();
    notes.extend(survivors.map(|one| {
        format!("process {} ({}, user {}) could not be ended", one.pid, one.name, one.uid)
    }));
    notes
}

impl Answer for Ran {
    fn text(&self) -> String {
        let Self { process, place, .. } = self;
        let lane = self.routing.as_ref().map(|routing| format!("; {}", routing.in_short()));
        let lane = lane.unwrap_or_default();
        let mut text = self.stdout.clone();
        if !self.stderr.is_empty() {
            end_line(&mut text);
            text.push_str("[standard error]\n");
            text.push_str(&self.stderr);
        }
        end_line(&mut text);
        match (self.exit_code, self.end) {
            (Some(code), Some(end)) => {
                let how = match end {
                    End::Exited => String::new(),
                    End::Signalled => ", ended by a signal".to_owned(),
                    End::TimedOut => ", timed out".to_owned(),
                    End::Cancelled => ", cancelled".to_owned(),
                    End::OutOfMemory => ", out of memory".to_owned(),
                    End::Lost => ", lost: how it ended is not known".to_owned(),
                };
                let duration = self.duration_ms.unwrap_or_default();
                text.push_str(&format!(
                    "[exit code {code}{how}; {duration} ms on the {place}{lane}; process {process}]"
                ));
            }
            _ => text.push_str(&format!("[process {process} runs in the background{lane}]")),
        }
        if let Some(Rest { process, offset }) = &self.rest {
            text.push_str(&format!(
                "\n[output was left out: process_output with process {process:?} and offset {offset} has it]"
            ));
        }
        for note in &self.notes {
            text.push_str(&format!("\n[{note}]"));
        }
        text
    }
}

/// Ends the last line of a text, if it has one that is not ended.
pub(crate) fn end_line(text: &mut String) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_limit_is_one_that_the_schema_allows() {
        assert_eq!(limit(0.5).unwrap(), Duration::from_millis(500));
        assert_eq!(limit(604_800.0).unwrap(), MAX_TIMEOUT);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 604_801.0, 1e300] {
            assert!(limit(bad).is_err(), "{bad}");
        }
    }
}
