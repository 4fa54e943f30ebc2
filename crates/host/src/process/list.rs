//! What is known of processes.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
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

/// How many records are listed that somebody may have planted. A sandbox that ran more commands
/// than that within their retention shows a part of them.
const MOST_PLANTED: usize = 10_000;

/// How many bytes of such records are read in one listing: it is held in memory.
const PLANTED_BYTES: u64 = 64 << 20;

/// How long one listing of such records may take. Honest ones take a tenth of a millisecond each.
const PLANTED_LIMIT: Duration = Duration::from_secs(10);

/// What one listing may cost.
struct Allowance {
    until: Option<Instant>,
    bytes: AtomicU64,
}

impl Allowance {
    /// Whether there is time left, and room for so many bytes, which are taken.
    fn takes(&self, bytes: u64) -> bool {
        let take = |left: u64| left.checked_sub(bytes);
        self.has_time()
            && self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn has_time(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() < until)
    }
}

impl Processes {
    /// One process.
    pub(crate) async fn info(&self, id: &ProcessId) -> Result<ProcessInfo> {
        let (directory, record) = self.find(id)?;
        let status = ask(&directory, id).await?;
        Ok(describe(&directory, record, status, true))
    }

    /// All that are kept, the oldest first. Records that are damaged are left out, and so are those
    /// that cannot be told from them; they hide no others.
    pub(crate) async fn list(&self) -> Result<Vec<ProcessInfo>> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                let path = FilePath::from(self.directory.as_path());
                return Err(ToolError::from_io("list the processes in", &path, &error));
            }
        };
        // The user's own are as many and as long as they are.
        let planted = self.options.records.is_some();
        let allowance = Allowance {
            until: planted.then(|| Instant::now() + PLANTED_LIMIT),
            bytes: AtomicU64::new(if planted { PLANTED_BYTES } else { u64::MAX }),
        };
        let ids = entries
            .take(if planted { MOST_PLANTED } else { usize::MAX })
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse::<ProcessId>().ok());
        let asked: Vec<_> = ids.map(|id| self.listed(id, &allowance)).collect();
        let asked = futures_util::stream::iter(asked).buffer_unordered(MAX_ASKED);
        let mut all: Vec<ProcessInfo> = asked.filter_map(async |info| info).collect().await;
        all.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        Ok(all)
    }

    /// One of many; nothing if it is just being made, of another workspace, or no record.
    async fn listed(&self, id: ProcessId, allowance: &Allowance) -> Option<ProcessInfo> {
        let directory = self.open(&id).ok()?;
        if !allowance.takes(record::length(&directory)?) {
            return None;
        }
        let record = self.read(&id, &directory)?;
        // Who answers, and be it nonsense, is there.
        let status = ask(&directory, &id).await.unwrap_or(Some(Reply::Done));
        Some(describe(&directory, record, status, allowance.has_time()))
    }
}

/// Asks a process's supervisor how it is; nothing if there is none.
async fn ask(directory: &OwnedFd, id: &ProcessId) -> Result<Option<Reply>> {
    let asked = async {
        match Connection::open(directory, id).await? {
            Some(mut connection) => connection.ask(&Request::Status, &[]).await,
            None => Ok(None),
        }
    };
    // One that is stopped answers nobody, in the end lets nobody connect, and must not hide the
    // others. It is there.
    tokio::time::timeout(STATUS_LIMIT, asked).await.unwrap_or(Ok(Some(Reply::Done)))
}

/// What is known of a process, from its record, its supervisor's answer and, if wanted, its log.
fn describe(
    directory: &Arc<OwnedFd>,
    record: ProcessRecord,
    status: Option<Reply>,
    count: bool,
) -> ProcessInfo {
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
    // take are counted by the exit only. A log that is damaged says so to whoever reads it.
    let output_bytes = end.unwrap_or_else(|| {
        let counted = exit.as_ref().map_or(0, |exit| exit.output_bytes);
        let kept = if count { LogReader::end_of(directory).unwrap_or(0) } else { 0 };
        kept.max(counted)
    });
    ProcessInfo {
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
        routing: record.routing,
    }
}
