//! A program that lives long gets itself a new reserve when the one it has is killed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use futures_util::future::join_all;
use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};
use stigmer_core::ToolExecutor;
use stigmer_core::process::{Execute, Executed, StartProcess};
use stigmer_host::{HostExecutor, HostOptions, Launcher, ProcessOptions, Reserve};

/// What this program is started with to be a reserve.
const SERVE: &str = "--serve-as-reserve";
/// How many supervisors wait: fewer than the commands at once.
const RESERVE: Reserve = Reserve::Keep(3);

fn main() {
    if std::env::args().nth(1).as_deref() == Some(SERVE) {
        Launcher::serve_as_reserve(RESERVE);
    }
    let launcher = Launcher::fork(RESERVE).unwrap().with_program("/proc/self/exe", [SERVE]);
    let launcher = Arc::new(launcher);
    // One after the other in one test: they kill each other's reserves.
    let trials = vec![Trial::test("a_reserve_that_is_killed_is_replaced", move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // First, while the reserve is the one that was forked.
        runtime.block_on(what_commands_have_is_the_same(&launcher));
        runtime.block_on(whoever_is_killed(&launcher));
        runtime.block_on(in_a_burst(&launcher));
        runtime.block_on(while_there_is_no_room_for_processes(&launcher));
        runtime.block_on(a_launch_longer_than_a_socket_holds(&launcher));
        runtime.block_on(while_the_reserve_is_stopped(&launcher));
        Ok::<(), Failed>(())
    })];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn open(home: &Path, launcher: &Arc<Launcher>) -> HostExecutor {
    let root = home.join("w");
    std::fs::create_dir_all(&root).unwrap();
    let processes =
        ProcessOptions { launcher: Some(Arc::clone(launcher)), ..ProcessOptions::default() };
    HostExecutor::open(HostOptions { processes, ..HostOptions::new(root, home.join("state")) })
        .unwrap()
}

async fn run(executor: &HostExecutor, line: &str) -> Executed {
    executor.execute(Execute::new(StartProcess::shell(line))).await.unwrap()
}

/// The children of a process that have this name.
fn children(parent: u32, name: &str) -> Vec<Pid> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((before, after)) = stat.rsplit_once(") ") else { continue };
        let comm = before.split_once('(').unwrap().1;
        let mut fields = after.split(' ');
        let (state, of) = (fields.next().unwrap(), fields.next().unwrap());
        if comm == name && state != "Z" && of == parent.to_string() {
            found.push(Pid::from_raw(pid).unwrap());
        }
    }
    found
}

/// The process that forks supervisors.
async fn keeper() -> Pid {
    loop {
        if let [keeper] = children(std::process::id(), "stigmer-reserve").as_slice() {
            return *keeper;
        }
        // It has not taken its name yet.
        tokio::task::yield_now().await;
    }
}

async fn whoever_is_killed(launcher: &Arc<Launcher>) {
    let home = tempfile::tempdir().unwrap();
    let executor = open(home.path(), launcher);
    let mut keepers = BTreeSet::new();
    for round in 0..20 {
        let keeper = keeper().await;
        keepers.insert(keeper.as_raw_nonzero());
        let mut victims = vec![keeper];
        if round % 2 == 1 {
            let pid = keeper.as_raw_nonzero().get().unsigned_abs();
            victims.extend(children(pid, "stigmer-superv"));
        }
        for victim in victims {
            // A supervisor that waits may have ended with its keeper.
            let _ = kill_process(victim, Signal::KILL);
        }
        // More than wait: those who were left by the keeper are not enough.
        for _ in 0..5 {
            let done = run(&executor, "echo here").await;
            assert_eq!(done.stdout.head, "here\n".into(), "round {round}");
        }
    }
    assert!(keepers.len() >= 20, "{} of 20 were killed", keepers.len());
}

/// Each command runs once, whenever the reserve is killed.
async fn in_a_burst(launcher: &Arc<Launcher>) {
    let home = tempfile::tempdir().unwrap();
    let executor = open(home.path(), launcher);
    for round in 0..10 {
        let names: Vec<String> = (0..40).map(|index| format!("{round}.{index}")).collect();
        let commands = names.iter().map(|name| {
            let line = format!("echo >> {name}; echo {name}");
            let executor = &executor;
            async move { (run(executor, &line).await, name) }
        });
        let keeper = keeper().await;
        let killer = async {
            for _ in 0..round {
                tokio::task::yield_now().await;
            }
            kill_process(keeper, Signal::KILL).unwrap();
            while children(std::process::id(), "stigmer-reserve").contains(&keeper) {
                tokio::task::yield_now().await;
            }
        };
        let (done, ()) = tokio::join!(join_all(commands), killer);
        for (done, name) in done {
            assert_eq!(done.stdout.head, format!("{name}\n").into());
            let ran = std::fs::read(home.path().join("w").join(name)).unwrap();
            assert_eq!(ran, b"\n", "{name} ran more than once");
        }
        run(&executor, "true").await;
    }
}

/// A reserve that cannot fork for a while does so again when it can, though nobody is left to take
/// a job in the meantime.
async fn while_there_is_no_room_for_processes(launcher: &Arc<Launcher>) {
    // The limit does not hold for root.
    if rustix::process::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let executor = open(home.path(), launcher);
    run(&executor, "true").await;
    let keeper = keeper().await;
    let pid = keeper.as_raw_nonzero().get().unsigned_abs();
    let before = getrlimit(Resource::Nproc);
    let none = Rlimit { current: Some(1), maximum: before.maximum };
    prlimit(Some(keeper), Resource::Nproc, none).unwrap();
    // More than wait.
    let commands = join_all((0..8).map(|_| run(&executor, "echo here")));
    let raise = async {
        while !children(pid, "stigmer-superv").is_empty() {
            tokio::task::yield_now().await;
        }
        prlimit(Some(keeper), Resource::Nproc, before).unwrap();
    };
    let all = async { tokio::join!(commands, raise).0 };
    let all = tokio::time::timeout(std::time::Duration::from_secs(60), all).await.unwrap();
    assert!(all.iter().all(|done| done.stdout.head == "here\n".into()));
    // It is the same one: nobody replaced it.
    assert_eq!(children(std::process::id(), "stigmer-reserve"), [keeper]);
}

/// Processes that are stopped until this is dropped, also by a test that fails: stopped, they would
/// outlive it.
struct Stopped(Vec<Pid>);

impl Drop for Stopped {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}

/// Stops whoever forks supervisors, and all who wait.
async fn stop_the_reserve() -> Stopped {
    let keeper = keeper().await;
    kill_process(keeper, Signal::STOP).unwrap();
    let pid = keeper.as_raw_nonzero().get().unsigned_abs();
    let mut stopped = children(pid, "stigmer-superv");
    // It was forked, and has not taken its own name yet.
    stopped.extend(children(pid, "stigmer-reserve"));
    // One whose command is over may be gone by now.
    stopped.retain(|supervisor| kill_process(*supervisor, Signal::STOP).is_ok());
    stopped.push(keeper);
    Stopped(stopped)
}

/// The one thread of the program serves others until the supervisor takes the whole launch.
async fn a_launch_longer_than_a_socket_holds(launcher: &Arc<Launcher>) {
    let home = tempfile::tempdir().unwrap();
    let executor = open(home.path(), launcher);
    let stopped = stop_the_reserve().await;
    let variables = (0..16).map(|index| (format!("V{index}").into(), "x".repeat(100_000).into()));
    let start =
        StartProcess { variables: variables.collect(), ..StartProcess::shell("echo ${#V15}") };
    let wake = async { drop(stopped) };
    let (done, ()) = tokio::join!(executor.execute(Execute::new(start)), wake);
    assert_eq!(done.unwrap().stdout.head, "100000\n".into());
}

/// Jobs that nobody takes are given up and said to be, and what was given up is never run: neither
/// by those who have taken it, nor later by others.
async fn while_the_reserve_is_stopped(launcher: &Arc<Launcher>) {
    /// More than the socket holds.
    const COMMANDS: usize = 600;
    let home = tempfile::tempdir().unwrap();
    let executor = open(home.path(), launcher);
    run(&executor, "true").await;
    let stopped = stop_the_reserve().await;
    let known = || {
        let all = std::fs::read_dir(home.path().join("state/processes")).unwrap();
        // Not the mark of whoever cleared away, which may come at any time.
        all.filter(|entry| {
            !entry.as_ref().unwrap().file_name().as_encoded_bytes().starts_with(b".")
        })
        .count()
    };
    let before = known();
    let commands =
        (0..COMMANDS).map(|_| executor.start_process(StartProcess::shell("echo >> ran")));
    let mut codes = BTreeMap::new();
    for done in join_all(commands).await {
        let error = done.unwrap_err();
        assert!(error.hint.is_some(), "{error:?}");
        *codes.entry(error.code.name()).or_insert(0) += 1;
    }
    assert!(codes["busy"] > 0 && codes["supervisor_unreachable"] > 0, "{codes:?}");
    assert_eq!(codes.len(), 2, "{codes:?}");
    drop(stopped);
    // Jobs are taken in their order, so the others were all taken before these ended.
    for _ in 0..20 {
        assert_eq!(run(&executor, "echo here").await.stdout.head, "here\n".into());
    }
    assert!(!home.path().join("w/ran").exists(), "a command was run that was given up");
    assert_eq!(known(), before + 20);
}

/// Limits and umask are those that the program had before it raised its own.
async fn what_commands_have_is_the_same(launcher: &Arc<Launcher>) {
    let home = tempfile::tempdir().unwrap();
    let executor = open(home.path(), launcher);
    let seen = async || {
        let line = "ulimit -Sn; ulimit -Hn; umask; ls /proc/self/fd; grep SigBlk /proc/self/status";
        let limits = run(&executor, line).await.stdout.head;
        let ignored = run(&executor, "sed -n 's/^SigIgn:.//p' /proc/self/status").await.stdout.head;
        let ignored = u64::from_str_radix(ignored.to_string_lossy().trim(), 16).unwrap();
        // The C library keeps the signals behind these for itself.
        (limits, ignored & 0x7fff_ffff)
    };
    let before = seen().await;
    kill_process(keeper().await, Signal::KILL).unwrap();
    while !children(std::process::id(), "stigmer-reserve").is_empty() {
        tokio::task::yield_now().await;
    }
    // By one that was executed: who is known to be dead is replaced before it is needed.
    assert_eq!(seen().await, before);
}
