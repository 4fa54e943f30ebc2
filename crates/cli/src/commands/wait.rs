//! `stigmer wait`.

use clap::Args;
use stigmer_core::{ErrorCode, ProcessId, ToolError};

use crate::arguments::{TimeLimit, time_limit};
use crate::context::Context;
use crate::output::{Failure, Output};

/// Waits until a command has ended.
#[derive(Debug, Args)]
#[command(after_help = "\
The exit code is the command's.

Examples:
  stigmer wait k3v9q2m7xa
  stigmer wait --timeout 30s k3v9q2m7xa
  stigmer wait --json k3v9q2m7xa")]
pub(crate) struct Wait {
    /// Give up waiting after this time, with exit code 9; the command goes on
    #[arg(long, value_name = "TIME", value_parser = time_limit())]
    timeout: Option<TimeLimit>,
    /// The command's id
    id: ProcessId,
}

impl Wait {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let wait = context.processes.wait(&self.id);
        let exit = match self.timeout {
            Some(TimeLimit(Some(limit))) => {
                tokio::time::timeout(limit, wait).await.unwrap_or_else(|_| {
                    let message = format!("process {} still runs after {limit:?}", self.id);
                    Err(ToolError::new(ErrorCode::Busy, message)
                        .with_hint("wait longer, or end it with `stigmer kill`"))
                })?
            }
            _ => wait.await?,
        };
        if output.is_json() {
            output.json(&exit)?;
        }
        output.lost(&self.id, &exit);
        output.refused(&self.id, &exit);
        output.survivors(&exit);
        Ok(u8::try_from(exit.code).unwrap_or(u8::MAX))
    }
}
