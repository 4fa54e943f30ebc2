//! Commands with an id of their client's when something has died, and those that nobody follows.

use std::sync::Arc;
use std::time::Duration;

use libtest_mimic::Trial;
use stigmer_core::process::{EndReason, Execute, Lifetime, StartProcess};
use stigmer_core::{ErrorCode, ProcessId, ToolExecutor};
use stigmer_host::Launcher;

use crate::{Place, open, shell, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    vec![
        trial(launcher, "what_is_lost_is_not_run_again", what_is_lost),
        trial(launcher, "a_start_that_died_is_told_and_not_repeated", a_start_that_died),
        trial(launcher, "programs_at_once_start_one_command", programs_at_once),
        trial(launcher, "what_nobody_follows_ends_after_its_grace", nobody_follows),
    ]
}

fn with_id(line: &str) -> StartProcess {
    StartProcess { id: Some(ProcessId::from_random(7)), ..shell(line) }
}

async fn what_is_lost(place: Place) {
    let line = "echo ran >> ../ran; echo before; until [ -e ../go ]; do sleep 0.01; done; \
                kill -KILL $PPID; sleep 60";
    let request = || with_id(line);
    let id = place.executor.start_process(request()).await.unwrap().id;
    // What it wrote is in the log before its supervisor dies.
    while place.executor.process(&id).await.unwrap().output_bytes == 0 {
        tokio::task::yield_now().await;
    }
    std::fs::write(place.path("go"), "").unwrap();
    // Until its supervisor is dead.
    assert_eq!(place.executor.wait(&id).await.unwrap().reason, EndReason::Lost);
    assert_eq!(place.executor.start_process(request()).await.unwrap().id, id);
    let done = place.executor.execute(Execute::new(request())).await.unwrap();
    assert_eq!(done.exit.reason, EndReason::Lost);
    assert_eq!(done.stdout.head, "before\n".into());
    assert_eq!(std::fs::read(place.path("ran")).unwrap(), b"ran\n");
}

async fn a_start_that_died(place: Place) {
    // As a supervisor leaves it that is killed when it has made its directory.
    let directory = place.path("state/processes").join(ProcessId::from_random(7).as_str());
    std::fs::create_dir_all(&directory).unwrap();
    let error = place.executor.start_process(with_id("echo >> ../ran")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::SupervisorUnreachable);
    assert!(error.hint.is_some_and(|hint| hint.contains("another id")));
    assert!(!place.path("ran").exists());
}

/// Executors know nothing of each other, as if they were in different programs.
async fn programs_at_once(place: Place) {
    let launcher = place.launcher.clone();
    let executors: Vec<_> =
        (0..8).map(|_| open(place.home.path(), Some(Arc::clone(&launcher)))).collect();
    for round in 0..20 {
        let id = ProcessId::from_random(round);
        let runs = executors.iter().map(|executor| {
            let line = format!("echo >> ../ran{round}; echo out");
            let start = StartProcess { id: Some(id.clone()), ..shell(line) };
            executor.execute(Execute::new(start))
        });
        for done in futures_util::future::join_all(runs).await {
            let done = done.unwrap();
            assert_eq!((done.exit.code, done.stdout.head), (0, "out\n".into()));
        }
        assert_eq!(std::fs::read(place.path(&format!("ran{round}"))).unwrap(), b"\n");
    }
}

/// Also while the program that started it lives and could yet follow it.
async fn nobody_follows(place: Place) {
    let mut start = shell("sleep 60");
    start.lifetime = Lifetime::Foreground { client_grace: Duration::from_millis(100) };
    let id = place.executor.start_process(start).await.unwrap().id;
    assert_eq!(place.executor.wait(&id).await.unwrap().reason, EndReason::Cancelled);
}
