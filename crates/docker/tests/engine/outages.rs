//! Engines that hang, break off, are killed and started again, while there is work.

use std::time::{Duration, Instant};

use stigmer_core::manager::PlaceState;
use stigmer_core::process::{EndReason, Follow, ProcessState};
use stigmer_core::{ErrorCode, ProcessId, Result, ToolError, ToolExecutor, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions};

use crate::deaths::{TALK, follow, lines, slow_talker, talker};
use crate::fault_engine::{DIRECTORY, FaultEngine};
use crate::kills::kills;
use crate::relay::{Passage, Relay};
use crate::support::*;

/// A manager that reaches the engine by the relay.
fn by(relay: &Relay, home: &Home) -> DockerManager {
    let options = DockerOptions { engine: Some(relay.address()), ..home.options() };
    DockerManager::new(options).unwrap()
}

/// What comes of something that waits for an engine which hangs, when its time is over: nobody waits
/// for anything else, so the clock may be put forward.
async fn late<T>(work: impl Future<Output = Result<T>>) -> ToolError {
    tokio::time::pause();
    let error = work.await.map(drop).unwrap_err();
    tokio::time::resume();
    assert_eq!(error.code, ErrorCode::DeadlineExceeded, "{error:?}");
    assert_eq!(error.details["cause"], "engine_hung", "{error:?}");
    assert!(error.hint.as_ref().unwrap().contains("docker info"), "{error:?}");
    error
}

fn not_running(error: &ToolError) {
    assert_eq!(error.code, ErrorCode::Unavailable, "{error:?}");
    assert_eq!(error.details["cause"], "engine_not_running", "{error:?}");
    assert!(error.hint.as_ref().unwrap().contains("systemctl start docker"), "{error:?}");
}

#[tokio::test]
async fn a_sandbox_that_is_warm_does_not_notice_an_engine_that_hangs() {
    if !engine() {
        return;
    }
    let (home, relay) = (Home::new(), Relay::new());
    let manager = by(&relay, &home);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let started = executor.start_process(talker()).await.unwrap();
    relay.set(Passage::Hung);
    assert_eq!(text(&*executor, "echo on").await, "on");
    for manager in [&manager, &by(&relay, &home)] {
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        assert_eq!(text(&*executor, "echo warm").await, "warm");
        let whole = follow(&*executor, &started.id, Follow::UntilExit).await.unwrap();
        assert_eq!(whole, (lines(), Some(7)));
    }
    // What needs the engine does not wait for ever.
    let other = Home::new();
    late(by(&relay, &other).open(&other.site, &quiet)).await;
    late(manager.status(&home.site)).await;
    late(manager.stop(&home.site)).await;
    late(manager.list()).await;
    late(manager.recover(&home.site, &quiet)).await;
    late(manager.remove(&home.site)).await;
    relay.set(Passage::Open);
    assert_eq!(text(&*executor, "echo again").await, "again", "nothing was done to it");
    assert_eq!(manager.status(&home.site).await.unwrap().state, PlaceState::Ready);
    home.over().await;
}

#[tokio::test]
async fn a_container_that_goes_while_the_engine_hangs_is_told_in_time() {
    if !engine() {
        return;
    }
    let (home, relay) = (Home::new(), Relay::new());
    let manager = by(&relay, &home);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    relay.set(Passage::Hung);
    docker(&["rm", "--force", &home.id().await]);
    // Nobody can say what became of it.
    tokio::time::pause();
    let error = executor.list_processes().await.unwrap_err();
    tokio::time::resume();
    assert_eq!(error.details["cause"], "engine_hung", "{error:?}");
    late(manager.open(&home.site, &quiet)).await;
    relay.set(Passage::Open);
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*executor, "echo new").await, "new");
    home.over().await;
}

#[tokio::test]
async fn an_engine_that_breaks_off_at_any_request_leaves_nothing_that_hinders() {
    if !engine() {
        return;
    }
    let (home, relay) = (Home::new(), Relay::new());
    let mut breaks = 0;
    for request in 1.. {
        relay.cut_at(request);
        let opened = by(&relay, &home).open(&home.site, &quiet).await.map(drop);
        if !relay.is_cut() {
            opened.unwrap();
            break;
        }
        breaks += 1;
        if let Err(error) = opened {
            not_running(&error);
        }
        relay.set(Passage::Open);
        let executor = by(&relay, &home).open(&home.site, &quiet).await.unwrap();
        assert_eq!(text(&*executor, "echo well").await, "well", "cut at request {request}");
        assert_eq!(home.manager().list().await.unwrap().len(), 1);
        home.manager().remove(&home.site).await.unwrap();
    }
    assert!(breaks > 5, "making a container takes more than {breaks} requests");
    home.over().await;
}

/// Nothing if there is none, which has been said then.
fn fault_engine() -> Option<FaultEngine> {
    if !engine() {
        return None;
    }
    let found = FaultEngine::find();
    if found.is_none() {
        left_out(&format!("{DIRECTORY} names no engine that may be killed"));
    }
    found
}

/// A home whose containers are of the engine that is killed.
fn at(engine: &FaultEngine) -> Home {
    let mut home = Home::new();
    home.engine = Some(engine.address());
    home
}

#[tokio::test]
async fn an_engine_that_is_killed_takes_no_command_with_it() {
    let Some(engine) = fault_engine() else { return };
    let home = at(&engine);
    let manager = home.manager();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let started = executor.start_process(talker()).await.unwrap();
    engine.ask("kill");
    let whole = follow(&*executor, &started.id, Follow::UntilExit).await.unwrap();
    assert_eq!(whole, (lines(), Some(7)));
    let warm = home.manager().open(&home.site, &quiet).await.unwrap();
    assert_eq!(text(&*warm, "echo warm").await, "warm");
    not_running(&manager.status(&home.site).await.unwrap_err());
    let other = at(&engine);
    not_running(&other.manager().open(&other.site, &quiet).await.map(drop).unwrap_err());
    engine.ask("start");
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    let whole = follow(&*executor, &started.id, Follow::UntilExit).await.unwrap();
    assert_eq!(whole, (lines(), Some(7)), "what is known of it stays known");
    assert_eq!(manager.list().await.unwrap().len(), 1);
    home.over().await;
}

#[tokio::test]
async fn an_engine_that_is_stopped_for_a_moment_is_as_one_that_hangs() {
    let Some(engine) = fault_engine() else { return };
    let home = at(&engine);
    let manager = home.manager();
    let executor = manager.open(&home.site, &quiet).await.unwrap();
    engine.ask("hang");
    assert_eq!(text(&*executor, "echo on").await, "on");
    late(manager.status(&home.site)).await;
    engine.ask("wake");
    assert_eq!(manager.status(&home.site).await.unwrap().state, PlaceState::Ready);
    home.over().await;
}

/// How a command ended whose engine was killed and started again. An engine that keeps no containers
/// ends those that it finds, gently or not; one that is told to keep them does so if it is newer than
/// 20.10, which removes what is to be removed at its end.
async fn checked(executor: &dyn ToolExecutor, id: &ProcessId, seen: &str, when: &str) {
    let followed = follow(executor, id, Follow::UntilExit).await;
    let found = executor.process(id).await.unwrap();
    let (text, _) = follow(executor, id, Follow::No).await.unwrap();
    assert!(text.starts_with(seen), "{when}: what was seen is there still");
    assert!(lines().starts_with(&text), "{when}: nothing is lost in between or repeated");
    match (found.state, found.exit) {
        (ProcessState::Lost, exit) => {
            assert!(exit.is_none_or(|exit| exit.reason == EndReason::Lost), "{when}");
        }
        (ProcessState::Exited, Some(exit)) if exit.reason == EndReason::Cancelled => {
            assert_eq!(followed.unwrap(), (text, Some(143)), "{when}");
        }
        (ProcessState::Exited, Some(exit)) => {
            assert_eq!((exit.reason, exit.code), (EndReason::Exited, 7), "{when}");
            assert_eq!((text, followed.unwrap().1), (lines(), Some(7)), "{when}");
        }
        other => panic!("{when}: {other:?}"),
    }
}

/// Waits until the workspace's container is the only one: an engine that finds the old one ended removes
/// it in its own time.
async fn only_one(manager: &DockerManager, when: &str) {
    let began = Instant::now();
    loop {
        let all = manager.list().await.unwrap();
        if all.len() == 1 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{when}: {all:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn whenever_an_engine_is_killed_and_started_again_no_command_is_told_wrongly() {
    let Some(engine) = fault_engine() else { return };
    let home = at(&engine);
    let manager = home.manager();
    let kills = kills();
    for kill in 0..kills {
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        let started = executor.start_process(slow_talker("0.05")).await.unwrap();
        tokio::time::sleep(TALK * kill / kills).await;
        let (seen, _) = follow(&*executor, &started.id, Follow::No).await.unwrap();
        let death = ["kill", "kill", "term"][kill as usize % 3];
        let birth = ["start", "start-live"][kill as usize % 2];
        engine.ask(death);
        engine.ask(birth);
        // The workspace recovers by itself: nothing is to be lost any more.
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        let when = format!("kill {kill}: {death}, {birth}");
        checked(&*executor, &started.id, &seen, &when).await;
        only_one(&manager, &when).await;
    }
    let runs = std::fs::read_to_string(home.root().join("runs")).unwrap();
    assert_eq!(runs.lines().count(), kills as usize, "nothing is run again");
    home.over().await;
}
