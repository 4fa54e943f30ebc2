//! `stigmer fs write`.

use clap::Args;
use stigmer_core::ByteString;
use stigmer_core::file::WriteFile;

use super::{count, stdin};
use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Replaces or creates a file, in one step.
#[derive(Debug, Args)]
#[command(after_help = "\
Missing parent directories are made. Larger contents go through `fs upload`.

Examples:
  echo hello | stigmer fs write notes.txt
  stigmer fs write notes.txt --content 'hello'
  stigmer fs write notes.txt --create < new.txt
  stigmer fs write notes.txt --expect SHA256 < new.txt")]
pub(crate) struct Write {
    /// The file
    #[arg(value_parser = bytes())]
    path: ByteString,
    /// The content [default: standard input]
    #[arg(short, long, value_name = "TEXT", value_parser = bytes(), allow_hyphen_values = true)]
    content: Option<ByteString>,
    /// Write only if the file has this SHA-256 now
    #[arg(long, value_name = "SHA256", conflicts_with = "create")]
    expect: Option<String>,
    /// Write only if nothing is there
    #[arg(long)]
    create: bool,
}

impl Write {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let content = match self.content {
            Some(content) => content,
            None => stdin()?.into(),
        };
        let request = WriteFile {
            path: self.path.clone(),
            content,
            expected_sha256: self.expect,
            create_only: self.create,
        };
        let summary = context.executor.write_file(request).await?;
        if output.is_json() {
            output.json(&summary)?;
        }
        let what = if summary.is_new_file { "created" } else { "wrote" };
        output.talk(format_args!(
            "{what} {}: {} added, {} removed",
            self.path,
            count(summary.lines_added, "line"),
            summary.lines_removed
        ));
        Ok(0)
    }
}
