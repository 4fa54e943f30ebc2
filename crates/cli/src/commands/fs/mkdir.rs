//! `stigmer fs mkdir`.

use clap::Args;
use serde_json::json;
use stigmer_core::ByteString;
use stigmer_core::file::MakeDirectory;

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Makes a directory.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer fs mkdir build
  stigmer fs mkdir -p a/b/c")]
pub(crate) struct Mkdir {
    /// The directory
    #[arg(value_parser = bytes())]
    path: ByteString,
    /// Make missing parents too, and be content if it exists
    #[arg(short, long)]
    parents: bool,
}

impl Mkdir {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let request = MakeDirectory { path: self.path.clone(), parents: self.parents };
        context.executor.make_directory(request).await?;
        if output.is_json() {
            output.json(&json!({ "path": self.path }))?;
        }
        output.talk(format_args!("made {}", self.path));
        Ok(0)
    }
}
