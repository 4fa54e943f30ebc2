//! `process_output`: what a command wrote, from an offset on.

use std::time::Duration;

use futures_util::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use stigmer_core::process::{
    Follow, OutputEvent, OutputKind, ProcessInfo, ProcessState, ReadOutput,
};
use stigmer_core::{OutputStream, Result, ToolError};

use super::lane::{Refused, Routed, refused};
use super::process::process_id;
use super::run::{End, end_line, notes, taken_back};
use super::{Effect, Operation};
use crate::answer::Answer;
use crate::call::Call;
use crate::clip;

/// The longest wait: clients give up on a call after a minute or more.
const MAX_WAIT_SECONDS: f64 = 3_600.0;

/// The most output in one answer.
const MAX_BYTES: usize = 1 << 20;

/// Which command, and from where.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProcessOutput {
    /// The command's id.
    process: String,
    /// The offset to read from, in bytes: 0 for the beginning, or what an earlier answer said.
    #[serde(default)]
    offset: u64,
    /// The most bytes to return. Default: 32768.
    #[schemars(range(min = 256, max = 1_048_576))]
    limit: Option<usize>,
    /// Seconds to wait for the command's end before returning what there is. Default: 0.
    #[schemars(range(min = 0.0, max = 3600.0))]
    wait: Option<f64>,
    /// The workspace it was started in, if that is not the default one.
    workspace: Option<String>,
}

/// What it wrote.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Output {
    /// The command's id.
    process: String,
    /// Pieces of its output, in the order in which they were read.
    output: Vec<Piece>,
    /// The offset behind them: where to go on.
    next_offset: u64,
    /// Whether there is more from there on already.
    more: bool,
    /// Whether it still runs.
    running: bool,
    /// Its exit code, if it has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    /// In auto mode: which lane it runs in, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    routing: Option<Routed>,
    /// In auto mode: what it was refused there.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
    /// What else is to be known of its end.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}

/// A piece of output.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Piece {
    /// Where it was written to; `gap` is output that was not kept.
    stream: Source,
    /// What was written.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Source {
    Stdout,
    Stderr,
    Terminal,
    Gap,
}

impl From<OutputKind> for Source {
    fn from(kind: OutputKind) -> Self {
        match kind {
            OutputKind::Stdout => Self::Stdout,
            OutputKind::Stderr => Self::Stderr,
            OutputKind::Terminal => Self::Terminal,
        }
    }
}

impl Operation for ProcessOutput {
    const NAME: &'static str = "process_output";
    const TITLE: &'static str = "Read a command's output";
    const DESCRIPTION: &'static str = "\
Read what a command wrote, from an offset on: the part that `run` left out, or what a command in the \
background has written since. Nothing is lost and nothing is repeated when you go on from \
`next_offset`. With `wait` it waits for the command's end first.";
    const EFFECT: Effect = Effect::Reads;
    type Answer = Output;

    async fn call(self, call: Call) -> Result<Output> {
        let id = process_id(&self.process)?;
        let limit = self.limit.unwrap_or(clip::MAX_TEXT_BYTES);
        if !(256..=MAX_BYTES).contains(&limit) {
            let reason = format!("{limit} is not from 256 to {MAX_BYTES}");
            return Err(ToolError::invalid_argument("limit", reason));
        }
        let wait = self.wait.unwrap_or_default();
        if !(0.0..=MAX_WAIT_SECONDS).contains(&wait) {
            let reason = format!("{wait} is not from 0 to {MAX_WAIT_SECONDS} s");
            return Err(ToolError::invalid_argument("wait", reason));
        }
        let reading = async {
            let executor = call.executor_of_processes(self.workspace.as_deref()).await?;
            if wait > 0.0 {
                let waiting = executor.wait(&id);
                // If it goes on, what there is is the answer.
                if let Ok(ended) =
                    tokio::time::timeout(Duration::from_secs_f64(wait), waiting).await
                {
                    ended?;
                }
            }
            // Asked for before its output, so that one that has ended has no more to say.
            let info = executor.process(&id).await?;
            let read = ReadOutput { since: self.offset, follow: Follow::No, hold: false };
            let events = executor.process_output(&id, read).await?;
            let mut gathered = Gathered::new(self.offset, limit);
            gathered.read(events).await?;
            Ok(gathered.finish(&info))
        };
        call.unless_unwanted(reading).await.unwrap_or_else(|| Err(taken_back()))
    }
}

/// What is read until there is enough.
struct Gathered {
    pieces: Vec<(Source, Vec<u8>)>,
    room: usize,
    next: u64,
    more: bool,
}

impl Gathered {
    fn new(offset: u64, limit: usize) -> Self {
        Self { pieces: Vec::new(), room: limit, next: offset, more: false }
    }

    async fn read(&mut self, mut events: OutputStream) -> Result<()> {
        while let Some(event) = events.next().await {
            match event? {
                OutputEvent::Output { stream, bytes, .. } => {
                    let bytes = bytes.as_bytes();
                    let taken = clip::boundary(bytes, self.room);
                    self.push(stream.into(), &bytes[..taken]);
                    self.next += taken as u64;
                    self.room -= taken;
                    if taken < bytes.len() {
                        self.more = true;
                        return Ok(());
                    }
                }
                OutputEvent::Gap { length, .. } => {
                    let text = format!("[{length} bytes were not kept]");
                    self.pieces.push((Source::Gap, text.into_bytes()));
                    self.next += length;
                }
                OutputEvent::Exit(_) => {}
            }
        }
        Ok(())
    }

    fn push(&mut self, stream: Source, bytes: &[u8]) {
        match self.pieces.last_mut() {
            Some((last, text)) if *last == stream => text.extend_from_slice(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push((stream, bytes.to_vec())),
        }
    }

    fn finish(mut self, info: &ProcessInfo) -> Output {
        let running = info.state == ProcessState::Running;
        // The rest of a character that is being written comes with the next answer.
        if (running || self.more)
            && let Some((_, bytes)) = self.pieces.last_mut()
        {
            let rest = clip::unfinished(bytes);
            bytes.truncate(bytes.len() - rest);
            self.next -= rest as u64;
        }
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let pieces = self.pieces.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        let exit = info.exit.as_ref();
        let lost = info.state == ProcessState::Lost;
        Output {
            process: info.id.to_string(),
            output: pieces.map(|(stream, bytes)| Piece { stream, text: text(bytes) }).collect(),
            next_offset: self.next,
            more: self.more,
            running,
            exit_code: exit.map(|exit| exit.code),
            end: exit.map(|exit| exit.reason.into()).or(lost.then_some(End::Lost)),
            routing: info.routing.as_deref().map(Into::into),
            refused: exit.and_then(refused),
            notes: exit.map(|exit| notes(info.routing.as_deref(), exit)).unwrap_or_default(),
        }
    }
}

impl Answer for Output {
    fn text(&self) -> String {
        let Self { process, next_offset, .. } = self;
        let mut text = String::new();
        let mut last = Source::Stdout;
        for piece in &self.output {
            if piece.stream != last {
                end_line(&mut text);
                text.push_str(match piece.stream {
                    Source::Stdout => "[standard output]\n",
                    Source::Stderr => "[standard error]\n",
                    Source::Terminal | Source::Gap => "",
                });
                last = piece.stream;
            }
            text.push_str(&piece.text);
        }
        end_line(&mut text);
        text.push_str(&match (self.exit_code, self.more) {
            (_, true) => format!("[there is more from offset {next_offset}]"),
            (Some(code), false) => format!("[process {process} ended with exit code {code}]"),
            (None, false) if self.running => {
                format!("[process {process} still runs; go on from offset {next_offset}]")
            }
            (None, false) => format!("[process {process} is lost: how it ended is not known]"),
        });
        for note in &self.notes {
            text.push_str(&format!("\n[{note}]"));
        }
        text
    }
}
