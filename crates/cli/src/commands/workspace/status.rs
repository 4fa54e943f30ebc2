//! `stigmer workspace status`.

use clap::Args;

use super::{Access, on_place, show};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Says how far the sandbox of a directory is.
#[derive(Debug, Args)]
#[command(after_help = "\
In auto mode, commands of a toolchain that has installed something in the sandbox run there, too; it is
named as `affinity`. Without it they run where they would have before; what is installed stays.

Examples:
  stigmer workspace status
  stigmer workspace status --json
  stigmer workspace status --reset-affinity")]
pub(crate) struct Status {
    /// The workspace: its directory, or its id [default: the current directory]
    #[arg(value_name = "WORKSPACE")]
    name: Option<String>,
    /// Forget first which toolchains live in the sandbox
    #[arg(long)]
    reset_affinity: bool,
}

impl Status {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let named = self.name.as_deref();
        let ask = async |access: &Access, name: String| match self.reset_affinity {
            true => access.reset_affinity(&name).await,
            false => access.status(&name).await,
        };
        let status = on_place(named, globals, ask)?;
        show(&status, output)
    }
}
