//! When nobody has used the daemon for long enough that it ends itself.
//!
//! A connection is use, whoever has it and whether it asks for anything; so are commands that run,
//! in whatever workspace and whoever started them, and what the daemon makes without being watched:
//! places and the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stigmer_api::serve::Activity;
use stigmer_api::{Provider, RequestContext};
use stigmer_core::Result;
use stigmer_core::process::ProcessState;

use crate::provider::DaemonProvider;

/// Looks in the time that it may be idle for.
const LOOKS: u32 = 20;

/// The longest time between two looks.
const LONGEST_TICK: Duration = Duration::from_secs(10);

/// The shortest, for a limit that somebody tries out.
const SHORTEST_TICK: Duration = Duration::from_millis(5);

/// What is being made for somebody who may have gone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work(Arc<AtomicUsize>);

/// One of it, until it is dropped.
#[derive(Debug)]
pub(crate) struct Working(Arc<AtomicUsize>);

impl Work {
    pub(crate) fn begin(&self) -> Working {
        self.0.fetch_add(1, Ordering::AcqRel);
        Working(Arc::clone(&self.0))
    }

    fn goes_on(&self) -> bool {
        self.0.load(Ordering::Acquire) > 0
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Waits until nobody has used the daemon for so long.
pub(crate) async fn idle_for(limit: Duration, activity: &Activity, provider: &DaemonProvider) {
    let tick = (limit / LOOKS).clamp(SHORTEST_TICK, LONGEST_TICK);
    let (mut since, mut known) = (Instant::now(), activity.now().0);
    loop {
        tokio::time::sleep(tick).await;
        let (had, is_open) = activity.now();
        if is_open || had != known || is_working(provider) {
            (since, known) = (Instant::now(), had);
        }
        if since.elapsed() < limit {
            continue;
        }
        // Containers are asked, too, which is no use of the daemon but costs something: once in the
        // time that it may be idle for.
        match has_commands(provider).await {
            Ok(false) if activity.now() == (known, false) && !is_working(provider) => return,
            Ok(_) => {}
            Err(error) => tracing::warn!(code = %error.code, "not known whether commands run"),
        }
        since = Instant::now();
    }
}

fn is_working(provider: &DaemonProvider) -> bool {
    provider.work().goes_on() || provider.engine().pool_is_low()
}

/// Whether a command runs in any workspace, or something that one left behind.
async fn has_commands(provider: &DaemonProvider) -> Result<bool> {
    let executor = provider.executor("", &RequestContext::default()).await?;
    let all = executor.list_processes().await?;
    Ok(all.iter().any(|one| one.state == ProcessState::Running || one.background > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_goes_on_until_the_last_of_it_is_done() {
        let work = Work::default();
        assert!(!work.goes_on());
        let (first, second) = (work.begin(), work.clone().begin());
        drop(first);
        assert!(work.goes_on());
        drop(second);
        assert!(!work.goes_on());
    }
}
