//! `stigmer image build`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use clap::Args;
use serde_json::json;
use stigmer_core::{ErrorCode, ToolError};

use super::{configured, docker, no_docker};
use crate::arguments::Globals;
use crate::output::{Failure, Output};

/// The file that says what is in the image, in a checkout.
const DOCKERFILE: &str = "images/Dockerfile.sandbox.basic";

/// What the image is called where no flag says so; it is no name of a registry's, so that it is
/// never mistaken for one that was pulled.
const TAG: &str = "stigmer-sandbox-basic:local";

/// Builds the sandbox image in a checkout of stigmer.
#[derive(Debug, Args)]
#[command(after_help = "\
Docker's own command line does it, with images/Dockerfile.sandbox.basic of the checkout that the
current directory is in.

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
        let file = match self.file {
            Some(file) => file,
            None => find()?,
        };
        let tag = self.tag.or_else(|| globals.sandbox_image.clone());
        let tag = tag.unwrap_or_else(|| TAG.to_owned());
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty());
        let mut program = docker(&configuration);
        program.arg("build").arg("--tag").arg(&tag).arg("--file").arg(&file);
        for argument in &self.build_arg {
            program.arg("--build-arg").arg(argument);
        }
        program.arg(parent.unwrap_or(Path::new(".")));
        // Standard output is for our result.
        program.stdin(Stdio::null()).stdout(std::io::stderr());
        let status = program.status().map_err(|error| no_docker(&error))?;
        if !status.success() {
            let message = format!("docker build: {status}");
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

/// The file in the checkout that the current directory is in.
fn find() -> Result<PathBuf, ToolError> {
    let current = std::env::current_dir()
        .map_err(|error| crate::context::io("open", "the current directory", &error))?;
    let found = current.ancestors().map(|above| above.join(DOCKERFILE)).find(|path| path.is_file());
    found.ok_or_else(|| {
        ToolError::new(ErrorCode::NotFound, format!("there is no {DOCKERFILE} here or above"))
            .with_hint("run it in a checkout of stigmer, or name a file with -f")
    })
}
