//! `stigmer logs`.

use clap::Args;
use stigmer_core::ProcessId;
use stigmer_core::process::{Follow, ReadOutput};

use crate::context::Context;
use crate::output::{Failure, Output};
use crate::session::{BrokenPipe, End, Options, Passing, Session, Sink};

/// Prints a command's output.
#[derive(Debug, Args)]
#[command(after_help = "\
Offsets count the bytes of standard output and error together, from 0. Whoever goes on with --since
at the offset where they stopped misses nothing and sees nothing twice. With --json each piece of
output is a line with its offset and stream.

Examples:
  stigmer logs k3v9q2m7xa
  stigmer logs -f k3v9q2m7xa
  stigmer logs -f --since 1048576 k3v9q2m7xa
  stigmer logs --json k3v9q2m7xa")]
pub(crate) struct Logs {
    /// Go on until the command, and all that it left behind, has ended
    #[arg(short, long)]
    follow: bool,
    /// Begin at this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    since: u64,
    /// The command's id
    id: ProcessId,
}

impl Logs {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let follow = if self.follow { Follow::UntilClosed } else { Follow::No };
        let options = Options {
            read: ReadOutput { since: self.since, follow, hold: false },
            broken_pipe: BrokenPipe::Leave,
            passing: Passing::None,
            pass_input: false,
        };
        let sink = match output.is_json() {
            true => Sink::Json(output),
            false => Sink::Write,
        };
        let session = Session::new(false)?;
        match session.follow(&context.processes, &self.id, options, sink).await? {
            End::Left { offset } => {
                output.talk(format_args!("stigmer: stopped at offset {offset} (--since {offset})"));
                // As a shell shows death by SIGINT.
                Ok(130)
            }
            End::Exit { .. } | End::Edge { .. } => Ok(0),
        }
    }
}
