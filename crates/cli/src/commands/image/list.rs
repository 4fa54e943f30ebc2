//! `stigmer image list`.

use std::process::Stdio;

use clap::Args;
use serde_json::json;
use stigmer_core::{ErrorCode, ToolError};

use super::{configured, docker, no_docker};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// Lists the sandbox images that are here.
#[derive(Debug, Args)]
#[command(after_help = "\
Those with `sandbox` in their name, and the one that the settings name; a star marks that one.

Examples:
  stigmer image list
  stigmer image list --json")]
pub(crate) struct List {}

impl List {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let (configuration, image) = configured(globals)?;
        let mut program = docker(&configuration);
        program.args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}\t{{.ID}}\t{{.Size}}"]);
        let said = program.stdin(Stdio::null()).output().map_err(|error| no_docker(&error))?;
        if !said.status.success() {
            let why = String::from_utf8_lossy(&said.stderr);
            let why = why.lines().next().unwrap_or("docker image ls failed").to_owned();
            let error = ToolError::new(ErrorCode::NotAvailable, why)
                .with_hint("`stigmer doctor` looks at the engine");
            return Err(error.into());
        }
        let wanted = with_tag(&image);
        let text = String::from_utf8_lossy(&said.stdout);
        let all: Vec<[&str; 3]> = text
            .lines()
            .filter_map(|line| <[&str; 3]>::try_from(line.split('\t').collect::<Vec<_>>()).ok())
            .filter(|[name, ..]| name.contains("sandbox") || *name == wanted)
            .collect();
        if output.is_json() {
            let row = |[name, id, size]: &[&str; 3]| json!({ "image": name, "id": id, "size": size, "configured": *name == wanted });
            let here = all.iter().any(|[name, ..]| *name == wanted);
            let images: Vec<_> = all.iter().map(row).collect();
            output.json(&json!({ "configured": image, "present": here, "images": images }))?;
            return Ok(0);
        }
        for [name, id, size] in &all {
            let mark = if *name == wanted { "*" } else { " " };
            output.line(format_args!("{mark} {size:>8}  {id}  {name}"))?;
        }
        if !all.iter().any(|[name, ..]| *name == wanted) {
            output.talk(format_args!("{image} is not here: `stigmer image pull` gets it"));
        }
        Ok(0)
    }
}

/// The name with its tag, as Docker lists it.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') { image.to_owned() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_tag_is_the_latest() {
        for (image, name) in [
            ("debian", "debian:latest"),
            ("debian:12", "debian:12"),
            ("localhost:5000/a", "localhost:5000/a:latest"),
        ] {
            assert_eq!(with_tag(image), name);
        }
    }
}
