//! `stigmer skill`.

mod add;
mod list;
mod rm;

use clap::{Args, Subcommand};
use stigmer_skills::Skills;

use crate::context::Context;
use crate::output::{Failure, Output};

/// Adds, lists and removes skills.
#[derive(Debug, Args)]
#[command(after_help = "\
A skill is a directory with a SKILL.md (agentskills.io). In a workspace it lies beneath
.stigmer/skills, where commands and file operations find it under the same path and git does not.

Examples:
  stigmer skill add ./pdf-tools
  stigmer skill list
  stigmer skill rm pdf-tools")]
pub(crate) struct Skill {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put a skill into the workspace
    Add(add::Add),
    /// List the skills of the workspace
    List(list::List),
    /// Remove a skill from the workspace
    Rm(rm::Rm),
}

impl Skill {
    pub(crate) async fn run(self, context: &Context, output: &mut Output) -> Result<u8, Failure> {
        let skills = Skills::new(context.executor.clone(), context.workspace.root().into());
        match self.command {
            Command::Add(command) => command.run(&skills, output).await,
            Command::List(command) => command.run(&skills, output).await,
            Command::Rm(command) => command.run(&skills, output).await,
        }
    }
}
