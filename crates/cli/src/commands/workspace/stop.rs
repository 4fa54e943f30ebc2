//! `stigmer workspace stop`.

use clap::Args;

use super::{on_place, show};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Ends the commands of a sandbox and keeps it.
#[derive(Debug, Args)]
#[command(after_help = "\
What is installed in it stays, and so does its memory; `stigmer workspace start`, or the next use, makes
it ready again. A daemon removes one that was stopped for sandbox_ttl; without one it stays until `rm`.

Examples:
  stigmer workspace stop")]
pub(crate) struct Stop {
    /// The workspace: its directory, or its id [default: the current directory]
    #[arg(value_name = "WORKSPACE")]
    name: Option<String>,
}

impl Stop {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let named = self.name.as_deref();
        let status = on_place(named, globals, async |access, name| access.stop(&name).await)?;
        show(&status, output)
    }
}
