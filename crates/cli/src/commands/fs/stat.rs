//! `stigmer fs stat`.

use clap::Args;
use stigmer_core::ByteString;

use crate::arguments::bytes;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Describes a path; a symbolic link is described itself.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer fs stat Cargo.toml
  stigmer fs stat --json link")]
pub(crate) struct Stat {
    /// The path
    #[arg(value_parser = bytes())]
    path: ByteString,
}

impl Stat {
    pub(super) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let stat = context.executor.stat_file(self.path).await?;
        if output.is_json() {
            output.json(&stat)?;
            return Ok(0);
        }
        output.bytes(b"path: ")?;
        output.bytes(stat.path.as_bytes())?;
        output.line("")?;
        output.line(format_args!("kind: {}", stat.kind.name()))?;
        output.line(format_args!("size: {}", stat.size))?;
        output.line(format_args!("mode: {:04o}", stat.mode & 0o7777))?;
        output.line(format_args!("modified_ms: {}", stat.modified_ms))?;
        if let Some(target) = &stat.symlink_target {
            output.bytes(b"target: ")?;
            output.bytes(target.as_bytes())?;
            output.line("")?;
        }
        Ok(0)
    }
}
