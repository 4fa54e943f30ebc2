//! `stigmer doctor`.

use clap::Args;
use serde_json::json;
use stigmer_core::ExecutionMode;
use stigmer_engine::Configuration;
use stigmer_engine::doctor::{self, Status};

use crate::arguments::Globals;
use crate::context::{sources, sources_with_daemon};
use crate::output::{Failure, Output};

/// Checks what this machine has of what stigmer needs.
#[derive(Debug, Args)]
#[command(after_help = "\
Exit code 0 if the mode in force works, else 1. Nothing is changed.

Examples:
  stigmer doctor
  stigmer doctor --json")]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        // Settings that cannot be read are among what is found.
        let sources = sources_with_daemon(globals).unwrap_or_else(|_| sources(globals));
        let checks = doctor::examine(&sources);
        let mode = Configuration::load(&sources).and_then(|all| Ok(all.target()?.0));
        let mode = mode.unwrap_or(ExecutionMode::Local);
        let works = doctor::mode_works(mode, &checks);
        if output.is_json() {
            let local = doctor::local_mode_works(&checks);
            let mode = mode.name();
            output.json(
                &json!({ "mode": mode, "works": works, "local_mode": local, "checks": checks }),
            )?;
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
            output.line(format_args!("{mode} mode {verdict} on this machine"))?;
        }
        Ok(u8::from(!works))
    }
}
