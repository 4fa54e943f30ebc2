//! Giving up a search that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stigmer_core::{ErrorCode, Result, ToolError};

/// Whether a search goes on. Clones are about the same search.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Whether nobody waits for the result any more.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// # Errors
    /// An error that nobody reads, if nobody waits for the result any more.
    pub(crate) fn check(&self) -> Result<()> {
        if self.is_set() {
            return Err(ToolError::new(ErrorCode::Io, "the search was given up"));
        }
        Ok(())
    }
}

/// Stops a search when it is dropped, as it is with the future that waits for the search.
#[derive(Debug, Default)]
pub(crate) struct StopOnDrop(Stop);

impl StopOnDrop {
    /// What the search looks at.
    pub(crate) fn stop(&self) -> Stop {
        self.0.clone()
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}
