//! `stigmer server status`.

use clap::Args;
use serde_json::{Value, json};
use stigmer_daemon::{ask, find, since};

use super::place;
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Exit code if no daemon runs, the one of whatever is not there.
const EXIT_NOT_RUNNING: u8 = 3;

/// Says whether a daemon runs.
#[derive(Debug, Args)]
#[command(after_help = "\
The daemon itself is asked, over its socket. Exit code 0 if it runs and answers, 3 if none runs.

Examples:
  stigmer server status
  stigmer server status --json")]
pub(crate) struct Status {}

impl Status {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let (configuration, place) = place(globals)?;
        let Some(running) = find(&place)? else {
            if output.is_json() {
                output.json(&json!({ "running": false, "log": place.log().to_string_lossy() }))?;
            } else {
                output.line("no daemon runs")?;
                output.talk("  `stigmer server start` starts one");
            }
            return Ok(EXIT_NOT_RUNNING);
        };
        let record = ask(&running)?;
        // The setting overrules the file, and is in the caller's environment or file already.
        let token = configuration.api_key().is_none().then(|| place.token());
        if output.is_json() {
            let mut result = json!(record);
            result["running"] = Value::Bool(true);
            result["token_file"] = json!(token.as_ref().map(|path| path.to_string_lossy()));
            result["log"] = json!(place.log().to_string_lossy());
            output.json(&result)?;
            return Ok(0);
        }
        output.line(format_args!(
            "the daemon runs: process {}, version {}, for {}",
            record.pid,
            record.version,
            since(record.started_ms)
        ))?;
        output.line(format_args!("  socket  {}", record.socket.display()))?;
        match (&record.tcp, &record.no_tcp) {
            (Some(address), _) => output.line(format_args!("  TCP     {address}"))?,
            (None, Some(reason)) => output.line(format_args!("  TCP     none: {reason}"))?,
            (None, None) => output.line("  TCP     none")?,
        }
        match token {
            Some(path) => output.line(format_args!("  token   {}", path.display()))?,
            None => output.line("  token   STIGMER_API_KEY")?,
        }
        output.line(format_args!("  log     {}", place.log().display()))?;
        Ok(0)
    }
}
