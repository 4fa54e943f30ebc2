//! What is known of processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use stigmer_core::process::{ProcessInfo, ProcessState};
use stigmer_core::{FilePath, ProcessId, Result, ToolError};

use super::Processes;
use super::connection::Connection;
use crate::supervisor::log::LogReader;
use crate::supervisor::protocol::{Reply, Request};
use crate::supervisor::record::{self, ProcessRecord};

/// How long one supervisor may take to say how it is. It answers in less than a millisecond.
const STATUS_LIMIT: Duration = Duration::from_secs(1);

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
        // One that is stopped answers nobody, and must not hide the others. It is there.
        Some(mut connection) => {
            tokio::time::timeout(STATUS_LIMIT, connection.ask(&Request::Status, &[]))
                .await
                .unwrap_or(Ok(Some(Reply::Done)))?
        }
        None => None,
    };
    // After asking: one that ended in between has its record by now.
    let exit = record::read_exit(directory);
    let supervised = status.is_some();
    let (pid, background, end) = match status {
        Some(Reply::Status { pid, background, end }) => (pid, background, Some(end)),
        _ => (None, 0, None),
    };
    let state = match (&exit, supervised) {
        (Some(_), _) => ProcessState::Exited,
        (None, true) => ProcessState::Running,
        (None, false) => ProcessState::Lost,
    };
    // Processes that were left behind may have written after the exit; bytes that the disk did not
    // take are counted by the exit only.
    let output_bytes = match (end, &exit) {
        (Some(end), _) => end,
        (None, exit) => {
            let counted = exit.as_ref().map_or(0, |exit| exit.output_bytes);
            LogReader::end_of(directory)?.max(counted)
        }
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
