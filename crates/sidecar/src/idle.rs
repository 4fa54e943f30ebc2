//! How long nobody has used the server.
//!
//! Requests are use, and so are commands that run, whoever started them. Asking how the server is,
//! is none. What counts is the time in which the server could run: a container that was paused was
//! not idle.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
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

use crate::ITSELF;

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
        let mut latest = None;
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
            let is_alone = is_alone();
            idle = match executor.list_processes().await {
                Ok(all) if is_alone || !all.iter().any(is_running) => {
                    idle.min(since_commands(&all, &mut latest))
                }
                Err(_) if is_alone => idle,
                _ => Duration::ZERO,
            };
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
    let all = executor.list_processes().await;
    all.is_ok_and(|all| !all.iter().any(is_running)) || is_alone()
}

/// How long ago the last command ended. `latest` is the last end that was found to lie ahead.
fn since_commands(all: &[ProcessInfo], latest: &mut Option<u64>) -> Duration {
    let last = all.iter().filter_map(|process| process.exit.as_ref()).map(|exit| exit.ended_ms);
    let last = last.max().unwrap_or_default();
    match SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_millis(last)) {
        Ok(since) => since,
        // It has been waited for once already; it may be years ahead.
        Err(_) if *latest == Some(last) => Duration::MAX,
        // A clock that was set back makes it now.
        Err(_) => {
            *latest = Some(last);
            Duration::ZERO
        }
    }
}

/// Whether nothing runs but process 1 and processes of this program: none of a command's.
fn is_alone() -> bool {
    let Ok(own) = fs::metadata(ITSELF) else { return false };
    let is_none = |process: &Path| {
        let is_first = process.file_name().is_some_and(|name| name == "1");
        let is_ours = |found: fs::Metadata| (found.dev(), found.ino()) == (own.dev(), own.ino());
        is_first || fs::metadata(process.join("exe")).is_ok_and(is_ours) || has_ended(process)
    };
    fs::read_dir("/proc").is_ok_and(|all| {
        let all = all.flatten().map(|entry| entry.path());
        let is_process = |path: &Path| {
            path.file_name().is_some_and(|name| name.as_encoded_bytes()[0].is_ascii_digit())
        };
        all.filter(|path| is_process(path)).all(|process| is_none(&process))
    })
}

/// Whether a process is gone, or only not taken in yet (`proc(5)`, `/proc/pid/stat`).
fn has_ended(process: &Path) -> bool {
    let Ok(stat) = fs::read_to_string(process.join("stat")) else { return !process.exists() };
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(ended_ms: u64) -> ProcessInfo {
        serde_json::from_value(serde_json::json!({
            "id": "0123456789", "command": { "shell": "true" }, "workspace": "/w",
            "cwd": "/w", "state": "exited", "started_ms": 0, "terminal": false, "detached": true,
            "output_bytes": 0, "exit": { "code": 0, "reason": "exited", "ended_ms": ended_ms,
            "duration_ms": 1, "output_bytes": 0 },
        }))
        .unwrap()
    }

    #[test]
    fn an_end_that_lies_ahead_is_waited_for_once() {
        let mut latest = None;
        let second = Duration::from_secs(1);
        assert!(since_commands(&[], &mut latest) > second);
        assert!(since_commands(&[ended(7)], &mut latest) > second);
        let ahead = [ended(u64::MAX), ended(7)];
        assert_eq!(since_commands(&ahead, &mut latest), Duration::ZERO);
        assert_eq!(since_commands(&ahead, &mut latest), Duration::MAX);
    }

    #[test]
    fn who_is_not_alone_knows_it() {
        assert!(!is_alone(), "who runs this test is there");
        assert!(has_ended(Path::new("/proc/no-such-process")));
        assert!(!has_ended(Path::new("/proc/self")));
    }
}
