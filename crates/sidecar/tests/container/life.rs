//! What commands are in a container, and how the container lives and ends.

use std::process::{Command, Stdio};

use stigmer_api::client::Endpoint;
use stigmer_core::ToolExecutor;
use stigmer_core::file::WriteFile;
use stigmer_core::process::{EndReason, ProcessState, SignalRequest};

use super::support::*;

fn write(path: &str, content: &str) -> WriteFile {
    let (path, content) = (path.into(), content.into());
    WriteFile { path, content, expected_sha256: None, create_only: false }
}

#[tokio::test]
async fn a_command_is_the_callers_and_has_no_capability() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    let is = async |text: &str| line(&executor, text).await;
    assert_eq!(is("id -u").await, container.uid.to_string());
    assert_eq!(is("id -G | wc -w").await, "1");
    assert_eq!(
        is("whoami; echo $USER $HOME; cd; pwd").await,
        "sandbox\nsandbox /home/sandbox\n/home/sandbox"
    );
    let capabilities = is("grep -E '^Cap(Inh|Prm|Eff|Amb)' /proc/self/status").await;
    assert!(capabilities.lines().all(|line| line.ends_with("0000000000000000")), "{capabilities}");
    assert_eq!(is("grep NoNewPrivs /proc/self/status").await, "NoNewPrivs:\t1");
    assert_eq!(is("cat /proc/self/oom_score_adj").await, "500");
    assert_eq!(
        is("touch \"$HOME/x\" && readlink /workspace").await,
        container.root.display().to_string()
    );
    assert!(is("echo $PATH").await.starts_with("/.stigmer/bin:/home/sandbox/.local/bin:"));
}

#[tokio::test]
async fn a_volume_and_what_lies_above_it_are_the_callers_and_nothing_else_is() {
    if !engine() {
        return;
    }
    let volume = new_name();
    let mut wanted = Wanted::new(BASE);
    for target in ["/home/sandbox/.cache/deep/pip", "/srv/cache"] {
        wanted = wanted.engine(format!("--volume={volume}:{target}"));
        wanted = wanted.init(format!("--volume={target}"));
    }
    // What has something in it, and what is no volume of the engine's.
    let container = wanted.init("--volume=/etc").init("--mounted=/opt").start();
    let executor = container.executor().await;
    line(&executor, "cd ~/.cache && touch x deep/x deep/pip/x && ls /srv/cache/x").await;
    assert_eq!(line(&executor, "stat -c %u /etc /opt /srv").await, "0\n0\n0");
    drop((executor, container));
    docker(&["volume", "rm", &volume].map(str::to_owned));
}

#[tokio::test]
async fn every_file_is_the_callers() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    executor.write_file(write("by/operation", "x")).await.unwrap();
    line(
        &executor,
        "mkdir by-command && echo x > by-command/file && ln -s /etc/passwd by-command/link",
    )
    .await;
    assert_eq!(not_mine(&container.root, container.uid), Vec::<std::path::PathBuf>::new());
    assert_eq!(not_mine(&container.shared(), container.uid), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_server_that_is_killed_comes_back_and_finds_its_commands() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    let lines = "trap 'echo told; exit 7' TERM; echo begun; while :; do sleep 0.1; done";
    let started = executor.start_process(detached(shell(lines))).await.unwrap();
    let process_1 = container.pid();
    let children = format!("/proc/{process_1}/task/{process_1}/children");
    let server = || -> i32 {
        let all = std::fs::read_to_string(&children).unwrap();
        all.split_whitespace().next().map_or(0, |pid| pid.parse().unwrap())
    };
    let first = server();
    // On this machine it is this user's.
    let pid = rustix::process::Pid::from_raw(first).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("another server runs", || ![0, first].contains(&server())).await;
    let executor = container.executor().await;
    let found = executor.process(&started.id).await.unwrap();
    assert_eq!(found.state, ProcessState::Running);
    let cancel = stigmer_core::process::SignalRequest::Cancel;
    let exit = executor.signal(&started.id, cancel).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.reason), (7, EndReason::Cancelled));
}

#[tokio::test]
async fn an_idle_container_ends_and_not_before_its_commands() {
    if !engine() {
        return;
    }
    let container = Wanted::new(BASE).ttl(1).start();
    let executor = container.executor().await;
    let started = executor.start_process(detached(shell("sleep 4; echo done"))).await.unwrap();
    drop(executor);
    until("the container is gone", || !container.is_there()).await;
    let exit = container.exit(&started);
    assert_eq!((exit.code, exit.reason), (0, EndReason::Exited));
}

#[tokio::test]
async fn a_container_that_is_asked_to_give_way_ends_if_nothing_runs_in_it() {
    if !engine() {
        return;
    }
    let container = Wanted::new(BASE).start();
    let executor = container.executor().await;
    let left = executor.start_process(detached(shell("sleep 1000 & echo left"))).await.unwrap();
    executor.wait(&left.id).await.unwrap();
    let ask = || docker(&["kill", "--signal=USR1", &container.name].map(str::to_owned));
    ask();
    for _ in 0..10 {
        assert_eq!(line(&executor, "echo here").await, "here");
    }
    // It takes no container that has ended.
    ask();
    executor.signal(&left.id, SignalRequest::Cancel).await.unwrap();
    drop(executor);
    until("the container is gone", || {
        let _ = Command::new("docker").args(["kill", "--signal=USR1", &container.name]).output();
        !container.is_there()
    })
    .await;
}

#[tokio::test]
async fn no_command_keeps_a_container_once_it_has_ended() {
    if !engine() {
        return;
    }
    let ahead = "cd /.stigmer/shared/state/processes; for e in */exit.json; do \
                 sed -i 's/\"ended_ms\":[0-9]*/\"ended_ms\":99999999999999/' $e; done";
    for line in [
        "rm -rf /.stigmer/shared/state/processes; touch /.stigmer/shared/state/processes",
        ahead,
        "cd /.stigmer/shared/state/processes; for d in *; do rm $d/exit.json; mkdir -p $d/x; \
         rm -f $d/control; mv $d/x $d/control; done",
        "for p in /proc/[0-9]*; do [ \"$(cut -d' ' -f4 $p/stat)\" != 1 ] || \
         kill -STOP ${p#/proc/}; done",
    ] {
        let container = Wanted::new(BASE).ttl(1).start();
        let executor = container.executor().await;
        let _ = run(&executor, shell("true")).await;
        let _ = executor.start_process(detached(shell(line))).await;
        drop(executor);
        until(line, || !container.is_there()).await;
    }
}

#[tokio::test]
async fn what_is_asked_about_the_server_is_no_use_and_requests_are() {
    if !engine() {
        return;
    }
    let container = Wanted::new(BASE).ttl(2).start();
    let executor = container.executor().await;
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(4) {
        executor.list_processes().await.unwrap();
    }
    assert!(container.is_there(), "it was used all the time");
    let endpoint = Endpoint::Unix(container.shared().join("socket"));
    let options = stigmer_api::client::ClientOptions::for_endpoint(&endpoint);
    let client = stigmer_api::client::Client::connect(endpoint, options);
    let asking = async {
        while client.info().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("asking keeps it alive");
}

#[tokio::test]
async fn the_time_in_which_a_container_is_paused_does_not_count() {
    if !engine() {
        return;
    }
    let container = Wanted::new(BASE).ttl(3).start();
    let executor = container.executor().await;
    docker(&["pause", &container.name].map(str::to_owned));
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    docker(&["unpause", &container.name].map(str::to_owned));
    assert_eq!(line(&executor, "echo here").await, "here");
}

#[tokio::test]
async fn told_to_end_it_ends_commands_first_and_exits_with_0() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let executor = container.executor().await;
    let started = executor.start_process(detached(shell("sleep 1000"))).await.unwrap();
    let waiting = Command::new("docker")
        .args(["wait", &container.name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    docker(&["stop", "--time=20", &container.name].map(str::to_owned));
    let waited = waiting.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&waited.stdout).trim(), "0");
    assert_eq!(container.exit(&started).reason, EndReason::Cancelled);
}

#[tokio::test]
async fn a_server_that_cannot_run_ends_the_container() {
    if !engine() {
        return;
    }
    // Somebody else's shared directory.
    let place = tempfile::tempdir().unwrap();
    let wanted = Wanted::new(BASE);
    let mut command = wanted.command(&new_name(), "7:7", place.path());
    command.retain(|argument| argument != "--detach");
    let volume = format!("--volume={}:{SIDECAR}:ro", program().display());
    command.splice(1..1, [volume, format!("--volume={0}:{0}", place.path().display())]);
    let ended = Command::new("docker").args(&command).output().unwrap();
    assert_eq!(ended.status.code(), Some(1), "{}", said(&ended));
    assert!(said(&ended).contains("Permission denied"), "{}", said(&ended));
}

#[tokio::test]
async fn connect_bridges_to_the_server() {
    if !engine() {
        return;
    }
    let container = Container::new(BASE);
    let user = format!("--user={}", container.uid);
    let words =
        ["exec", "--interactive", &user, &container.name, SIDECAR, "connect", "--shared", SHARED];
    let start = || {
        let mut command = Command::new("docker");
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    };
    let mut child = start();
    let input = tokio::process::ChildStdin::from_std(child.stdin.take().unwrap()).unwrap();
    let output = tokio::process::ChildStdout::from_std(child.stdout.take().unwrap()).unwrap();
    let executor = open(Endpoint::stream(tokio::io::join(output, input))).await;
    assert_eq!(line(&executor, "seq 100000 | tail -1").await, "100000");
    let content = "x".repeat(1 << 20);
    executor.write_file(write("big", &content)).await.unwrap();
    assert_eq!(std::fs::read_to_string(container.root.join("big")).unwrap(), content);
    child.kill().unwrap();
    child.wait().unwrap();
    // The end of its input is the end of the connection, for which the server says good-bye.
    let mut child = start();
    drop(child.stdin.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
}
