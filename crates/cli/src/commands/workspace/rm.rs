//! `stigmer workspace rm`.

use clap::Args;

use super::{on_place, show};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Ends the commands of a sandbox and removes it.
#[derive(Debug, Args)]
#[command(after_help = "\
The workspace's directory stays as it is. What goes: the container with what was installed in it, and
the list and the output of its commands (`stigmer workspace recover` makes a new container and keeps
those). Where the engine does not see the directory, the copy that the container worked on goes, too,
with every change that was not downloaded. What `create` kept of
its settings goes with it.

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
        // A note says that there was nothing.
        if status.notes.is_empty() {
            output.talk(format_args!(
                "stigmer: gone are the container, what was installed in it, and the output of its commands; {} stays as it is",
                status.root
            ));
        }
        show(&status, output)
    }
}
