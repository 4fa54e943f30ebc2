//! `stigmer fs rm`.

use clap::Args;
use stigmer_core::ByteString;
use stigmer_core::file::DeleteFile;

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Deletes a path; it is no error if there is nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer fs rm old.txt
  stigmer fs rm -r build")]
pub(crate) struct Rm {
    /// The path; a symbolic link is deleted itself
    #[arg(value_parser = bytes())]
    path: ByteString,
    /// Delete a directory with all its content
    #[arg(short, long)]
    recursive: bool,
}

impl Rm {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let request = DeleteFile { path: self.path.clone(), recursive: self.recursive };
        let summary = context.executor.delete_file(request).await?;
        if output.is_json() {
            output.json(&summary)?;
        }
        if summary.was_already_deleted {
            output.talk(format_args!("{} was already deleted", self.path));
        } else {
            output.talk(format_args!("deleted {}", self.path));
        }
        Ok(0)
    }
}
