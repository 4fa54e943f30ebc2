//! `stigmer workspace status`.

use clap::Args;

use super::{on_place, show};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Says how far the sandbox of a directory is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer workspace status
  stigmer workspace status --json")]
pub(crate) struct Status {
    /// The workspace: its directory, or its id [default: the current directory]
    #[arg(value_name = "WORKSPACE")]
    name: Option<String>,
}

impl Status {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let named = self.name.as_deref();
        let status = on_place(named, globals, async |access, name| access.status(&name).await)?;
        show(&status, output)
    }
}
