//! Commands whose id their client chose: started once, however often that is asked for.

use std::time::{Duration, Instant};

use stigmer_core::process::{Command, StartedProcess};
use stigmer_core::{ErrorCode, FilePath, Place, ProcessId, Result, ToolError};

use super::Processes;
use super::connection::Connection;
use crate::supervisor::begin::id_is_taken;
use crate::supervisor::protocol::{Reply, Request};
use crate::supervisor::record::{self, ProcessRecord};

/// How long a supervisor may take from making a process's directory to starting the command: the
/// same as for any answer.
const START_LIMIT: Duration = Duration::from_secs(10);

/// How often to look whether a command that is being started has been. There is nothing to wait on
/// before its supervisor listens, which takes it a tenth of a millisecond.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// What makes two requests the same.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) command: Command,
    pub(super) cwd: FilePath,
    pub(super) terminal: bool,
    pub(super) detached: bool,
}

impl Wanted {
    fn is(&self, record: &ProcessRecord, workspace: &FilePath) -> bool {
        self.command == record.command
            && self.cwd == record.cwd
            && self.terminal == record.terminal
            && self.detached == record.detached
            && *workspace == record.workspace
    }
}

impl Processes {
    /// What was started under an id; `None` if nothing was, and nothing is being started.
    ///
    /// Returns when that command runs or has run: one that is being started may yet fail, and then
    /// nothing was started.
    pub(super) async fn started_before(
        &self,
        id: &ProcessId,
        wanted: &Wanted,
    ) -> Result<Option<StartedProcess>> {
        let mut started =
            StartedProcess { id: id.clone(), place: Place::Host, routing: None, executable: None };
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let directory = match self.open(id) {
                Ok(directory) => directory,
                Err(error) if error.code == ErrorCode::UnknownProcess => return Ok(None),
                Err(error) => return Err(error),
            };
            if let Some(record) = record::read_process(&directory) {
                if !wanted.is(&record, &self.workspace) {
                    return Err(id_is_taken(id));
                }
                started.routing = record.routing;
                if record::read_exit(&directory).is_some() {
                    return Ok(Some(started));
                }
                match Connection::open(&directory, id).await? {
                    // It answers once the command runs; if it goes without an answer, the command
                    // has just ended or could not be started.
                    Some(mut connection) => {
                        let status = connection.ask_soon(id, &Request::Status).await?;
                        if matches!(status, Some(Reply::Status { .. })) {
                            return Ok(Some(started));
                        }
                    }
                    // Nobody listens: it has ended, or its supervisor died and it is lost, which
                    // must not be run again unasked. One that could not be started loses its name
                    // before its supervisor stops listening.
                    None if self.is_there(id) => return Ok(Some(started)),
                    None => return Ok(None),
                }
            }
            if Instant::now() >= deadline {
                return Err(never_began(id));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Whether there is a directory of this id.
    pub(super) fn is_there(&self, id: &ProcessId) -> bool {
        !matches!(self.open(id), Err(error) if error.code == ErrorCode::UnknownProcess)
    }
}

/// A directory in which nothing was written: what made it died before it ran anything.
fn never_began(id: &ProcessId) -> ToolError {
    let limit = START_LIMIT.as_secs();
    let reason = format!("it has begun to start the command and not done so within {limit} s");
    ToolError::supervisor_unreachable(id, reason)
        .with_hint("it was killed before it ran anything; repeat the request with another id")
}
