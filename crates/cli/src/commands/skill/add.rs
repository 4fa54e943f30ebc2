//! `stigmer skill add`.

use std::fs::File;
use std::path::{Path, PathBuf};

use clap::Args;
use stigmer_core::skill::SkillChange;
use stigmer_skills::Skills;

use crate::commands::fs::{archive, stream_of};
use crate::context::io;
use crate::output::{Failure, Output};

/// Puts a skill into the workspace.
#[derive(Debug, Args)]
#[command(after_help = "\
SOURCE is a directory, a tar archive (which may be compressed with gzip), or - for an archive from
standard input. SKILL.md is at its top or in its only directory. Another version of the skill is
replaced; the same content is not written again. Prints the skill's directory.

Examples:
  stigmer skill add ./pdf-tools
  stigmer skill add pdf-tools.tar.gz
  curl -L https://example.org/skill.tar.gz | stigmer skill add -")]
pub(crate) struct Add {
    /// The skill
    #[arg(value_hint = clap::ValueHint::AnyPath)]
    source: PathBuf,
}

impl Add {
    pub(super) async fn run(self, skills: &Skills, output: &mut Output) -> Result<u8, Failure> {
        let shown = self.source.to_string_lossy().into_owned();
        let content = if self.source == Path::new("-") {
            stream_of(std::io::stdin(), "standard input".to_owned())
        } else if self.source.is_dir() {
            archive::build(self.source)
        } else {
            let file = File::open(&self.source).map_err(|error| io("read", &shown, &error))?;
            stream_of(file, shown)
        };
        let added = skills.add(content).await?;
        if output.is_json() {
            output.json(&added)?;
            return Ok(0);
        }
        output.talk(format_args!(
            "{} {}",
            match added.change {
                SkillChange::Added => "added",
                SkillChange::Replaced => "replaced",
                SkillChange::Unchanged => "unchanged:",
            },
            added.skill.name
        ));
        output.bytes(added.skill.path.as_bytes())?;
        output.line("")?;
        Ok(0)
    }
}
