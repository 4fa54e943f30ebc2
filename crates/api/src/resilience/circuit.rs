//! A breaker that is shared, and tells of its changes.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::breaker::{Breaker, BreakerOptions, BreakerState, Change, Refused};

/// The gauge of a circuit's state: 0 closed, 1 open, 2 probing.
const STATE: &str = "stigmer_circuit_breaker_state";
/// The counter of its changes.
const CHANGES: &str = "stigmer_circuit_breaker_changes_total";

/// The circuit breaker of one endpoint. Each change of its state is one log line and one metric.
#[derive(Debug)]
pub struct Circuit {
    endpoint: String,
    breaker: Mutex<Breaker>,
}

/// A request that may be sent.
#[derive(Debug)]
pub enum Admission<'a> {
    /// As any other.
    Passes,
    /// To find out whether the server is back: nothing else passes meanwhile.
    Probe(Permit<'a>),
}

/// The one probe. Dropped unreported, it makes room for another.
#[derive(Debug)]
pub struct Permit<'a> {
    circuit: &'a Circuit,
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.circuit.tell(|breaker| breaker.abandoned());
    }
}

impl Circuit {
    /// The circuit to an endpoint, named as it shall stand in logs and metrics.
    pub fn new(endpoint: impl Into<String>, options: BreakerOptions) -> Self {
        Self { endpoint: endpoint.into(), breaker: Mutex::new(Breaker::new(options)) }
    }

    /// Where it stands.
    pub fn state(&self) -> BreakerState {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner).state()
    }

    /// Asks to send a request.
    ///
    /// # Errors
    /// The circuit is open.
    pub fn admit(&self) -> Result<Admission<'_>, Refused> {
        let (change, state) = {
            let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
            (breaker.admit(Instant::now())?, breaker.state())
        };
        self.report(change);
        Ok(match state {
            BreakerState::Probing => Admission::Probe(Permit { circuit: self }),
            BreakerState::Closed | BreakerState::Open => Admission::Passes,
        })
    }

    /// The server answered.
    pub fn succeeded(&self) {
        self.tell(Breaker::succeeded);
    }

    /// The server could not be reached, or the connection broke before it answered.
    pub fn failed(&self) {
        self.tell(|breaker| breaker.failed(Instant::now()));
    }

    fn tell(&self, event: impl FnOnce(&mut Breaker) -> Option<Change>) {
        let change = event(&mut self.breaker.lock().unwrap_or_else(PoisonError::into_inner));
        self.report(change);
    }

    fn report(&self, change: Option<Change>) {
        let Some(Change { from, to }) = change else { return };
        let value = match to {
            BreakerState::Closed => 0.0,
            BreakerState::Open => 1.0,
            BreakerState::Probing => 2.0,
        };
        metrics::gauge!(STATE, "endpoint" => self.endpoint.clone()).set(value);
        metrics::counter!(CHANGES, "endpoint" => self.endpoint.clone(), "to" => to.name())
            .increment(1);
        tracing::warn!(
            endpoint = self.endpoint,
            from = from.name(),
            to = to.name(),
            "circuit breaker changed"
        );
    }
}
