//! `stigmer workspace list`.

use clap::Args;
use stigmer_core::manager::PlaceState;

use crate::arguments::Globals;
use crate::context::runtime;
use crate::output::{Failure, Output};
use crate::places::Access;

/// Lists sandboxes.
#[derive(Debug, Args)]
#[command(after_help = "\
A sandbox that is gone is made by its next use.

Examples:
  stigmer workspace list
  stigmer workspace list --all
  stigmer workspace list --json")]
pub(crate) struct List {
    /// List those that are gone, too
    #[arg(short, long)]
    all: bool,
}

impl List {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let access = Access::open(globals)?;
        let mut all = runtime()?.block_on(access.list())?;
        all.retain(|status| self.all || status.state != PlaceState::Gone);
        if output.is_json() {
            output.json(&all)?;
            return Ok(0);
        }
        output.line(format_args!("{:<19}  {:<8}  {:<28}  ROOT", "ID", "STATE", "IMAGE"))?;
        for status in &all {
            output.line(format_args!(
                "{:<19}  {:<8}  {:<28}  {}",
                status.workspace,
                status.state.name(),
                status.image.as_deref().unwrap_or("-"),
                status.root
            ))?;
        }
        Ok(0)
    }
}
