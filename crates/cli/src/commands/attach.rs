//! `stigmer attach`.

use clap::Args;
use stigmer_core::ProcessId;
use stigmer_core::process::{Follow, ProcessState, ReadOutput};

use crate::context::Context;
use crate::output::{Failure, Output};
use crate::session::{BrokenPipe, End, Options, Passing, Session, Sink};
use crate::terminal;

/// Joins a command that runs: its output, and if it takes any, its input.
#[derive(Debug, Args)]
#[command(after_help = "\
In a terminal Ctrl-P Ctrl-Q leaves the command running. Ctrl-C goes to the command;
a hang-up or TERM ends attach and not the command. The exit code is
the command's.

Examples:
  stigmer attach k3v9q2m7xa
  stigmer attach --since 0 k3v9q2m7xa
  stigmer attach --no-input k3v9q2m7xa")]
pub(crate) struct Attach {
    /// Begin at this offset of its output [default: what comes from now on]
    #[arg(long, value_name = "OFFSET")]
    since: Option<u64>,
    /// Do not pass on our standard input
    #[arg(long)]
    no_input: bool,
    /// The command's id
    id: ProcessId,
}

impl Attach {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let executor = &context.processes;
        let info = executor.process(&self.id).await?;
        let terminal = info.terminal && terminal::is_interactive() && !output.is_json();
        if let (true, Some(size)) = (terminal, terminal::size()) {
            // One that ends at this moment needs no size.
            let _ = executor.resize(&self.id, size).await;
        }
        let since = self.since.unwrap_or(match info.state {
            ProcessState::Running => info.output_bytes,
            ProcessState::Exited | ProcessState::Lost => 0,
        });
        let options = Options {
            read: ReadOutput { since, follow: Follow::UntilExit, hold: !info.detached },
            broken_pipe: BrokenPipe::Leave,
            passing: Passing::Keys,
            pass_input: !self.no_input,
        };
        let sink = match output.is_json() {
            true => Sink::Json(output),
            false => Sink::Write,
        };
        let session = Session::new(terminal)?;
        match session.follow(executor, &self.id, options, sink).await? {
            End::Exit { exit, .. } => {
                output.lost(&self.id, &exit);
                output.refused(&self.id, &exit);
                output.survivors(&exit);
                Ok(u8::try_from(exit.code).unwrap_or(u8::MAX))
            }
            End::Left { offset } | End::Edge { offset } => {
                output.talk(format_args!("stigmer: left {} at offset {offset}", self.id));
                Ok(0)
            }
        }
    }
}
