//! `stigmer server stop`.

use clap::Args;
use serde_json::json;
use stigmer_daemon::stop;

use super::place;
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Ends the daemon.
#[derive(Debug, Args)]
#[command(after_help = "\
It takes no new requests, finishes those that it has, for some seconds, and ends. Commands go on and
are there when the next daemon is started. Exit code 3 if no daemon runs.

Examples:
  stigmer server stop
  stigmer server stop --now")]
pub(crate) struct Stop {
    /// End it at once, whatever it is doing
    #[arg(long)]
    now: bool,
}

impl Stop {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let (_, place) = place(globals)?;
        let how = if self.now { stigmer_daemon::Stop::Now } else { stigmer_daemon::Stop::Drain };
        let pid = stop(&place, how)?;
        if output.is_json() {
            output.json(&json!({ "pid": pid }))?;
        }
        output.talk(format_args!("the daemon, process {pid}, has ended"));
        Ok(0)
    }
}
