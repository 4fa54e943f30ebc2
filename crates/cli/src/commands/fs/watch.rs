//! `stigmer fs watch`.

use clap::Args;
use futures_util::StreamExt;
use stigmer_core::ByteString;
use stigmer_core::transfer::{ChangeKind, Watch as Request};

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Prints changes as they happen, until it is interrupted.
#[derive(Debug, Args)]
#[command(after_help = "\
Prints `created`, `modified` or `removed` and the path; `rescan` means that changes were lost and
the directories must be read anew. With --json each change is one line of JSON.

Examples:
  stigmer fs watch
  stigmer fs watch src tests
  stigmer fs watch --all --json")]
pub(crate) struct Watch {
    /// The directories, each with all beneath it [default: the whole workspace]
    #[arg(value_parser = bytes())]
    directories: Vec<ByteString>,
    /// Report hidden files and those that ignore rules name, too
    #[arg(short, long)]
    all: bool,
}

impl Watch {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let request = Request { directories: self.directories, ignore_rules: !self.all };
        let mut changes = context.executor.watch(request).await?;
        output.talk("watching; Ctrl-C ends it");
        while let Some(change) = changes.next().await {
            let change = change?;
            if output.is_json() {
                output.json(&change)?;
            } else {
                let kind = match change.kind {
                    ChangeKind::Created => "created ",
                    ChangeKind::Modified => "modified ",
                    ChangeKind::Removed => "removed ",
                    ChangeKind::Rescan => "rescan",
                };
                output.bytes(kind.as_bytes())?;
                output.bytes(change.path.as_bytes())?;
                output.line("")?;
            }
            // Somebody waits for each.
            output.flush()?;
        }
        Ok(0)
    }
}
