//! What a command may use up.

use std::time::Duration;

use futures_util::StreamExt as _;
use stigmer_core::process::{
    EndReason, Execute, Follow, Lifetime, ReadOutput, SignalRequest, StartProcess,
};

use crate::sandbox::{Sandbox, field};
use crate::support::*;

/// Forks for ever, and goes on when it is refused.
const BOMB: &str = "import os, time
print('begun', flush=True)
while True:
    try:
        os.fork()
    except OSError:
        time.sleep(0.05)
";

const PIDS: u64 = 64;

#[tokio::test]
async fn a_fork_bomb_takes_nobody_with_it_and_can_be_killed() {
    let Some(sandbox) = Sandbox::with(|options| options.pids = PIDS).await else { return };
    let other = Sandbox::new().await.unwrap();
    std::fs::write(sandbox.home.root().join("bomb.py"), BOMB).unwrap();
    let mut bomb = StartProcess::shell("exec python3 bomb.py");
    bomb.lifetime = Lifetime::Detached;
    let bomb = sandbox.executor.start_process(bomb).await.unwrap();
    let count = || docker_top(&sandbox);
    let began = std::time::Instant::now();
    while count().await + 8 < usize::try_from(PIDS).unwrap() {
        assert!(began.elapsed() < PATIENCE, "the bomb goes off");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // The host answers: this is it. So do another sandbox and this one's sidecar.
    assert_eq!(other.text("echo well").await, "well");
    let limit = tokio::time::timeout(PATIENCE, sandbox.executor.list_processes());
    assert_eq!(limit.await.unwrap().unwrap().len(), 1);
    assert!(count().await <= usize::try_from(PIDS).unwrap(), "processes, without their threads");
    let killing = sandbox.executor.signal(&bomb.id, SignalRequest::Kill);
    tokio::time::timeout(PATIENCE, killing).await.unwrap().unwrap();
    assert_eq!(sandbox.text("echo again").await, "again");
    assert!(count().await < 16, "nothing of it is left");
}

/// How many processes the sandbox has.
async fn docker_top(sandbox: &Sandbox) -> usize {
    docker(&["top", &sandbox.home.name().await, "-eo", "pid"]).lines().count() - 1
}

#[tokio::test]
async fn a_memory_hog_ends_alone_and_its_limit_is_named() {
    let limit = 128 << 20;
    let Some(sandbox) = Sandbox::with(|options| options.memory = limit).await else { return };
    let id = sandbox.home.id().await;
    let hog = Execute::new(StartProcess::argv(["python3", "-c", "x = bytearray(1 << 30)"]));
    let exit = sandbox.executor.execute(hog).await.unwrap().exit;
    assert_eq!((exit.code, exit.reason), (137, EndReason::OutOfMemory));
    assert_eq!(exit.memory_limit, Some(limit));
    assert_eq!(sandbox.text("echo well").await, "well");
    assert_eq!(sandbox.home.id().await, id, "the container lives");
    let said = docker(&["logs", &id]);
    assert!(!said.contains("started again"), "the sidecar lives: {said}");
}

#[tokio::test]
async fn a_flood_of_output_fills_no_more_than_its_cap() {
    let cap: u64 = 1 << 20;
    let Some(sandbox) = Sandbox::new().await else { return };
    let peak = "grep -h VmHWM $(grep -l s[i]decar /proc/[0-9]*/cmdline | sed s/cmdline/status/)";
    let highest = async || -> u64 {
        let all = sandbox.text(peak).await;
        let all = all.lines().map(|line| field(line, "VmHWM").split(' ').next().unwrap());
        all.map(|kilobytes| kilobytes.parse().unwrap()).max().unwrap()
    };
    let before = highest().await;
    let mut flood = StartProcess::shell("head -c 400000000 /dev/zero");
    flood.output_cap = Some(cap);
    flood.lifetime = Lifetime::Detached;
    let flood = sandbox.executor.start_process(flood).await.unwrap();
    let read = ReadOutput { since: 0, follow: Follow::UntilExit, hold: false };
    let mut output = sandbox.executor.process_output(&flood.id, read).await.unwrap();
    while let Some(event) = output.next().await {
        event.unwrap();
    }
    let info = sandbox.executor.process(&flood.id).await.unwrap();
    assert_eq!(info.output_bytes, 400_000_000);
    let kept: u64 = sandbox.text("du -sk /.stigmer/shared/state | cut -f1").await.parse().unwrap();
    assert!(kept << 10 < cap * 3, "{kept} KiB are kept");
    let after = highest().await;
    assert!(after < before + (48 << 10), "{before} KiB before, {after} KiB after");
}

#[tokio::test]
async fn processors_are_counted_as_they_are_given() {
    let Some(sandbox) = Sandbox::with(|options| options.cpus = Some(1)).await else { return };
    assert_eq!(sandbox.text("nproc").await, "1");
    let all = std::thread::available_parallelism().unwrap().get();
    if all > 1 {
        let plain = Sandbox::new().await.unwrap();
        assert_ne!(plain.text("nproc").await, "1", "without a limit there are more");
    }
}
