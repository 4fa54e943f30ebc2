//! `stigmer ps`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use stigmer_core::Lane;
use stigmer_core::process::{EndReason, ProcessInfo, ProcessState};

use crate::context::Context;
use crate::output::{Failure, Output, size};

/// Lists commands.
#[derive(Debug, Args)]
#[command(after_help = "\
Lists what runs, in every workspace. `exited+2` has ended and left two processes behind; kill ends
those, too. What auto mode runs has its lane, too.

Examples:
  stigmer ps
  stigmer ps --all
  stigmer ps --all --json
  stigmer ps -q | xargs -r stigmer kill")]
pub(crate) struct Ps {
    /// List those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

impl Ps {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let mut list = context.processes.list_processes().await?;
        list.retain(|info| self.all || info.state == ProcessState::Running || info.background > 0);
        if output.is_json() {
            output.json(&list)?;
            return Ok(0);
        }
        if self.quiet {
            for info in &list {
                output.line(&info.id)?;
            }
            return Ok(0);
        }
        let has_lanes = list.iter().any(|info| info.routing.is_some());
        let column = |lane: &str| if has_lanes { format!("{lane:<9}  ") } else { String::new() };
        output.line(format_args!(
            "{:<10}  {:<13}  {:>8}  {:>9}  {}COMMAND",
            "ID",
            "STATE",
            "STARTED",
            "OUTPUT",
            column("LANE")
        ))?;
        for info in &list {
            output.line(format_args!(
                "{:<10}  {:<13}  {:>8}  {:>9}  {}{}",
                info.id,
                state(info),
                age(info.started_ms),
                size(info.output_bytes),
                column(lane(info)),
                one_line(&info.command.display())
            ))?;
        }
        Ok(0)
    }
}

fn state(info: &ProcessInfo) -> String {
    let state = match (&info.state, &info.exit) {
        (ProcessState::Running, _) => "running".to_owned(),
        (ProcessState::Lost, _) => "lost".to_owned(),
        (ProcessState::Exited, Some(exit)) if exit.reason != EndReason::Exited => {
            exit.reason.name().to_owned()
        }
        (ProcessState::Exited, Some(exit)) => format!("exited {}", exit.code),
        (ProcessState::Exited, None) => "exited".to_owned(),
    };
    match info.background {
        0 => state,
        count => format!("{state}+{count}"),
    }
}

/// The lane of a command of auto mode, in a word.
fn lane(info: &ProcessInfo) -> &'static str {
    match info.routing.as_ref().map(|routing| routing.lane) {
        Some(Lane::HostReadOnly) => "read-only",
        Some(Lane::HostWorkspace) => "workspace",
        Some(Lane::Sandbox) => "sandbox",
        None => "-",
    }
}

fn age(started_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = now.saturating_sub(Duration::from_millis(started_ms)).as_secs();
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// A command on one line of the table.
fn one_line(command: &str) -> String {
    /// Wide enough to recognise a command by.
    const WIDTH: usize = 80;
    let mut line: String = command
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .take(WIDTH)
        .collect();
    if command.chars().count() > WIDTH {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_short() {
        assert_eq!(one_line("a\nb\x1b[31m"), "a b [31m");
        assert_eq!(one_line(&"é".repeat(90)).chars().count(), 81);
    }
}
