//! `stigmer fs edit`.

use std::path::{Path, PathBuf};

use clap::Args;
use stigmer_core::file::{Edit as Replacement, EditFile};
use stigmer_core::{ByteString, ToolError};

use super::stdin;
use crate::arguments::bytes;
use crate::context::{Context, io};
use crate::output::{Failure, Output};

/// Replaces text in a file; all edits or none.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["old", "edits"]))]
#[command(after_help = "\
Prints the change as a unified diff. EDITS is a JSON list of {\"old\", \"new\", \"replace_all\"}.

Examples:
  stigmer fs edit src/main.rs --old 'foo()' --new 'bar()'
  stigmer fs edit src/main.rs --old foo --new bar --all
  stigmer fs edit src/main.rs --edits edits.json
  jq .edits plan.json | stigmer fs edit src/main.rs --edits -")]
pub(crate) struct Edit {
    /// The file
    #[arg(value_parser = bytes())]
    path: ByteString,
    /// The text to replace; it must occur exactly once unless --all
    #[arg(long, value_name = "TEXT", value_parser = bytes(), allow_hyphen_values = true)]
    #[arg(requires = "new")]
    old: Option<ByteString>,
    /// What takes its place
    #[arg(long, value_name = "TEXT", value_parser = bytes(), allow_hyphen_values = true)]
    #[arg(requires = "old")]
    new: Option<ByteString>,
    /// Replace every occurrence
    #[arg(short, long, requires = "old")]
    all: bool,
    /// Edits from a file, or from standard input with -
    #[arg(long, value_name = "FILE", conflicts_with_all = ["old", "new", "all"])]
    edits: Option<PathBuf>,
    /// Edit only if the file has this SHA-256 now
    #[arg(long, value_name = "SHA256")]
    expect: Option<String>,
}

impl Edit {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let edits = match (self.old, self.new, &self.edits) {
            (Some(old), Some(new), _) => vec![Replacement { old, new, replace_all: self.all }],
            (_, _, Some(file)) => read_edits(file)?,
            // clap has refused it already.
            _ => return Err(ToolError::invalid_argument("edits", "there are none").into()),
        };
        let request = EditFile { path: self.path, edits, expected_sha256: self.expect };
        let summary = context.executor.edit_file(request).await?;
        if output.is_json() {
            output.json(&summary)?;
        } else {
            output.bytes(summary.diff.as_bytes())?;
        }
        Ok(0)
    }
}

fn read_edits(file: &Path) -> Result<Vec<Replacement>, ToolError> {
    let content = if file == Path::new("-") {
        stdin()?
    } else {
        std::fs::read(file).map_err(|error| io("read", &file.to_string_lossy(), &error))?
    };
    serde_json::from_slice(&content).map_err(|error| {
        ToolError::invalid_argument("edits", error)
            .with_hint("a JSON list of {\"old\": \"…\", \"new\": \"…\", \"replace_all\": false}")
    })
}
