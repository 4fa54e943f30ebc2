//! `stigmer workspace refill`: what a command that made a sandbox leaves behind to do, so that it need
//! not wait for it itself.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use clap::Args;
use stigmer_engine::{Engine, ProcessScope, Workspace};

use crate::arguments::Globals;
use crate::context::{Settings, runtime, surroundings};
use crate::output::Failure;
use crate::places::Access;

/// This program, whatever its file is called by now.
const ITSELF: &str = "/proc/self/exe";

/// Has as many sandboxes wait as the settings of a workspace say.
#[derive(Debug, Args)]
pub(crate) struct Refill {}

impl Refill {
    /// In this process, whether a daemon runs or not: whoever makes sandboxes wait at the same time
    /// makes no more than there shall be.
    pub(crate) fn run(self, globals: &Globals) -> Result<u8, Failure> {
        let name = Access::open(globals)?.name(None, globals)?;
        let settings = Settings::read(globals, surroundings())?;
        let engine = Engine::new(settings.configuration().clone(), None, ProcessScope::All);
        runtime()?.block_on(engine.fill_pool_of(&name))?;
        Ok(0)
    }
}

/// Has others wait if this program made a sandbox, in a process that nobody waits for. What it cannot
/// do the next one does.
pub(crate) fn in_background(engine: &Engine, workspace: &Workspace, globals: &Globals) {
    if !engine.pool_is_low() {
        return;
    }
    let mut command = Command::new(ITSELF);
    command.arg0("stigmer").arg("--workspace").arg(workspace.root());
    if let Some(image) = &globals.sandbox_image {
        command.arg("--sandbox-image").arg(image);
    }
    command.args(["workspace", "refill"]).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: the closure makes one system call.
    unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
    let _ = command.spawn();
}
