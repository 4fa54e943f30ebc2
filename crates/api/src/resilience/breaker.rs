//! When to stop asking a server that does not answer.

use std::time::{Duration, Instant};

/// How many failures in a row open a circuit.
pub const FAILURES: u32 = 5;

/// How long a circuit to another machine stays open before one probe.
pub const REMOTE_OPEN: Duration = Duration::from_secs(60);

/// How long a circuit to a server on this machine stays open: asking costs a few microseconds, and a
/// daemon that was started again is there within a tenth of a second.
pub const LOCAL_OPEN: Duration = Duration::from_millis(250);

/// How a breaker behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerOptions {
    /// How many failures in a row open it.
    pub failures: u32,
    /// How long it stays open before one probe.
    pub open_for: Duration,
}

impl BreakerOptions {
    /// For a server on another machine.
    pub const REMOTE: Self = Self { failures: FAILURES, open_for: REMOTE_OPEN };
    /// For a server on this machine.
    pub const LOCAL: Self = Self { failures: FAILURES, open_for: LOCAL_OPEN };
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// One request is on its way to find out; the others are refused.
    Probing,
}

impl BreakerState {
    /// The name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Probing => "probing",
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// From here.
    pub from: BreakerState,
    /// To here.
    pub to: BreakerState,
}

/// A request that does not pass, and when to come again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How long until the next probe.
    pub retry_after: Duration,
}

/// A circuit breaker: a state machine that is told what happened and when.
#[derive(Clone, Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    failures: u32,
    /// When it was opened, or the probe was sent.
    since: Option<Instant>,
}

impl Breaker {
    /// A closed one.
    pub fn new(options: BreakerOptions) -> Self {
        Self { options, state: BreakerState::Closed, failures: 0, since: None }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.state
    }

    /// Asks to send a request. An open breaker whose time is over lets one through: the probe.
    ///
    /// # Errors
    /// The breaker is open, or a probe is on its way.
    pub fn admit(&mut self, now: Instant) -> Result<Option<Change>, Refused> {
        if self.state == BreakerState::Closed {
            return Ok(None);
        }
        let waited = self.since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
        // A probe that has been away for as long as the breaker was open is given up, too.
        if waited >= self.options.open_for {
            self.since = Some(now);
            return Ok(self.become_state(BreakerState::Probing));
        }
        Err(Refused { retry_after: self.options.open_for - waited })
    }

    /// The server answered.
    pub fn succeeded(&mut self) -> Option<Change> {
        self.failures = 0;
        self.since = None;
        self.become_state(BreakerState::Closed)
    }

    /// The server could not be reached, or the connection broke before it answered.
    pub fn failed(&mut self, now: Instant) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        match self.state {
            BreakerState::Closed if self.failures < self.options.failures => None,
            // Requests that were sent before it was opened do not keep it open for longer.
            BreakerState::Open => None,
            BreakerState::Closed | BreakerState::Probing => {
                self.since = Some(now);
                self.become_state(BreakerState::Open)
            }
        }
    }

    /// The probe was given up before it was known how it ends: the next request is the probe.
    pub fn abandoned(&mut self) -> Option<Change> {
        if self.state != BreakerState::Probing {
            return None;
        }
        self.since = None;
        self.become_state(BreakerState::Open)
    }

    fn become_state(&mut self, to: BreakerState) -> Option<Change> {
        let from = std::mem::replace(&mut self.state, to);
        (from != to).then_some(Change { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn failed_times(breaker: &mut Breaker, times: u32, now: Instant) {
        for _ in 0..times {
            breaker.failed(now);
        }
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_four_do_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(BreakerOptions::REMOTE);
        failed_times(&mut breaker, 4, now);
        breaker.succeeded();
        failed_times(&mut breaker, 4, now);
        assert_eq!(breaker.admit(now), Ok(None));
        let change = breaker.failed(now);
        assert_eq!(change, Some(Change { from: BreakerState::Closed, to: BreakerState::Open }));
        assert_eq!(breaker.admit(now), Err(Refused { retry_after: REMOTE_OPEN }));
    }

    #[test]
    fn after_a_minute_one_probe_passes_and_decides() {
        let opened = Instant::now();
        let mut breaker = Breaker::new(BreakerOptions::REMOTE);
        failed_times(&mut breaker, 5, opened);
        let early = opened + REMOTE_OPEN - Duration::from_millis(1);
        assert!(breaker.admit(early).is_err());
        let later = opened + REMOTE_OPEN;
        let probing = Some(Change { from: BreakerState::Open, to: BreakerState::Probing });
        assert_eq!(breaker.admit(later), Ok(probing));
        assert!(breaker.admit(later).is_err(), "a second request passed beside the probe");
        assert_eq!(breaker.failed(later).map(|change| change.to), Some(BreakerState::Open));
        assert!(breaker.admit(later + REMOTE_OPEN / 2).is_err());
        assert!(breaker.admit(later + REMOTE_OPEN).is_ok());
        assert_eq!(breaker.succeeded().map(|change| change.to), Some(BreakerState::Closed));
        assert_eq!(breaker.admit(later + REMOTE_OPEN), Ok(None));
    }

    #[test]
    fn a_probe_that_was_given_up_makes_room_for_another() {
        let opened = Instant::now();
        let mut breaker = Breaker::new(BreakerOptions::REMOTE);
        failed_times(&mut breaker, 5, opened);
        let later = opened + REMOTE_OPEN;
        assert!(breaker.admit(later).is_ok());
        breaker.abandoned();
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(later).is_ok());
        // One that nobody reports on makes room, too.
        assert!(breaker.admit(later + REMOTE_OPEN).is_ok());
    }

    #[test]
    fn a_late_failure_does_not_keep_it_open_for_longer() {
        let opened = Instant::now();
        let mut breaker = Breaker::new(BreakerOptions::REMOTE);
        failed_times(&mut breaker, 5, opened);
        breaker.failed(opened + REMOTE_OPEN / 2);
        assert!(breaker.admit(opened + REMOTE_OPEN).is_ok());
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Wait(u64),
        Admit,
        Succeed,
        Fail,
        Abandon,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..40_000_u64).prop_map(Step::Wait),
            Just(Step::Admit),
            Just(Step::Succeed),
            Just(Step::Fail),
            Just(Step::Fail),
            Just(Step::Abandon),
        ]
    }

    proptest! {
        #[test]
        fn whatever_happens_it_opens_only_after_failures_and_never_for_ever(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(BreakerOptions::REMOTE);
            let mut in_a_row = 0;
            for step in steps {
                match step {
                    Step::Wait(milliseconds) => now += Duration::from_millis(milliseconds),
                    Step::Admit => {
                        let refused = breaker.admit(now).is_err();
                        prop_assert!(!refused || in_a_row >= FAILURES);
                    }
                    Step::Succeed => {
                        breaker.succeeded();
                        in_a_row = 0;
                        prop_assert_eq!(breaker.state(), BreakerState::Closed);
                    }
                    Step::Fail => {
                        breaker.failed(now);
                        in_a_row += 1;
                        prop_assert_eq!(
                            breaker.state() == BreakerState::Closed,
                            in_a_row < FAILURES
                        );
                    }
                    Step::Abandon => {
                        breaker.abandoned();
                    }
                }
                prop_assert!(breaker.clone().admit(now + REMOTE_OPEN).is_ok());
            }
        }
    }
}
