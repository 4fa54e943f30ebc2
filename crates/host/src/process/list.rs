//! What is known of processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use stigmer_core::process::{ProcessInfo, ProcessState};
use stigmer_core::{FilePath, ProcessId, Result, ToolError};

use super::Processes;
use super::connection::Connection;
use crate::supervisor::log::LogReader;
use crate::supervisor::protocol::{Reply, Request};
use crate::supervisor::record::{self, ProcessRecord};

impl Processes {
    /// One process.
    pub(crate) async fn info(&self, id: &ProcessId) -> Result<ProcessInfo> {
        let (directory, record) = self.find(id)?;
        describe(&directory, record).await
    }

    /// All that are kept, the oldest first.
    pub(crate) async fn list(&self) -> Result<Vec<ProcessInfo>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let path = FilePath::from(self.directory.as_path());
                return Err(ToolError::from_io("list the processes in", &path, &error));
            }
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(|name| name.parse::<ProcessId>().ok());
            let Some(id) = id else { continue };
            // One that is just being made, or of another workspace.
            let Ok((directory, record)) = self.find(&id) else { continue };
            all.push(describe(&directory, record).await?);
        }
        all.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        Ok(all)
    }
}

async fn describe(directory: &Arc<OwnedFd>, record: ProcessRecord) -> Result<ProcessInfo> {
    let status = match Connection::open(directory, &record.id).await? {
        Some(mut connection) => connection.ask_soon(&record.id, &Request::Status).await?,
        None => None,
    };
    // After asking: one that ended in between has its record by now.
    let exit = record::read_exit(directory);
    let (pid, background, end) = match status {
        Some(Reply::Status { pid, background, end }) => (pid, background, Some(end)),
        _ => (None, 0, None),
    };
    let state = match (&exit, end) {
        (Some(_), _) => ProcessState::Exited,
        (None, Some(_)) => ProcessState::Running,
        (None, None) => ProcessState::Lost,
    };
    let output_bytes = match (end, &exit) {
        (Some(end), _) => end,
        (None, Some(exit)) => exit.output_bytes,
        (None, None) => LogReader::end_of(directory)?,
    };
    Ok(ProcessInfo {
        id: record.id,
        command: record.command,
        workspace: record.workspace,
        cwd: record.cwd,
        state,
        exit,
        started_ms: record.started_ms,
        pid,
        background,
        terminal: record.terminal,
        detached: record.detached,
        output_bytes,
    })
}
