//! `stigmer skill rm`.

use clap::Args;
use serde_json::json;
use stigmer_skills::Skills;

use crate::output::{Failure, Output};

/// Removes a skill from the workspace; it is no error if there is none.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer skill rm pdf-tools")]
pub(crate) struct Rm {
    /// The skill's name
    name: String,
}

impl Rm {
    pub(super) async fn run(self, skills: &Skills, output: &mut Output) -> Result<u8, Failure> {
        let removed = skills.remove(&self.name).await?;
        if output.is_json() {
            output.json(&json!({ "was_already_removed": !removed }))?;
        }
        if removed {
            output.talk(format_args!("removed {}", self.name));
        } else {
            output.talk(format_args!("{} was already removed", self.name));
        }
        Ok(0)
    }
}
