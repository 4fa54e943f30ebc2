//! What is known of processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use stigmer_core::process::{ProcessInfo, ProcessState};
use stigmer_core::{FilePath, ProcessId, Result, ToolError};

use super::Processes;
use super::connection::Connection;
use crate::supervisor::log::LogReader;
use crate::supervisor::protocol::{Reply, Request};
use crate::supervisor::record::{self, ProcessRecord};

/// How long one supervisor may take to say how it is. It answers in less than a millisecond.
const STATUS_LIMIT: Duration = Duration::from_secs(1);

/// How many supervisors are asked at a time: those that are stopped are waited for together. Each
/// takes up to three descriptors.
const MAX_ASKED: usize = 64;

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
        let ids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<ProcessId>().ok());
        let asked: Vec<_> = ids
            .map(|id| async move {
                // One that is just being made, or of another workspace.
                let Ok((directory, record)) = self.find(&id) else { return Ok(None) };
                describe(&directory, record).await.map(Some)
            })
            .collect();
        let asked = futures_util::stream::iter(asked).buffer_unordered(MAX_ASKED);
        let all: Vec<Option<ProcessInfo>> = asked.try_collect().await?;
        let mut all: Vec<ProcessInfo> = all.into_iter().flatten().collect();
        all.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        Ok(all)
    }
}

async fn describe(directory: &Arc<OwnedFd>, record: ProcessRecord) -> Result<ProcessInfo> {
    let asked = async {
        match Connection::open(directory, &record.id).await? {
            Some(mut connection) => connection.ask(&Request::Status, &[]).await,
            None => Ok(None),
        }
    };
    // One that is stopped answers nobody, in the end lets nobody connect, and must not hide the
    // others. It is there.
    let status =
        tokio::time::timeout(STATUS_LIMIT, asked).await.unwrap_or(Ok(Some(Reply::Done)))?;
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
