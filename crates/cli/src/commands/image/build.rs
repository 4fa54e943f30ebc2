//! `stigmer image build`.

use std::path::{Path, PathBuf};
use std::process::{Command as Program, Stdio};

use clap::Args;
use serde_json::json;
use stigmer_core::{ErrorCode, ToolError};

use stigmer_engine::LOCAL_IMAGE;

use super::{configured, docker, for_engine, no_docker};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// What builds the image, in a checkout.
const SCRIPT: &str = "images/build";

/// Builds the sandbox image in a checkout of stigmer.
#[derive(Debug, Args)]
#[command(after_help = "\
images/build does it, of the checkout that the current directory is in: it builds on Debian's packages
where no base can be pulled, and trusts what this machine trusts. With -f it is `docker build` alone.

Examples:
  stigmer image build
  stigmer image build -f Dockerfile --tag my-sandbox:1 --build-arg BASE=debian:12")]
pub(crate) struct Build {
    /// The file that says what is in the image; its directory is what it is built from
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// What to call the image [default: stigmer-sandbox-basic:local]
    #[arg(short, long, value_name = "IMAGE")]
    tag: Option<String>,
    /// Set an argument of the build; may be given more than once
    #[arg(long, value_name = "NAME=VALUE")]
    build_arg: Vec<String>,
}

impl Build {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let (configuration, _) = configured(globals)?;
        let tag = self.tag.or_else(|| globals.sandbox_image.clone());
        let tag = tag.unwrap_or_else(|| LOCAL_IMAGE.to_owned());
        let mut program = docker(&configuration);
        if let Some(file) = &self.file {
            program.arg("build").arg("--tag").arg(&tag).arg("--file").arg(file);
        } else {
            program = for_engine(&configuration, Program::new(find()?));
            program.arg("basic").arg("--tag").arg(&tag);
        }
        for argument in &self.build_arg {
            program.arg("--build-arg").arg(argument);
        }
        if let Some(file) = &self.file {
            let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            program.arg(parent.unwrap_or(Path::new(".")));
        }
        // Standard output is for our result.
        program.stdin(Stdio::null()).stdout(std::io::stderr());
        let status = program.status().map_err(|error| no_docker(&error))?;
        if !status.success() {
            let message = format!("the build of {tag}: {status}");
            let error = ToolError::new(ErrorCode::Io, message)
                .with_hint("what it says above is why; `stigmer doctor` looks at the engine");
            return Err(error.into());
        }
        if output.is_json() {
            output.json(&json!({ "image": tag }))?;
        } else {
            output.line(&tag)?;
            output.talk(format_args!("  `stigmer config set sandbox_image {tag}` uses it"));
        }
        Ok(0)
    }
}

/// The script in the checkout that the current directory is in.
fn find() -> Result<PathBuf, ToolError> {
    let current = std::env::current_dir()
        .map_err(|error| crate::context::io("open", "the current directory", &error))?;
    let found = current.ancestors().map(|above| above.join(SCRIPT)).find(|path| path.is_file());
    found.ok_or_else(|| {
        ToolError::new(ErrorCode::NotFound, format!("there is no {SCRIPT} here or above"))
            .with_hint("run it in a checkout of stigmer, or name a file with -f")
    })
}
