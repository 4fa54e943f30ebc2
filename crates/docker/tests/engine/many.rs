//! Many sandboxes at once, and what a hostile one leaves of the others.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use stigmer_core::manager::{PlaceState, Site};
use stigmer_core::process::{EndReason, Execute, Lifetime, SignalRequest, StartProcess};
use stigmer_core::{ProcessId, ToolExecutor, WorkspaceId, WorkspaceManager as _};
use stigmer_docker::DockerManager;

use crate::support::*;

/// How many there are where nothing is said: enough that one machine cannot do all at once.
const USUAL: usize = 10;

/// The variable that says how many.
const VARIABLE: &str = "STIGMER_SANDBOXES";

/// How long all of them together may take: a machine that starts one in two seconds gets through.
const ALL: Duration = Duration::from_secs(600);

/// How often the others are asked while a hostile command runs.
const ROUNDS: usize = 3;

/// Processes and memory of each, and what the disk filler writes.
const PIDS: u64 = 128;
const MEMORY: u64 = 128 << 20;
const DISK: u64 = 64 << 20;

fn say(words: &str) {
    std::io::stderr().write_all(format!("{words}\n").as_bytes()).unwrap();
}

/// Further workspaces beside a home's own.
fn sites(home: &Home, count: usize) -> Vec<Site> {
    let own = u64::from_str_radix(home.site.workspace.as_str().trim_start_matches("ws-"), 16);
    let (own, beside) = (own.unwrap(), home.root().parent().unwrap());
    let more = (1..count as u64).map(|number| {
        let root = beside.join(format!("workspace-{number}"));
        std::fs::create_dir(&root).unwrap();
        let workspace = WorkspaceId::from_number(own ^ (number << 16));
        Site { workspace, root: root.into() }
    });
    std::iter::once(home.site.clone()).chain(more).collect()
}

/// Kilobytes that the processes of a sandbox have in memory; what they share counts for each.
async fn memory(executor: &dyn ToolExecutor) -> u64 {
    let line = "cat /proc/[0-9]*/status | grep VmRSS";
    let all = text(executor, line).await;
    all.lines().filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// Kilobytes that this machine can still give.
fn available() -> u64 {
    let all = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = all.lines().find(|line| line.starts_with("MemAvailable:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Every one answers; the longest that one of them took.
async fn all_answer(executors: &[Arc<dyn ToolExecutor>]) -> Duration {
    let each = executors.iter().enumerate().map(async |(number, executor)| {
        let began = Instant::now();
        assert_eq!(text(&**executor, &format!("echo {number}")).await, number.to_string());
        began.elapsed()
    });
    join_all(each).await.into_iter().max().unwrap_or_default()
}

async fn start(executor: &dyn ToolExecutor, line: &str) -> ProcessId {
    let mut start = StartProcess::shell(line);
    start.lifetime = Lifetime::Detached;
    executor.start_process(start).await.unwrap().id
}

/// What a hostile command does, until it is killed; the others answer meanwhile, and so does this
/// machine.
async fn beside(what: &str, line: &str, all: &[Arc<dyn ToolExecutor>]) {
    let (hostile, others) = all.split_first().unwrap();
    let id = start(&**hostile, line).await;
    let (mut worst, mut here) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..ROUNDS {
        worst = worst.max(all_answer(others).await);
        let began = Instant::now();
        let done = tokio::process::Command::new("true").status();
        assert!(tokio::time::timeout(PATIENCE, done).await.unwrap().unwrap().success());
        here = here.max(began.elapsed());
    }
    // Its own sidecar answers as well, and can end it.
    let killing = hostile.signal(&id, SignalRequest::Kill);
    match tokio::time::timeout(PATIENCE, killing).await.unwrap() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.code, stigmer_core::ErrorCode::ProcessEnded, "{error}"),
    }
    assert_eq!(text(&**hostile, "echo still here").await, "still here");
    say(&format!(
        "beside {what}: the slowest of {} answers took {} ms, a program on this machine {} ms",
        others.len() * ROUNDS,
        worst.as_millis(),
        here.as_millis()
    ));
}

/// The way that a hog of memory ends.
async fn hog(executor: &dyn ToolExecutor) {
    // A shell's variable that doubles.
    let line = "x=0123456789; while :; do x=$x$x; done";
    let done =
        tokio::time::timeout(PATIENCE, executor.execute(Execute::new(StartProcess::shell(line))));
    let exit = done.await.unwrap().unwrap().exit;
    assert_eq!(exit.reason, EndReason::OutOfMemory, "{exit:?}");
    assert_eq!(exit.memory_limit, Some(MEMORY));
}

#[tokio::test]
async fn many_sandboxes_at_once_answer_and_a_hostile_one_harms_no_other() {
    if !engine() {
        return;
    }
    let count = std::env::var(VARIABLE).map_or(USUAL, |text| text.parse().unwrap());
    let home = Home::new();
    let mut options = home.options();
    (options.pids, options.memory) = (PIDS, MEMORY);
    // What a disk filler may write counts against the limit where the engine has one.
    options.disk = Some(DISK);
    let manager = DockerManager::new(options).unwrap();
    let sites = sites(&home, count);
    let (began, before) = (Instant::now(), available());
    let opening = join_all(sites.iter().map(async |site| {
        let executor = manager.open(site, &quiet).await.unwrap();
        assert_eq!(text(&*executor, "pwd").await, site.root.to_string());
        (executor, began.elapsed())
    }));
    let opened = tokio::time::timeout(ALL, opening).await.expect("all of them");
    let first = opened.iter().map(|(_, after)| *after).min().unwrap();
    let executors: Vec<Arc<dyn ToolExecutor>> = opened.into_iter().map(|(one, _)| one).collect();
    let took = began.elapsed();
    let kilobytes = memory(&*executors[0]).await;
    say(&format!(
        "{count} sandboxes at once: the first answered after {} ms, the last after {} ms; \
         {kilobytes} KiB resident in one, {} KiB of the machine's memory for each",
        first.as_millis(),
        took.as_millis(),
        before.saturating_sub(available()) / count as u64
    ));
    say(&format!(
        "idle: the slowest of {count} answers took {} ms",
        all_answer(&executors).await.as_millis()
    ));

    let bomb = "bomb() { bomb | bomb & }; while :; do bomb; done";
    beside("a fork bomb", bomb, &executors).await;
    let filler = "while :; do head -c 64m /dev/zero > /var/tmp/filler; done";
    beside("a disk filler", filler, &executors).await;
    beside("a flood of output", "yes", &executors).await;
    let (hostile, others) = executors.split_first().unwrap();
    let ((), worst) = tokio::join!(hog(&**hostile), all_answer(others));
    say(&format!("beside a memory hog: the slowest answer took {} ms", worst.as_millis()));
    assert_eq!(text(&**hostile, "echo still here").await, "still here");

    let listed = manager.list().await.unwrap();
    assert_eq!(listed.len(), count);
    assert!(listed.iter().all(|place| place.state == PlaceState::Ready), "{listed:?}");
    drop(executors);
    let removing = join_all(sites.iter().map(async |site| manager.remove(site).await.unwrap()));
    tokio::time::timeout(ALL, removing).await.expect("all of them");
    assert_eq!(manager.list().await.unwrap(), []);
    assert!(Path::new(&home.state()).read_dir().unwrap().next().is_none());
}
