//! `stigmer workspace rm`.

use clap::Args;

use super::{on_place, show};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Ends the commands of a sandbox and removes it.
#[derive(Debug, Args)]
#[command(after_help = "\
The workspace's directory stays. What its commands wrote is gone, and so is what `create` kept of its
settings.

Examples:
  stigmer workspace rm
  stigmer workspace rm ws-0123456789abcdef")]
pub(crate) struct Rm {
    /// The workspace: its directory, or its id [default: the current directory]
    #[arg(value_name = "WORKSPACE")]
    name: Option<String>,
}

impl Rm {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let named = self.name.as_deref();
        let status = on_place(named, globals, async |access, name| access.remove(&name).await)?;
        show(&status, output)
    }
}
