//! `stigmer image`.

mod build;
mod list;
mod pull;

use std::process::Command as Program;

use clap::{Args, Subcommand};
use stigmer_core::{ErrorCode, ToolError};
use stigmer_engine::Configuration;
use stigmer_engine::configuration::variables::Key;

use crate::arguments::Globals;
use crate::context::sources_with_daemon;
use crate::output::{Failure, Output};

/// Builds, pulls and lists images of sandboxes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stigmer image list
  stigmer image pull --sandbox-image debian:12
  stigmer image build")]
pub(crate) struct Image {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build the sandbox image in a checkout of stigmer
    Build(build::Build),
    /// Pull the sandbox image
    Pull(pull::Pull),
    /// List the sandbox images that are here
    List(list::List),
}

impl Image {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        match self.command {
            Command::Build(command) => command.run(globals, output),
            Command::Pull(command) => command.run(globals, output),
            Command::List(command) => command.run(globals, output),
        }
    }
}

/// The settings, and the image that they name.
fn configured(globals: &Globals) -> Result<(Configuration, String), ToolError> {
    let configuration = Configuration::load(&sources_with_daemon(globals)?)?;
    let image = configuration.get(Key::SandboxImage);
    let image = image.map(|found| found.value.to_string()).unwrap_or_default();
    Ok((configuration, image))
}

/// The engine's own program, for what only it can do, and for the engine that the settings name.
fn docker(configuration: &Configuration) -> Program {
    for_engine(configuration, Program::new("docker"))
}

/// The program, for the engine that the settings name.
fn for_engine(configuration: &Configuration, mut program: Program) -> Program {
    if let Some(found) = configuration.get(Key::SandboxEngine) {
        program.env("DOCKER_HOST", found.value.to_string());
    }
    program
}

/// What kept that program from running.
fn no_docker(error: &std::io::Error) -> ToolError {
    if error.kind() != std::io::ErrorKind::NotFound {
        return crate::context::io("run", "docker", error);
    }
    ToolError::new(ErrorCode::NotAvailable, "the program docker is not there")
        .with_hint("install Docker's command line: `apt-get install docker-cli`, or docker.io")
}
