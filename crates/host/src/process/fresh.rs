//! Connections over which commands were started and that no follower has taken over yet.
//!
//! While such a connection is kept, a command that writes more than its cap waits for the client
//! that is yet to come. Clients come at once or not at all, so none is kept for long: in a program
//! that lives long each would be a descriptor for ever.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use stigmer_core::ProcessId;
use tokio::time::Instant;

use super::connection::Connection;

/// How long one is kept: as long as a foreground command waits for its client by default.
const KEPT_FOR: Duration = stigmer_core::limits::DEFAULT_CLIENT_GRACE;

/// How many are kept; the oldest goes first. A thousand commands at once is what a client may start
/// before it follows the first.
const MOST_KEPT: usize = 1024;

/// The connections, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Fresh(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    connections: VecDeque<(Instant, ProcessId, Connection)>,
    /// Somebody sees to it that the old ones go.
    swept: bool,
}

impl Fresh {
    pub(super) fn keep(&self, id: ProcessId, connection: Connection) {
        let mut kept = lock(&self.0);
        if kept.connections.len() >= MOST_KEPT {
            kept.connections.pop_front();
        }
        kept.connections.push_back((Instant::now(), id, connection));
        if !kept.swept {
            kept.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.0)));
        }
    }

    pub(super) fn take(&self, id: &ProcessId) -> Option<Connection> {
        let mut kept = lock(&self.0);
        // The one that was kept last is the one that is most often asked for.
        let at = kept.connections.iter().rposition(|(_, kept, _)| kept == id)?;
        kept.connections.remove(at).map(|(_, _, connection)| connection)
    }
}

/// Drops connections as they grow old, until there are none.
async fn sweep(kept: Weak<Mutex<Kept>>) {
    loop {
        let due = {
            let Some(kept) = kept.upgrade() else { return };
            let mut kept = lock(&kept);
            let now = Instant::now();
            while kept.connections.front().is_some_and(|(since, _, _)| *since + KEPT_FOR <= now) {
                kept.connections.pop_front();
            }
            let Some((oldest, _, _)) = kept.connections.front() else {
                kept.swept = false;
                return;
            };
            *oldest + KEPT_FOR
        };
        tokio::time::sleep_until(due).await;
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}
