//! Commands in auto mode's lanes on the host.

use std::path::PathBuf;

use stigmer_core::process::{Execute, Executed, Lifetime, StartProcess, StartedProcess};
use stigmer_core::{ByteString, Denied, ErrorCode, Result, Routing, ToolError};

use super::Processes;
use crate::Root;
use crate::supervisor::protocol::Confine;

/// How a command is to be confined.
#[derive(Clone, Debug)]
pub struct Confinement {
    /// Programs that the command is known to execute, as it names them: if the first match of one on PATH
    /// cannot be executed in the lane, the lane is refused.
    pub programs: Vec<ByteString>,
    /// More directories that hold tools.
    pub tool_roots: Vec<PathBuf>,
    /// Whether a try in the read-only lane that fails on a refused change is to be discarded.
    pub may_fall_over: bool,
    /// The lane, and what else is kept with the command. What is enforced and which variables are left out
    /// is filled in.
    pub routing: Routing,
}

/// What became of a command that was to be confined.
#[derive(Debug)]
pub enum Confined<T> {
    /// It ran in its lane.
    Ran(T),
    /// Nothing ran: the lane is off on this machine, or does not fit. The reason is for people.
    Refused(String),
    /// It failed because of what it was refused, and nothing of it is left.
    Discarded(Denied),
}

impl<T> Confined<T> {
    /// What ran, where nothing was said of a lane.
    pub(super) fn unconfined(self) -> Result<T> {
        let message = match self {
            Self::Ran(ran) => return Ok(ran),
            Self::Refused(reason) => reason,
            Self::Discarded(_) => "a command in no lane was discarded".to_owned(),
        };
        Err(ToolError::new(ErrorCode::Io, message))
    }
}

impl Confinement {
    /// The same for a supervisor, for a command of which so many variables were declared.
    pub(super) fn for_supervisor(&self, declared: usize) -> Confine {
        let Self { programs, tool_roots, may_fall_over, routing } = self.clone();
        Confine { routing, programs, tool_roots, declared, may_fall_over }
    }
}

impl Processes {
    /// Starts a command in a lane.
    pub(crate) async fn start_confined(
        &self,
        root: &Root,
        request: StartProcess,
        confinement: &Confinement,
    ) -> Result<Confined<StartedProcess>> {
        let foreground = request.lifetime != Lifetime::Detached;
        let launched = self.launch(root, request, None, Some(confinement)).await?;
        Ok(self.kept(launched, foreground))
    }

    /// Runs a command in a lane to its end.
    pub(crate) async fn execute_confined(
        &self,
        root: &Root,
        request: Execute,
        confinement: &Confinement,
    ) -> Result<Confined<Executed>> {
        self.execute_in(root, request, Some(confinement)).await
    }
}
