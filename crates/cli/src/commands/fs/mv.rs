//! `stigmer fs mv`.

use clap::Args;
use serde_json::json;
use stigmer_core::ByteString;
use stigmer_core::file::MovePath;

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Moves or renames a path.
#[derive(Debug, Args)]
#[command(after_help = "\
TO is the new path itself, not a directory to move into; its parent must exist.

Examples:
  stigmer fs mv draft.md docs/guide.md
  stigmer fs mv new.toml config.toml --replace")]
pub(crate) struct Mv {
    /// The path; a symbolic link is moved itself
    #[arg(value_parser = bytes())]
    from: ByteString,
    /// The new path
    #[arg(value_parser = bytes())]
    to: ByteString,
    /// Replace a file that is there
    #[arg(short, long)]
    replace: bool,
}

impl Mv {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let (from, to) = (self.from, self.to);
        let request = MovePath { from: from.clone(), to: to.clone(), replace: self.replace };
        context.executor.move_path(request).await?;
        if output.is_json() {
            output.json(&json!({ "from": from, "to": to }))?;
        }
        output.talk(format_args!("moved {from} to {to}"));
        Ok(0)
    }
}
