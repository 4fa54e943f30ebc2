//! The two ways to run a command, as one: to start it, and to run it to its end.

use std::future::Future;

use stigmer_core::process::{Execute, Executed, ExitStatus, StartProcess, StartedProcess};
use stigmer_core::{Result, Routing, ToolExecutor as _};
use stigmer_host::{Confined, Confinement};

use super::host::Confining;
use crate::sandbox::Sandboxed;

/// A command that is to be run.
pub(crate) trait Work: Clone + Send + Sync {
    /// What it comes to.
    type Done: Send;

    /// What to run.
    fn start(&self) -> &StartProcess;

    /// The same, to be changed.
    fn start_mut(&mut self) -> &mut StartProcess;

    /// Runs it in a lane on the host.
    fn confined(
        self,
        host: &Confining,
        confinement: &Confinement,
    ) -> impl Future<Output = Result<Confined<Self::Done>>> + Send;

    /// Runs it in the sandbox.
    fn sandboxed(self, sandbox: &Sandboxed) -> impl Future<Output = Result<Self::Done>> + Send;

    /// What is said of its lane.
    fn routing(done: &mut Self::Done) -> &mut Option<Box<Routing>>;

    /// How it ended, if that is known.
    fn exit(done: &Self::Done) -> Option<&ExitStatus>;
}

impl Work for StartProcess {
    type Done = StartedProcess;

    fn start(&self) -> &StartProcess {
        self
    }
    fn start_mut(&mut self) -> &mut StartProcess {
        self
    }
    async fn confined(
        self,
        host: &Confining,
        confinement: &Confinement,
    ) -> Result<Confined<StartedProcess>> {
        host.start(self, confinement).await
    }
    async fn sandboxed(self, sandbox: &Sandboxed) -> Result<StartedProcess> {
        sandbox.start_process(self).await
    }
    fn routing(done: &mut StartedProcess) -> &mut Option<Box<Routing>> {
        &mut done.routing
    }
    fn exit(_: &StartedProcess) -> Option<&ExitStatus> {
        None
    }
}

impl Work for Execute {
    type Done = Executed;

    fn start(&self) -> &StartProcess {
        &self.start
    }
    fn start_mut(&mut self) -> &mut StartProcess {
        &mut self.start
    }
    async fn confined(
        self,
        host: &Confining,
        confinement: &Confinement,
    ) -> Result<Confined<Executed>> {
        host.execute(self, confinement).await
    }
    /// The input is in the request: what a first try has read is given again.
    async fn sandboxed(self, sandbox: &Sandboxed) -> Result<Executed> {
        sandbox.execute(self).await
    }
    fn routing(done: &mut Executed) -> &mut Option<Box<Routing>> {
        &mut done.routing
    }
    fn exit(done: &Executed) -> Option<&ExitStatus> {
        Some(&done.exit)
    }
}
