//! How long to go on trying after a connection broke.

use std::time::{Duration, Instant};

use stigmer_core::{ErrorCode, Result, ToolError};

use crate::resilience::Backoff;

/// A connection that lived so long was a good one: what breaks after it is a new misfortune.
const STEADY: Duration = Duration::from_secs(5);

/// Tries until a time is over, with waits in between.
#[derive(Debug)]
pub(super) struct Patience {
    backoff: Backoff,
    limit: Duration,
    since: Option<Instant>,
    repetition: u32,
}

impl Patience {
    pub(super) fn new(backoff: Backoff, limit: Duration) -> Self {
        Self { backoff, limit, since: None, repetition: 0 }
    }

    /// All is well again.
    pub(super) fn renew(&mut self) {
        self.since = None;
        self.repetition = 0;
    }

    /// It failed again, after it had lasted for a while. Returns how long to wait before the next
    /// try, or nothing if it is time to give up.
    fn next(&mut self, lasted: Duration, now: Instant, random: u64) -> Option<Duration> {
        if lasted >= STEADY {
            self.renew();
        }
        let since = *self.since.get_or_insert(now);
        let left = self.limit.checked_sub(now.saturating_duration_since(since))?;
        if left.is_zero() {
            return None;
        }
        let wait = self.backoff.delay(self.repetition, random);
        self.repetition = self.repetition.saturating_add(1);
        Some(wait.min(left))
    }

    /// Waits for the next try; `false` when it is time to give up.
    pub(super) async fn wait(&mut self, lasted: Duration) -> Result<bool> {
        match self.next(lasted, Instant::now(), random()?) {
            Some(wait) => {
                tokio::time::sleep(wait).await;
                Ok(true)
            }
            None => Ok(false),
        }
    }
}

/// A random number.
pub(super) fn random() -> Result<u64> {
    getrandom::u64().map_err(|error| {
        ToolError::new(ErrorCode::Io, format!("the system gives no random numbers: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_when_its_time_is_over_and_not_before() {
        let start = Instant::now();
        let mut patience = Patience::new(Backoff::LOCAL, Duration::from_secs(60));
        assert_eq!(patience.next(Duration::ZERO, start, 0), Some(Duration::ZERO));
        let wait = patience.next(Duration::ZERO, start + Duration::from_secs(59), u64::MAX);
        assert!(wait.unwrap() <= Duration::from_secs(1));
        assert_eq!(patience.next(Duration::ZERO, start + Duration::from_secs(60), 0), None);
    }

    #[test]
    fn a_connection_that_lasted_renews_it_and_one_that_broke_at_once_does_not() {
        let start = Instant::now();
        let late = start + Duration::from_secs(61);
        let mut patience = Patience::new(Backoff::LOCAL, Duration::from_secs(60));
        assert!(patience.next(Duration::ZERO, start, 0).is_some());
        assert_eq!(patience.next(Duration::from_millis(1), late, 0), None);
        assert!(patience.next(STEADY, late, 0).is_some());
    }
}
