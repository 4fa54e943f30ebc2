//! Whether anybody is connected, for whoever ends a server that nobody uses.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many connections a server has and has had.
#[derive(Clone, Debug, Default)]
pub struct Activity {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// One connection, until it is dropped.
pub(super) struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::AcqRel);
    }
}

impl Activity {
    pub(super) fn begin(&self) -> Open {
        self.counts.begun.fetch_add(1, Ordering::AcqRel);
        Open(Arc::clone(&self.counts))
    }

    /// How many connections there were so far, and whether one of them is open still. While the
    /// first stays the same and the second is false, nobody has used the server.
    pub fn now(&self) -> (u64, bool) {
        // The other way round one that comes and goes between the two would seem to be open.
        let ended = self.counts.ended.load(Ordering::Acquire);
        let begun = self.counts.begun.load(Ordering::Acquire);
        (begun, begun != ended)
    }
}
