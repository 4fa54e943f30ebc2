//! `stigmer image pull`.

use clap::Args;
use serde_json::json;
use stigmer_engine::{Engine, ProcessScope};

use super::configured;
use crate::arguments::Globals;
use crate::context::runtime;
use crate::output::{Failure, Output};
use crate::progress::{Shown, Telling};

/// Pulls the sandbox image.
#[derive(Debug, Args)]
#[command(after_help = "\
The image is the one of the setting sandbox_image, or of --sandbox-image. Credentials of registries
are Docker's own: `docker login`.

Examples:
  stigmer image pull
  stigmer image pull --sandbox-image debian:12")]
pub(crate) struct Pull {}

impl Pull {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let (configuration, image) = configured(globals)?;
        let engine = Engine::new(configuration, None, ProcessScope::All);
        let shown = Shown::new(if globals.json { Telling::Nothing } else { Telling::All });
        runtime()?.block_on(engine.pull_image(&|event| shown.show(&event)))?;
        if output.is_json() {
            output.json(&json!({ "image": image }))?;
        } else {
            output.line(&image)?;
        }
        Ok(0)
    }
}
