//! `stigmer workspace create`.

use std::path::PathBuf;

use clap::Args;
use stigmer_core::workspace::Preparation;

use super::prepare;
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Makes the sandbox of a directory.
#[derive(Debug, Args)]
#[command(after_help = "\
One that is there stays as it is, unless the settings ask for another; it is replaced then if no
command runs in it. What flags and environment say of it is kept with the workspace until `rm`, except
what may be secret; `status` shows it.

Examples:
  stigmer workspace create
  stigmer workspace create --sandbox-image debian:12 src")]
pub(crate) struct Create {
    /// The workspace's directory [default: the current directory]
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    directory: Option<PathBuf>,
}

impl Create {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        prepare(self.directory.as_deref(), Preparation::Create, globals, output)
    }
}
