//! `stigmer workspace recover`.

use std::path::PathBuf;

use clap::Args;
use stigmer_core::workspace::Preparation;

use super::prepare;
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Removes a sandbox, whatever is the matter with it, and makes another.
#[derive(Debug, Args)]
#[command(after_help = "\
The workspace's directory stays, and so does the output of commands that is on disk.

Examples:
  stigmer workspace recover")]
pub(crate) struct Recover {
    /// The workspace's directory [default: the current directory]
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Recover {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        prepare(self.directory.as_deref(), Preparation::Recover, globals, output)
    }
}
