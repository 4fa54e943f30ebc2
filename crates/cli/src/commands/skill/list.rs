//! `stigmer skill list`.

use clap::Args;
use stigmer_skills::Skills;

use crate::output::{Failure, Output};

/// Lists the skills of the workspace.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer skill list
  stigmer skill list --json")]
pub(crate) struct List {}

impl List {
    pub(super) async fn run(self, skills: &Skills, output: &mut Output) -> Result<u8, Failure> {
        let all = skills.list().await?;
        if output.is_json() {
            output.json(&all)?;
            return Ok(0);
        }
        for skill in &all {
            output.line(&skill.name)?;
            if let Some(problem) = &skill.problem {
                output.line(format_args!("  problem  {problem}"))?;
                continue;
            }
            output.bytes(b"  path     ")?;
            output.bytes(skill.path.as_bytes())?;
            output.line("")?;
            // It may have lines, and words that a terminal would obey.
            let words: Vec<&str> = skill.description.split_whitespace().collect();
            let shown: String =
                words.join(" ").chars().filter(|letter| !letter.is_control()).collect();
            output.line(format_args!("  about    {shown}"))?;
        }
        Ok(0)
    }
}
