//! `stigmer server logs`.

use clap::Args;
use stigmer_daemon::LogReader;

use super::place;
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Prints what the daemon logs.
#[derive(Debug, Args)]
#[command(after_help = "\
Each line is an object of JSON, with the id of the request that it belongs to. The setting `log`
(STIGMER_LOG) says how much is logged. The log is there when no daemon runs, too.

Examples:
  stigmer server logs
  stigmer server logs -n 1000
  stigmer server logs -f
  STIGMER_LOG=debug stigmer server start")]
pub(crate) struct Logs {
    /// Go on with what will be logged
    #[arg(short, long)]
    follow: bool,
    /// Begin so many lines before the end
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    lines: usize,
}

impl Logs {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let (_, place) = place(globals)?;
        if self.follow {
            place.make()?;
        }
        let mut reader = LogReader::open(&place, self.follow)?;
        output.bytes(&reader.last(self.lines)?)?;
        output.flush()?;
        if self.follow {
            reader.follow(output.as_writer())?.map_err(Failure::Stdout)?;
        }
        Ok(0)
    }
}
