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
#[derive(Debug)]
pub(super) struct Fresh {
    kept: Arc<Mutex<Kept>>,
    most: usize,
    kept_for: Duration,
}

#[derive(Debug, Default)]
struct Kept {
    connections: VecDeque<(Instant, ProcessId, Connection)>,
    /// Somebody sees to it that the old ones go.
    swept: bool,
}

impl Default for Fresh {
    fn default() -> Self {
        Self::new(MOST_KEPT, KEPT_FOR)
    }
}

impl Fresh {
    fn new(most: usize, kept_for: Duration) -> Self {
        Self { kept: Arc::default(), most, kept_for }
    }

    pub(super) fn keep(&self, id: ProcessId, connection: Connection) {
        let mut kept = lock(&self.kept);
        if kept.connections.len() >= self.most {
            kept.connections.pop_front();
        }
        kept.connections.push_back((Instant::now(), id, connection));
        if !kept.swept {
            kept.swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.kept), self.kept_for));
        }
    }

    pub(super) fn take(&self, id: &ProcessId) -> Option<Connection> {
        let mut kept = lock(&self.kept);
        // The one that was kept last is the one that is most often asked for.
        let at = kept.connections.iter().rposition(|(_, kept, _)| kept == id)?;
        kept.connections.remove(at).map(|(_, _, connection)| connection)
    }
}

/// Drops connections as they grow old, until there are none.
async fn sweep(kept: Weak<Mutex<Kept>>, kept_for: Duration) {
    loop {
        let due = {
            let Some(kept) = kept.upgrade() else { return };
            let mut kept = lock(&kept);
            let now = Instant::now();
            while kept.connections.front().is_some_and(|(since, _, _)| *since + kept_for <= now) {
                kept.connections.pop_front();
            }
            let Some((oldest, _, _)) = kept.connections.front() else {
                kept.swept = false;
                return;
            };
            *oldest + kept_for
        };
        tokio::time::sleep_until(due).await;
    }
}

fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;

    /// Keeps a connection; returns its other end, which ends when the connection is dropped.
    fn keep(fresh: &Fresh, number: u64) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        fresh.keep(ProcessId::from_random(number), Connection::from_launch(ours));
        theirs
    }

    async fn ends(mut stream: UnixStream) {
        let end = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut [0])).await;
        assert_eq!(end.expect("it is kept").unwrap(), 0);
    }

    fn block_on(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(test);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        block_on(async {
            let fresh = Fresh::new(2, Duration::from_secs(3600));
            let first = keep(&fresh, 1);
            let _others = [keep(&fresh, 2), keep(&fresh, 3)];
            ends(first).await;
            assert!(fresh.take(&ProcessId::from_random(1)).is_none());
            for number in [2, 3] {
                assert!(fresh.take(&ProcessId::from_random(number)).is_some());
                assert!(
                    fresh.take(&ProcessId::from_random(number)).is_none(),
                    "each is taken once"
                );
            }
        });
    }

    #[test]
    fn what_nobody_takes_goes_by_itself() {
        block_on(async {
            let fresh = Fresh::new(8, Duration::from_millis(20));
            for round in 0..3 {
                // Each time the sweeping begins anew.
                let streams = [keep(&fresh, 2 * round), keep(&fresh, 2 * round + 1)];
                for stream in streams {
                    ends(stream).await;
                }
                assert!(lock(&fresh.kept).connections.is_empty());
            }
        });
    }
}
