//! Input, signals, terminal size, waiting.

use stigmer_core::process::{ExitStatus, SignalRequest, TerminalSize};
use stigmer_core::{ByteString, ProcessId, Result, ToolError};

use super::Processes;
use super::connection::{Connection, unexpected};
use super::output::lost;
use crate::supervisor::protocol::{MAX_BODY, Reply, Request, Watch};
use crate::supervisor::record;

impl Processes {
    /// Writes to standard input.
    pub(crate) async fn write_stdin(&self, id: &ProcessId, bytes: &ByteString) -> Result<()> {
        let mut connection = self.connect(id).await?;
        for piece in bytes.as_bytes().chunks(MAX_BODY) {
            done(id, connection.ask(&Request::Stdin, piece).await?)?;
        }
        Ok(())
    }

    /// Closes standard input.
    pub(crate) async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        let mut connection = self.connect(id).await?;
        done(id, connection.ask_soon(id, &Request::CloseStdin).await?)
    }

    /// Changes the terminal's size.
    pub(crate) async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        let mut connection = self.connect(id).await?;
        done(id, connection.ask_soon(id, &Request::Resize(size)).await?)
    }

    /// Signals or ends a process.
    pub(crate) async fn signal(
        &self,
        id: &ProcessId,
        request: SignalRequest,
    ) -> Result<Option<ExitStatus>> {
        let (directory, record) = self.find(id)?;
        let over =
            || record::read_exit(&directory).unwrap_or_else(|| lost(&directory, record.started_ms));
        let connection = Connection::open(&directory, id).await?;
        if let SignalRequest::Send(_) = request {
            let mut connection = connection.ok_or_else(|| ToolError::process_ended(id))?;
            done(id, connection.ask_soon(id, &Request::Signal(request)).await?)?;
            return Ok(None);
        }
        let Some(mut connection) = connection else { return Ok(Some(over())) };
        // Ending may take its time; a supervisor that does not even answer is told at once.
        connection.ask_soon(id, &Request::Status).await?;
        match connection.ask(&Request::Signal(request), &[]).await? {
            Some(Reply::Ended { mut exit, survivors }) => {
                exit.survivors = survivors;
                Ok(Some(exit))
            }
            Some(other) => Err(unexpected(id, &other)),
            None => Ok(Some(over())),
        }
    }

    /// Waits until a process has ended.
    pub(crate) async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        let (directory, record) = self.find(id)?;
        if let Some(exit) = record::read_exit(&directory) {
            return Ok(exit);
        }
        if let Some(mut connection) = Connection::open(&directory, id).await? {
            // No output is news beyond the end of all offsets.
            let watch = Watch { since: u64::MAX, knows_exit: false, hold: false };
            match connection.ask(&Request::Watch(watch), &[]).await? {
                Some(Reply::Progress { exit: Some(exit), .. }) => return Ok(exit),
                Some(other) => return Err(unexpected(id, &other)),
                None => {}
            }
        }
        Ok(record::read_exit(&directory).unwrap_or_else(|| lost(&directory, record.started_ms)))
    }

    async fn connect(&self, id: &ProcessId) -> Result<Connection> {
        let (directory, _) = self.find(id)?;
        Connection::open(&directory, id).await?.ok_or_else(|| ToolError::process_ended(id))
    }
}

fn done(id: &ProcessId, reply: Option<Reply>) -> Result<()> {
    match reply {
        Some(Reply::Done) => Ok(()),
        Some(other) => Err(unexpected(id, &other)),
        None => Err(ToolError::process_ended(id)),
    }
}
