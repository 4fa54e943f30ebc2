//! What a container may write outside its volumes.
//!
//! Where the engine's storage cannot limit it, it is looked at from time to time by every program
//! that uses the container; inside nobody can tell what a container has written from what its image
//! has. When it is over the limit, the commands that run are ended and told why. So a disk can be
//! filled between two looks, and while no program of ours lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stigmer_api::client::RemoteExecutor;
use stigmer_core::process::{EndReason, ExitStatus, SignalRequest};
use stigmer_core::{ErrorCode, ProcessId, ToolError, ToolExecutor as _};
use tokio::task::JoinHandle;

use crate::engine::Engine;

/// Between two looks: a disk takes some gigabytes in this time, and a look at a container that has
/// written little costs the engine a millisecond.
const LOOK: Duration = Duration::from_secs(5);

/// The part of the time that looking may take: the engine counts all files that were written.
const SHARE: u32 = 20;

/// Ends commands when their container has written too much. It goes with its last user.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    limit: u64,
    /// Commands that were ended for it, with what had been written.
    ended: Arc<Mutex<HashMap<ProcessId, u64>>>,
    looking: JoinHandle<()>,
}

impl DiskWatch {
    pub(crate) fn new(
        engine: Arc<Engine>,
        container: &str,
        limit: u64,
        commands: Arc<RemoteExecutor>,
    ) -> Self {
        let ended = Arc::<Mutex<HashMap<ProcessId, u64>>>::default();
        let (container, told) = (container.to_owned(), Arc::clone(&ended));
        let looking = tokio::spawn(async move {
            let (mut rest, mut before) = (LOOK, 0);
            loop {
                tokio::time::sleep(rest).await;
                let began = Instant::now();
                let found = match engine.container_and_size(&container).await {
                    Ok(Some(found)) => found.written,
                    Ok(None) => return,
                    // It may answer the next time.
                    Err(_) => None,
                };
                rest = LOOK.max(began.elapsed() * SHARE);
                let Some(written) = found else { continue };
                // Who clears away is not who fills it; and asking for commands is use.
                let grew = written > std::mem::replace(&mut before, written);
                if written <= limit || !grew {
                    continue;
                }
                let Ok(all) = commands.list_processes().await else { continue };
                let ends = all.into_iter().filter(crate::status::runs).map(|info| {
                    let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
                    told.insert(info.id.clone(), written);
                    let commands = &commands;
                    async move { commands.signal(&info.id, SignalRequest::Cancel).await.map(drop) }
                });
                // One that ends by itself meanwhile is as good.
                join_all(ends.collect::<Vec<_>>()).await;
            }
        });
        Self { limit, ended, looking }
    }

    /// Why a command was ended, if it was for this.
    pub(crate) fn why_ended(&self, id: &ProcessId, exit: &ExitStatus) -> Option<ToolError> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let written = ended.get(id).filter(|_| exit.reason == EndReason::Cancelled)?;
        Some(full(id, *written, self.limit))
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

fn full(id: &ProcessId, written: u64, limit: u64) -> ToolError {
    let message = format!(
        "process {id} was ended: its container has written {written} bytes outside the workspace, and its limit is {limit}"
    );
    ToolError::new(ErrorCode::DiskFull, message)
        .with_detail("cause", "disk_limit")
        .with_detail("process", id.as_str())
        .with_detail("written", written)
        .with_detail("limit", limit)
        .with_hint(format!(
            "`stigmer logs {id}` has its output; remove what it wrote, raise sandbox_disk, or make a new container with `stigmer workspace recover`"
        ))
}

/// What is to be said of the limit when a container is made.
pub(crate) fn notes(limit: Option<u64>, enforced: bool) -> Vec<String> {
    match limit {
        Some(limit) if !enforced => vec![format!(
            "the engine's storage cannot limit what a container writes: the limit of {limit} bytes is watched and not enforced"
        )],
        _ => Vec::new(),
    }
}

/// What is to be said of what a container has written.
pub(crate) fn over(limit: Option<u64>, written: Option<u64>) -> Option<String> {
    let (limit, written) = (limit?, written?);
    (written > limit).then(|| {
        format!("the container has written {written} bytes, which is over the limit of {limit}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_only_watched_says_so() {
        assert!(notes(None, false).is_empty() && notes(Some(1), true).is_empty());
        assert!(notes(Some(7), false)[0].contains("7 bytes is watched"));
        assert_eq!(over(Some(7), Some(7)), None);
        assert_eq!(over(None, Some(7)), None);
        assert_eq!(over(Some(7), None), None);
        assert!(over(Some(7), Some(8)).unwrap().contains("over the limit"));
    }
}
