//! Kills within a container, at any moment: what ran goes on or is told lost, and nothing is run
//! again.

use std::process::{Command, Stdio};
use std::time::Duration;

use futures_util::StreamExt as _;
use stigmer_core::process::{
    EndReason, Follow, Lifetime, OutputEvent, ProcessState, ReadOutput, StartProcess,
};
use stigmer_core::{ProcessId, ToolError, ToolExecutor, WorkspaceManager as _};
use stigmer_docker::{DockerManager, DockerOptions};

use crate::kills::kills;
use crate::support::*;

/// Lines that the talker writes, and about how long it takes.
const LINES: u32 = 600;
pub(crate) const TALK: Duration = Duration::from_millis(700);

/// Writes numbered lines, with rests, and ends with a code that nothing else has.
pub(crate) fn talker() -> StartProcess {
    slow_talker("0.01")
}

/// The same, with other rests: sixty of so many seconds.
pub(crate) fn slow_talker(rest: &str) -> StartProcess {
    let line = format!(
        "echo run >> runs; i=0; while [ $i -lt {LINES} ]; do echo line $i; i=$((i + 1)); \
         [ $((i % 10)) != 0 ] || sleep {rest}; done; exit 7"
    );
    StartProcess { lifetime: Lifetime::Detached, ..StartProcess::shell(line) }
}

pub(crate) fn lines() -> String {
    (0..LINES).map(|number| format!("line {number}\n")).collect()
}

/// What there is of a command's output, and how it ended if somebody knows.
pub(crate) async fn follow(
    executor: &dyn ToolExecutor,
    id: &ProcessId,
    follow: Follow,
) -> Result<(String, Option<i32>), ToolError> {
    let read = ReadOutput { since: 0, follow, hold: false };
    let mut output = executor.process_output(id, read).await?;
    let (mut text, mut code) = (String::new(), None);
    while let Some(event) = output.next().await {
        match event? {
            OutputEvent::Output { bytes, offset, .. } => {
                assert_eq!(offset, text.len() as u64, "nothing twice, nothing left out");
                text.push_str(std::str::from_utf8(bytes.as_bytes()).unwrap());
            }
            OutputEvent::Exit(exit) => code = Some(exit.code),
            gap => panic!("{gap:?}"),
        }
    }
    Ok((text, code))
}

/// The server of a container: the first child of its process 1. On this machine it is this user's.
async fn server(home: &Home) -> Option<rustix::process::Pid> {
    let process_1 = home.docker(&["inspect", "--format", "{{.State.Pid}}", &home.name().await]);
    let children = std::fs::read_to_string(format!("/proc/{process_1}/task/{process_1}/children"));
    let children = children.unwrap();
    let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    children.find_map(|pid: i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_server = words.windows(8).any(|part| part == b"--listen");
        rustix::process::Pid::from_raw(pid).filter(|_| is_server)
    })
}

#[tokio::test]
async fn a_server_that_is_killed_in_the_middle_of_output_costs_nothing() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    let kills = kills();
    for kill in 0..kills {
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        let started = executor.start_process(talker()).await.unwrap();
        let following = follow(&*executor, &started.id, Follow::UntilExit);
        let killing = async {
            tokio::time::sleep(TALK * kill / kills).await;
            let found = server(&home).await;
            if let Some(pid) = found {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            found
        };
        let (followed, killed) = tokio::join!(following, killing);
        assert!(killed.is_some() || kill > 0, "there is a server");
        let again = home.manager().open(&home.site, &quiet).await.unwrap();
        let whole = follow(&*again, &started.id, Follow::UntilExit).await.unwrap();
        assert_eq!(whole, (lines(), Some(7)), "kill {kill}");
        // Whoever followed meanwhile has it all, too.
        assert_eq!(followed.unwrap(), whole, "kill {kill}");
    }
    assert_eq!(
        std::fs::read_to_string(home.root().join("runs")).unwrap().lines().count(),
        kills as usize
    );
    assert_eq!(home.manager().list().await.unwrap().len(), 1);
    home.over().await;
}

#[tokio::test]
async fn commands_of_a_container_that_is_killed_are_lost_and_their_output_is_kept() {
    if !engine() {
        return;
    }
    let home = Home::new();
    let manager = home.manager();
    let kills = kills();
    for kill in 0..kills {
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        let started = executor.start_process(talker()).await.unwrap();
        let id = home.id().await;
        tokio::time::sleep(TALK * kill / kills / 2).await;
        let (seen, code) = follow(&*executor, &started.id, Follow::No).await.unwrap();
        docker(&["kill", "--signal=KILL", &id]);
        if code.is_none() {
            // What had been written is on this machine, whoever is dead.
            let kept = kept(&home, &started.id);
            for line in seen.lines() {
                assert!(kept.contains(&format!("{line}\n")), "kill {kill}: {line}");
            }
        }
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        assert_ne!(home.id().await, id, "another container");
        let found = executor.process(&started.id).await.unwrap();
        let (text, _) = follow(&*executor, &started.id, Follow::No).await.unwrap();
        match (found.state, &found.exit) {
            (ProcessState::Lost, exit) => {
                assert!(code.is_none(), "kill {kill}: what was known stays known");
                assert!(
                    exit.as_ref().is_none_or(|exit| exit.reason == EndReason::Lost),
                    "{exit:?}"
                );
            }
            // It ended before the container was killed.
            (ProcessState::Exited, Some(exit)) => {
                assert_eq!((exit.reason, exit.code), (EndReason::Exited, 7), "kill {kill}");
                assert_eq!(text, lines(), "kill {kill}");
            }
            other => panic!("kill {kill}: {other:?}"),
        }
        assert!(text.starts_with(&seen) && lines().starts_with(&text), "kill {kill}");
        let runs = std::fs::read_to_string(home.root().join("runs")).unwrap_or_default();
        assert!(runs.lines().count() <= kill as usize + 1, "nothing is run again");
    }
    home.over().await;
}

/// All that is kept of a command, as this machine has it.
fn kept(home: &Home, id: &ProcessId) -> String {
    let place = home.state().join(home.site.workspace.as_str());
    let place = place.join("shared/state/processes").join(id.as_str());
    let mut all = String::new();
    let mut directories = vec![place];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => directories.push(entry.path()),
                kind if kind.is_file() => {
                    let bytes = std::fs::read(entry.path()).unwrap();
                    all.push_str(&String::from_utf8_lossy(&bytes));
                }
                _ => {}
            }
        }
    }
    all
}

const NAME: &str = "deaths::a_container_goes_when_everybody_who_knew_it_is_dead";

/// The home of whoever is to be killed.
const VICTIM: &str = "STIGMER_TEST_DEAD";

#[tokio::test]
async fn a_container_goes_when_everybody_who_knew_it_is_dead() {
    if !engine() {
        return;
    }
    if let Some(victim) = std::env::var_os(VICTIM) {
        let home = Home::again(victim.as_ref());
        let options = DockerOptions { ttl: Some(Duration::from_secs(2)), ..home.options() };
        let manager = DockerManager::new(options).unwrap();
        let executor = manager.open(&home.site, &quiet).await.unwrap();
        // It lives as long as this, and not longer.
        let mut last = StartProcess::shell("touch begun; sleep 3");
        last.lifetime = Lifetime::Detached;
        executor.start_process(last).await.unwrap();
        std::future::pending::<()>().await;
    }
    let home = Home::new();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", NAME]).env(VICTIM, home.root().parent().unwrap());
    let mut victim = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = std::time::Instant::now();
    while !home.root().join("begun").exists() {
        assert!(began.elapsed() < PATIENCE, "it has begun");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
    let filter = format!("--filter=label=dev.stigmer.workspace={}", home.site.workspace);
    let there = || !docker(&["ps", "--all", "--quiet", &filter]).is_empty();
    assert!(there());
    let began = std::time::Instant::now();
    while there() {
        assert!(began.elapsed() < PATIENCE, "it is gone");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    home.over().await;
}
