//! `/metrics`: what the daemon counts, as Prometheus reads it.
//!
//! What is counted carries no path, no command and no value: names of operations, codes, states, lanes
//! and rules.

use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use stigmer_api::{Provider, RequestContext};
use stigmer_core::process::ProcessState;
use stigmer_core::{ErrorCode, Lane, Result, ToolError};
use stigmer_engine::RouteCount;
use tokio::sync::Mutex;

/// Where the durations of requests are told apart, in seconds: from a read of a small file to a
/// command that runs into its time limit.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 120.0, 600.0];

/// How often what was recorded is put in its buckets: until then it takes memory.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long the counts of processes and workspaces are good for. They are read from disk, and whoever
/// asks more often than that learns nothing.
const FRESH: Duration = Duration::from_secs(1);

/// The media type of Prometheus' text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All that is counted.
#[derive(Clone)]
pub(crate) struct Metrics {
    handle: PrometheusHandle,
    started: Instant,
    /// When the gauges were last set.
    set: Arc<Mutex<Option<Instant>>>,
}

impl Metrics {
    /// Counts from here on, for the whole program.
    pub(crate) fn install() -> Result<Self> {
        let failed = |error: BuildError| {
            ToolError::new(ErrorCode::Io, format!("cannot count for /metrics: {error}"))
        };
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS).map_err(failed)?;
        let handle = builder.install_recorder().map_err(failed)?;
        describe_gauge!("stigmer_processes", "Commands that are kept, by state.");
        describe_gauge!("stigmer_workspaces", "Workspaces that were opened and not forgotten.");
        describe_gauge!("stigmer_uptime_seconds", "Seconds since the daemon was started.");
        describe_gauge!("stigmer_build_info", "Always 1; the labels say which build it is.");
        describe_counter!(
            "stigmer_commands_routed_total",
            "Commands of auto mode, by lane and rule."
        );
        describe_counter!(
            "stigmer_commands_fallen_over_total",
            "Commands of auto mode whose first try was discarded, by rule."
        );
        gauge!("stigmer_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
        Ok(Self { handle, started: Instant::now(), set: Arc::default() })
    }

    /// Keeps the memory that is taken bounded, for ever.
    pub(crate) async fn keep_up(self) {
        let mut ticks = tokio::time::interval(UPKEEP);
        loop {
            ticks.tick().await;
            self.handle.run_upkeep();
        }
    }

    /// The text that Prometheus reads. `routed` is what the engine has counted of auto mode's commands.
    pub(crate) async fn render(&self, provider: &dyn Provider, routed: &[RouteCount]) -> String {
        tell_routed(routed);
        // Whoever asks while they are being counted gets the numbers from before: counting asks every
        // command's supervisor, and one that does not answer must not hold up the others.
        if let Ok(mut set) = self.set.try_lock()
            && set.is_none_or(|at| at.elapsed() >= FRESH)
        {
            count(provider).await;
            *set = Some(Instant::now());
        }
        gauge!("stigmer_uptime_seconds").set(self.started.elapsed().as_secs_f64());
        self.handle.render()
    }
}

/// Sets the counters of auto mode. The engine bounds how many rules there are.
fn tell_routed(routed: &[RouteCount]) {
    for RouteCount { lane, rule, commands, fallen_over } in routed {
        let name = match lane {
            Lane::HostReadOnly => "host_read_only",
            Lane::HostWorkspace => "host_workspace",
            Lane::Sandbox => "sandbox",
        };
        counter!("stigmer_commands_routed_total", "lane" => name, "rule" => rule.clone())
            .absolute(*commands);
        if *fallen_over > 0 {
            counter!("stigmer_commands_fallen_over_total", "rule" => rule.clone())
                .absolute(*fallen_over);
        }
    }
}

/// Sets the gauges of what is on disk. What cannot be read is left as it was.
async fn count(provider: &dyn Provider) {
    let states = [
        (ProcessState::Running, "running"),
        (ProcessState::Exited, "exited"),
        (ProcessState::Lost, "lost"),
    ];
    // The empty name is the executor that knows the commands of all workspaces.
    if let Ok(executor) = provider.executor("", &RequestContext::default()).await
        && let Ok(list) = executor.list_processes().await
    {
        for (state, name) in states {
            let count = list.iter().filter(|info| info.state == state).count();
            gauge!("stigmer_processes", "state" => name).set(count as f64);
        }
    }
    if let Ok(list) = provider.list().await {
        gauge!("stigmer_workspaces").set(list.len() as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_by_lane_and_rule() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let count = |lane, commands, fallen_over| RouteCount {
            lane,
            rule: "git log".to_owned(),
            commands,
            fallen_over,
        };
        let told = |routed: &[RouteCount]| {
            metrics::with_local_recorder(&recorder, || tell_routed(routed));
            recorder.handle().render()
        };
        told(&[count(Lane::HostReadOnly, 2, 0), count(Lane::Sandbox, 1, 1)]);
        // Told again, nothing is counted twice.
        let text = told(&[count(Lane::HostReadOnly, 3, 0), count(Lane::Sandbox, 1, 1)]);
        for line in [
            "stigmer_commands_routed_total{lane=\"host_read_only\",rule=\"git log\"} 3",
            "stigmer_commands_routed_total{lane=\"sandbox\",rule=\"git log\"} 1",
            "stigmer_commands_fallen_over_total{rule=\"git log\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line}: {text}");
        }
    }
}
