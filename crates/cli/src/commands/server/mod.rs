//! `stigmer server`.

mod logs;
mod start;
mod status;
mod stop;

use clap::{Args, Subcommand};
use stigmer_core::ToolError;
use stigmer_daemon::DaemonPlace;
use stigmer_engine::Configuration;

use crate::arguments::Globals;
use crate::context::sources;
use crate::output::{Failure, Output};

pub(crate) use start::{launcher, serve_if_reserve};

/// Starts, stops and looks at the daemon.
#[derive(Debug, Args)]
#[command(after_help = "\
The daemon serves what the command line can do to programs: gRPC and HTTP on a unix socket and on
TCP. Commands outlive it: each has a supervisor of its own.

Examples:
  stigmer server start
  stigmer server status
  stigmer server logs -f
  stigmer server stop")]
pub(crate) struct Server {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start the daemon
    Start(start::Start),
    /// End the daemon; commands go on
    Stop(stop::Stop),
    /// Say whether a daemon runs, and where it listens
    Status(status::Status),
    /// Print what the daemon logs
    Logs(logs::Logs),
}

impl Server {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        match self.command {
            Command::Start(command) => command.run(globals, output),
            Command::Stop(command) => command.run(globals, output),
            Command::Status(command) => command.run(globals, output),
            Command::Logs(command) => command.run(globals, output),
        }
    }
}

/// The settings, and the daemon's place that they name.
fn place(globals: &Globals) -> Result<(Configuration, DaemonPlace), ToolError> {
    let configuration = Configuration::load(&sources(globals))?;
    let place = DaemonPlace::of(&configuration)?;
    Ok((configuration, place))
}
