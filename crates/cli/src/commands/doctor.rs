//! `stigmer doctor`.

use clap::Args;
use serde_json::json;
use stigmer_engine::doctor::{self, Status};

use crate::arguments::Globals;
use crate::context::sources;
use crate::output::{Failure, Output};

/// Checks what this machine has of what stigmer needs.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 if local mode works, else 1. Nothing is changed.

Examples:
  stigmer doctor
  stigmer doctor --json")]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let checks = doctor::examine(&sources(globals));
        let works = doctor::local_mode_works(&checks);
        if output.is_json() {
            output.json(&json!({ "local_mode": works, "checks": checks }))?;
        } else {
            let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
            for check in &checks {
                let status = match check.status {
                    Status::Ok => "ok     ",
                    Status::Warning => "warning",
                    Status::Missing => "missing",
                };
                output.line(format_args!("{status}  {:width$}  {}", check.name, check.found))?;
                if let Some(fix) = &check.fix {
                    let needed_for = check.needed_for.name();
                    let space = "";
                    output
                        .line(format_args!("{space:width$}           for {needed_for}: {fix}"))?;
                }
            }
            let verdict = if works { "works" } else { "does not work" };
            output.line(format_args!("local mode {verdict} on this machine"))?;
        }
        Ok(u8::from(!works))
    }
}
