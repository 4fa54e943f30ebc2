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

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;
    use std::time::Duration;

    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn each_change_is_one_log_line_and_one_metric() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        let options = BreakerOptions { failures: 5, open_for: Duration::ZERO };
        tracing::subscriber::with_default(subscriber, || {
            metrics::with_local_recorder(&recorder, || {
                let circuit = Circuit::new("unix:/s", options);
                (0..5).for_each(|_| circuit.failed());
                assert!(handle.render().contains("_state{endpoint=\"unix:/s\"} 1"));
                assert!(matches!(circuit.admit().unwrap(), Admission::Probe(_)));
                // It was dropped, and made room.
                let Ok(Admission::Probe(probe)) = circuit.admit() else { panic!("no probe") };
                assert!(handle.render().contains("_state{endpoint=\"unix:/s\"} 2"));
                circuit.succeeded();
                drop(probe);
                circuit.succeeded();
                assert!(matches!(circuit.admit(), Ok(Admission::Passes)));
            });
        });
        let lines = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        let told: Vec<&str> =
            lines.lines().map(|line| line.split("from=").nth(1).unwrap()).collect();
        assert_eq!(
            told,
            [
                r#""closed" to="open""#,
                r#""open" to="probing""#,
                r#""probing" to="open""#,
                r#""open" to="probing""#,
                r#""probing" to="closed""#,
            ]
        );
        let metrics = handle.render();
        for (to, times) in [("open", 2), ("probing", 2), ("closed", 1)] {
            let line = format!("{CHANGES}{{endpoint=\"unix:/s\",to=\"{to}\"}} {times}\n");
            assert!(metrics.contains(&line), "{line} is not in {metrics}");
        }
        assert!(metrics.contains("_state{endpoint=\"unix:/s\"} 0"), "{metrics}");
    }
}
