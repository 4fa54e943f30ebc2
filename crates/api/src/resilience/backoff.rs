//! How long to wait before the next try.

use std::time::Duration;

/// How long the first wait may be, for a server on another machine.
pub const REMOTE_BASE: Duration = Duration::from_secs(1);

/// How long the first wait may be, for a server on this machine: a daemon is back within a tenth of
/// a second, and a try on a socket costs a few microseconds.
pub const LOCAL_BASE: Duration = Duration::from_millis(50);

/// How often a request is tried in all.
pub const TRIES: u32 = 3;

/// The longest wait: who waits longer than this is slower than who starts anew.
pub const LONGEST: Duration = Duration::from_secs(5);

/// Exponential backoff with full jitter: before the nth repetition a time between nothing and
/// `base` × 2ⁿ, all equally likely, so that clients that failed together do not come back together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the first repetition.
    pub base: Duration,
    /// The longest wait of all.
    pub longest: Duration,
    /// How often a request is tried in all; at least once.
    pub tries: u32,
}

impl Backoff {
    /// For a server on another machine.
    pub const REMOTE: Self = Self { base: REMOTE_BASE, longest: LONGEST, tries: TRIES };
    /// For a server on this machine.
    pub const LOCAL: Self = Self { base: LOCAL_BASE, longest: LONGEST, tries: TRIES };

    /// The longest time to wait before repetition number `repetition`, counted from 0.
    pub fn ceiling(&self, repetition: u32) -> Duration {
        let factor = 1_u32.checked_shl(repetition).unwrap_or(u32::MAX);
        self.base.saturating_mul(factor).min(self.longest)
    }

    /// The time to wait before repetition number `repetition`, counted from 0; `random` is any
    /// number, all equally likely.
    pub fn delay(&self, repetition: u32, random: u64) -> Duration {
        let ceiling = self.ceiling(repetition).as_nanos();
        // Below 2^64: the longest wait is far from the five hundred years that this could hold.
        let nanoseconds = (ceiling * u128::from(random)) >> 64;
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// Whether a request that was tried so often may be tried once more.
    pub fn allows(&self, tried: u32) -> bool {
        tried < self.tries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_ceiling_doubles_up_to_the_longest_wait() {
        let seconds: Vec<u64> =
            (0..5).map(|repetition| Backoff::REMOTE.ceiling(repetition).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 5, 5]);
        assert_eq!(Backoff::REMOTE.ceiling(u32::MAX), LONGEST);
    }

    #[test]
    fn the_jitter_is_full() {
        assert_eq!(Backoff::REMOTE.delay(0, 0), Duration::ZERO);
        assert_eq!(Backoff::REMOTE.delay(0, 1 << 63), REMOTE_BASE / 2);
        assert!(Backoff::REMOTE.delay(0, u64::MAX) > REMOTE_BASE * 99 / 100);
    }

    #[test]
    fn three_tries_are_all() {
        assert!(Backoff::LOCAL.allows(2));
        assert!(!Backoff::LOCAL.allows(3));
    }

    proptest! {
        #[test]
        fn a_wait_is_never_longer_than_its_ceiling(
            base in 0..100_000_u64, longest in 0..100_000_u64, repetition: u32, random: u64,
        ) {
            let backoff = Backoff {
                base: Duration::from_millis(base),
                longest: Duration::from_millis(longest),
                tries: 3,
            };
            let ceiling = backoff.ceiling(repetition);
            prop_assert!(backoff.delay(repetition, random) <= ceiling);
            prop_assert!(ceiling <= backoff.longest);
        }
    }
}
