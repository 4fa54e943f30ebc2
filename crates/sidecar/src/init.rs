//! What process 1 of a container or machine has to do beside.

use std::io;
use std::sync::Arc;

use futures_util::future::join_all;
use rustix::process::{WaitOptions, wait};
use stigmer_core::process::SignalRequest;
use stigmer_core::{Result, ToolExecutor};
use stigmer_host::HostExecutor;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::idle::is_running;

/// Whether this is process 1.
pub(crate) fn is_init() -> bool {
    std::process::id() == 1
}

/// Takes in the orphans that ended, for ever. The only child that this program waits for is a new
/// reserve which could not be executed: that wait is over before this, on the same thread, goes on.
pub(crate) async fn reap(mut children: Signal) {
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        if children.recv().await.is_none() {
            return;
        }
    }
}

/// The signal that a child has ended.
pub(crate) fn children() -> io::Result<Signal> {
    signal(SignalKind::child())
}

/// Ends every command that runs: TERM, a time of grace, KILL.
///
/// # Errors
/// What listing the commands says.
pub(crate) async fn end_all(executor: &Arc<HostExecutor>) -> Result<()> {
    let all = executor.list_processes().await?;
    let running = all.iter().filter(|process| is_running(process));
    // One that ends by itself in the meantime is as good.
    join_all(running.map(|process| executor.signal(&process.id, SignalRequest::Cancel))).await;
    Ok(())
}
