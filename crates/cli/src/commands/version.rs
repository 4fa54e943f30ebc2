//! `stigmer version`.

use clap::Args;
use serde_json::{Value, json};
use stigmer_core::{ExecutionMode, ToolError};
use stigmer_engine::Engine;

use crate::arguments::Globals;
use crate::context::{Context, Needs, Settings, runtime, surroundings};
use crate::output::{Failure, Output};

/// Prints the version.
#[derive(Debug, Args)]
#[command(after_help = "\
With --json it also lists what the execution mode in force can do; null if it is not available.

Examples:
  stigmer version
  stigmer version --json")]
pub(crate) struct Version {}

impl Version {
    pub(crate) fn run(self, globals: &Globals, output: &mut Output) -> Result<u8, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let target = format!("{}-{}{ENVIRONMENT}", std::env::consts::ARCH, std::env::consts::OS);
        if output.is_json() {
            let capabilities = capabilities(globals).unwrap_or(Value::Null);
            let result =
                json!({ "version": version, "target": target, "capabilities": capabilities });
            output.json(&result)?;
        } else {
            output.line(format_args!("stigmer {version} ({target})"))?;
        }
        Ok(0)
    }
}

/// What the execution mode in force can do.
fn capabilities(globals: &Globals) -> Result<Value, ToolError> {
    let settings = Settings::read(globals, surroundings())?;
    // A sandbox is not made to be looked at.
    if settings.mode() == ExecutionMode::Sandbox {
        return Ok(json!(Engine::sandbox_capabilities()));
    }
    let needs = Needs::Workspace;
    let context = runtime()?.block_on(Context::open(globals, settings, None, needs))?;
    Ok(json!(context.executor.capabilities()))
}

/// The C library, the last part of a target's name.
const ENVIRONMENT: &str = if cfg!(target_env = "gnu") {
    "-gnu"
} else if cfg!(target_env = "musl") {
    "-musl"
} else {
    ""
};
