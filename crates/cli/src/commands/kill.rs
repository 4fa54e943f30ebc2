//! `stigmer kill`.

use clap::Args;
use stigmer_core::ProcessId;
use stigmer_core::process::SignalRequest;

use crate::arguments::signal_number;
use crate::context::Context;
use crate::output::{Failure, Output};

/// Ends commands, and everything that they started.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --signal every process of the command gets TERM and, after a time of grace (setting
termination_grace), KILL; kill returns when nothing is left, and names what could not be ended. With
--signal only the command's foreground processes get that signal, as from a terminal.

Examples:
  stigmer kill k3v9q2m7xa
  stigmer kill --now k3v9q2m7xa 8w2c5n0rfj
  stigmer kill --signal INT k3v9q2m7xa
  stigmer kill -s 10 k3v9q2m7xa")]
pub(crate) struct Kill {
    /// Send a signal, by name or number, and leave it at that
    #[arg(short, long, value_name = "SIGNAL", value_parser = signal_number, conflicts_with = "now")]
    signal: Option<i32>,
    /// KILL at once, without TERM and grace
    #[arg(long)]
    now: bool,
    /// The commands' ids
    #[arg(required = true)]
    ids: Vec<ProcessId>,
}

impl Kill {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let request = match self.signal {
            Some(number) => SignalRequest::Send(number),
            None if self.now => SignalRequest::Kill,
            None => SignalRequest::Cancel,
        };
        // All are tried; the last failure is the result.
        let mut result = Ok(0);
        for id in &self.ids {
            match context.processes.signal(id, request).await {
                Ok(Some(exit)) => {
                    if output.is_json() {
                        output.json(&exit)?;
                    }
                    output.survivors(&exit);
                }
                Ok(None) => {}
                Err(error) => {
                    if let Err(Failure::Tool(before)) =
                        std::mem::replace(&mut result, Err(error.into()))
                    {
                        output.warn(before);
                    }
                }
            }
        }
        result
    }
}
