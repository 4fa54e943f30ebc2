//! `stigmer workspace start`.

use std::path::PathBuf;

use clap::Args;
use stigmer_core::workspace::Preparation;

use super::prepare;
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Starts a sandbox that was stopped.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer workspace start")]
pub(crate) struct Start {
    /// The workspace's directory [default: the current directory]
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Start {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        prepare(self.directory.as_deref(), Preparation::Start, globals, output)
    }
}
