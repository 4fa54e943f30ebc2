//! How long nobody has used the server.
//!
//! Requests are use, and so are commands that run, whoever started them. Asking how the server is,
//! is none. What counts is the time in which the server could run: a container that was paused was
//! not idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use http_body_util::BodyExt;
use stigmer_core::ToolExecutor;
use stigmer_core::process::{ProcessInfo, ProcessState};
use stigmer_host::HostExecutor;

/// The longest time between two looks: a paused server counts it twice at most.
const LONGEST_TICK: Duration = Duration::from_secs(10);

/// Looks in a time to live.
const TICKS: u32 = 20;

/// Services that are asked about the server, and not for work.
const NO_USE: [&str; 2] = ["/grpc.", "/stigmer.v1.Server/"];

/// Counts what is going on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Use {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// One request that is being answered.
struct Answering(Arc<Counts>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Use {
    /// Counts the requests that a router gets.
    pub(crate) fn count(&self, router: Router) -> Router {
        let counts = Arc::clone(&self.counts);
        router.layer(from_fn(move |request: Request, next: Next| {
            let path = request.uri().path();
            let answering = (!NO_USE.iter().any(|prefix| path.starts_with(prefix))).then(|| {
                counts.begun.fetch_add(1, Ordering::Relaxed);
                Answering(Arc::clone(&counts))
            });
            async move {
                let answer = next.run(request).await;
                // A stream is use until its end.
                answer.map(|body| {
                    Body::new(body.map_frame(move |frame| {
                        let _until_the_end = &answering;
                        frame
                    }))
                })
            }
        }))
    }

    /// Requests that were begun, and whether any is being answered.
    fn now(&self) -> (u64, bool) {
        let ended = self.counts.ended.load(Ordering::Relaxed);
        let begun = self.counts.begun.load(Ordering::Relaxed);
        (begun, begun != ended)
    }

    /// Waits until the server has been idle for so long.
    pub(crate) async fn idle_for(&self, ttl: Duration, executor: &HostExecutor) {
        let tick = (ttl / TICKS).min(LONGEST_TICK);
        let (mut idle, mut known) = (Duration::ZERO, self.now().0);
        loop {
            let began = Instant::now();
            tokio::time::sleep(tick).await;
            let (begun, answering) = self.now();
            idle += began.elapsed().min(tick * 2);
            if answering || begun != known {
                idle = Duration::ZERO;
            }
            known = begun;
            if idle < ttl {
                continue;
            }
            // If nobody can tell, somebody may be at work.
            let Ok(all) = executor.list_processes().await else {
                idle = Duration::ZERO;
                continue;
            };
            idle = idle.min(since_commands(&all));
            if idle >= ttl && self.now() == (known, false) {
                return;
            }
        }
    }
}

/// Whether a command runs, or something that it left behind.
pub(crate) fn is_running(process: &ProcessInfo) -> bool {
    process.state == ProcessState::Running || process.background > 0
}

/// Whether it is known that no command runs.
pub(crate) async fn is_unused(executor: &HostExecutor) -> bool {
    executor.list_processes().await.is_ok_and(|all| !all.iter().any(is_running))
}

/// How long ago the last command ended.
fn since_commands(all: &[ProcessInfo]) -> Duration {
    if all.iter().any(is_running) {
        return Duration::ZERO;
    }
    let last = all.iter().filter_map(|process| process.exit.as_ref()).map(|exit| exit.ended_ms);
    let last = UNIX_EPOCH + Duration::from_millis(last.max().unwrap_or_default());
    // A clock that was set back makes it now.
    SystemTime::now().duration_since(last).unwrap_or_default()
}
