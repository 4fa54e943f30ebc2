//! Ends: timeouts, kills, vanished clients, dead supervisors.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use stigmer_core::process::{
    EndReason, Execute, Follow, Lifetime, OutputEvent, ProcessState, ReadOutput, SignalRequest,
    StartProcess,
};
use stigmer_core::{ErrorCode, ProcessId, ToolExecutor};
use stigmer_host::{Launcher, Reserve};

use crate::escape::KINDS;
use crate::{Place, open, shell, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for kind in KINDS {
        trials.push(trial(
            launcher,
            &format!("nothing_outlives_a_timeout::{kind}"),
            move |place| nothing_outlives_a_timeout(place, kind),
        ));
        trials.push(trial(launcher, &format!("a_kill_spares_the_other::{kind}"), move |place| {
            a_kill_spares_the_other(place, kind)
        }));
    }
    trials.push(trial(launcher, "a_trapped_term_may_clean_up", a_trapped_term_may_clean_up));
    trials.push(trial(launcher, "everything_but_the_supervisor_dies", everything_else_dies));
    trials.push(trial(launcher, "a_vanished_client_cancels_after_its_grace", client_vanishes));
    trials.push(trial(launcher, "a_client_that_comes_back_keeps_it", client_comes_back));
    trials.push(trial(launcher, "a_dead_supervisor_is_lost", a_dead_supervisor_is_lost));
    trials.push(trial(launcher, "exit_not_eof_ends_a_command", exit_not_eof));
    trials.push(trial(launcher, "background_children_can_be_killed_later", background_killed));
    trials.push(trial(launcher, "codes", codes));
    trials.push(trial(launcher, "a_crowd_of_followers_keeps_nobody_from_a_kill", crowd));
    trials.push(trial(launcher, "the_same_id_is_known_to_another_program", known_elsewhere));
    trials
}

/// The processes that left word, and whether each still runs.
fn living(place: &Place, mark: &str) -> (usize, Vec<String>) {
    let mut noted = 0;
    let mut alive = Vec::new();
    for entry in place.home.path().read_dir().unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        let Some(pid) = name.strip_prefix(&format!("{mark}.")) else { continue };
        noted += 1;
        let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
        let state = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
        let zombie = state.is_ok_and(|stat| stat.rsplit_once(')').unwrap().1.starts_with(" Z"));
        // Ids are used again: only a process that still has our mark among its arguments counts.
        let line = std::fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero()));
        let ours = line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark));
        if test_kill_process(pid).is_ok() && !zombie && ours {
            alive.push(name);
        }
    }
    (noted, alive)
}

fn escape(place: &Place, kind: &str, mark: &str) -> StartProcess {
    let me = std::env::current_exe().unwrap();
    let mark = place.path(mark);
    let mut start =
        StartProcess::argv([me.as_os_str(), "--escape".as_ref(), kind.as_ref(), mark.as_os_str()]);
    start.caller = shell("").caller;
    start.termination_grace = Duration::from_millis(200);
    start
}

async fn until_noted(place: &Place, mark: &str, count: usize) {
    let started = Instant::now();
    while living(place, mark).0 < count {
        assert!(started.elapsed() < Duration::from_secs(20), "the children did not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn nothing_outlives_a_timeout(place: Place, kind: &'static str) {
    let mut execute = Execute::new(escape(&place, kind, "mark"));
    execute.start.timeout = Some(Duration::from_millis(700));
    let done = place.executor.execute(execute).await.unwrap();
    assert_eq!((done.exit.code, done.exit.reason), (124, EndReason::TimedOut), "{done:?}");
    assert_eq!(done.exit.survivors, []);
    let (noted, alive) = living(&place, "mark");
    assert!(noted >= 2, "the command and its child left word, {noted} did");
    assert_eq!(alive, Vec::<String>::new());
}

async fn a_kill_spares_the_other(place: Place, kind: &'static str) {
    let mut first = escape(&place, kind, "first");
    let mut second = escape(&place, kind, "second");
    first.lifetime = Lifetime::Detached;
    second.lifetime = Lifetime::Detached;
    let first = place.executor.start_process(first).await.unwrap().id;
    let second = place.executor.start_process(second).await.unwrap().id;
    until_noted(&place, "first", 2).await;
    until_noted(&place, "second", 2).await;
    let exit = place.executor.signal(&first, SignalRequest::Kill).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.reason), (137, EndReason::Cancelled));
    assert_eq!(living(&place, "first").1, Vec::<String>::new());
    let info = place.executor.process(&second).await.unwrap();
    assert_eq!(info.state, ProcessState::Running);
    assert_ne!(living(&place, "second").1, Vec::<String>::new());
    place.executor.signal(&second, SignalRequest::Kill).await.unwrap();
    assert_eq!(living(&place, "second").1, Vec::<String>::new());
}

async fn a_trapped_term_may_clean_up(place: Place) {
    let mut execute =
        Execute::new(shell("trap 'echo cleaned; exit 3' TERM; echo up; sleep 60 & wait"));
    execute.start.timeout = Some(Duration::from_millis(300));
    let done = place.executor.execute(execute).await.unwrap();
    assert_eq!(done.exit.code, 124);
    assert_eq!(done.stdout.head.to_string_lossy(), "up\ncleaned\n");
}

async fn collect(place: &Place, id: &ProcessId, since: u64) -> (Vec<u8>, i32) {
    use futures_util::StreamExt;
    let request = ReadOutput { since, follow: Follow::UntilExit, hold: false };
    let mut stream = place.executor.process_output(id, request).await.unwrap();
    let mut bytes = Vec::new();
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            OutputEvent::Output { offset, bytes: more, .. } => {
                assert_eq!(offset, since + bytes.len() as u64);
                bytes.extend_from_slice(more.as_bytes());
            }
            OutputEvent::Exit(exit) => return (bytes, exit.code),
            gap @ OutputEvent::Gap { .. } => panic!("{gap:?}"),
        }
    }
    panic!("no exit");
}

/// A program that starts a detached command, says its id, and waits to be killed.
pub(crate) fn client(line: &str, home: &Path) -> ! {
    let launcher = Arc::new(Launcher::fork(Reserve::Keep(2)).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let executor = open(home, Some(launcher));
        let detached = line.strip_prefix("detached:");
        let mut start = shell(detached.or(line.strip_prefix("foreground:")).unwrap());
        start.lifetime = match detached {
            Some(_) => Lifetime::Detached,
            None => Lifetime::Foreground { client_grace: Duration::from_millis(1500) },
        };
        let id = executor.start_process(start).await.unwrap().id;
        let hold = ReadOutput { since: 0, follow: Follow::UntilExit, hold: true };
        let mut stream = executor.process_output(&id, hold).await.unwrap();
        println!("{id}");
        while futures_util::StreamExt::next(&mut stream).await.is_some() {}
        std::future::pending::<()>().await;
    });
    unreachable!()
}

/// Starts that program, takes the id, and kills it and its reserve.
fn start_and_kill(place: &Place, line: &str) -> ProcessId {
    use std::io::BufRead;
    let mut program = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--client", line])
        .arg(place.home.path())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    std::io::BufReader::new(program.stdout.take().unwrap()).read_line(&mut id).unwrap();
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", program.id()));
    for reserve in children.unwrap().split_ascii_whitespace() {
        kill_process(Pid::from_raw(reserve.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
    program.kill().unwrap();
    program.wait().unwrap();
    id.trim().parse().unwrap()
}

async fn everything_else_dies(place: Place) {
    let line = "detached:for i in $(seq 1 200); do echo line $i; sleep 0.005; done; exit 5";
    let id = start_and_kill(&place, line);
    let info = place.executor.process(&id).await.unwrap();
    assert_eq!(info.state, ProcessState::Running);
    let (bytes, code) = collect(&place, &id, 0).await;
    let expected: String = (1..=200).map(|i| format!("line {i}\n")).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
    assert_eq!(code, 5);
    // And again, from the middle, now that its supervisor is gone too.
    let (rest, code) = collect(&place, &id, 100).await;
    assert_eq!((rest, code), (expected.as_bytes()[100..].to_vec(), 5));
}

async fn client_vanishes(place: Place) {
    let id = start_and_kill(&place, "foreground:sleep 60");
    let exit = place.executor.wait(&id).await.unwrap();
    assert_eq!(exit.reason, EndReason::Cancelled);
    assert!((1200..20_000).contains(&exit.duration_ms), "{exit:?}");
}

async fn client_comes_back(place: Place) {
    let id = start_and_kill(&place, "foreground:echo one; sleep 3; echo two; exit 4");
    while place.executor.process(&id).await.unwrap().output_bytes < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let hold = ReadOutput { since: 4, follow: Follow::UntilExit, hold: true };
    let stream = place.executor.process_output(&id, hold).await.unwrap();
    let events: Vec<_> = futures_util::StreamExt::collect(stream).await;
    let Some(Ok(OutputEvent::Exit(exit))) = events.last() else { panic!("{events:?}") };
    assert_eq!((exit.code, exit.reason), (4, EndReason::Exited));
}

async fn a_dead_supervisor_is_lost(place: Place) {
    let mut start = shell("echo before; exec sleep 60");
    start.lifetime = Lifetime::Detached;
    let id = place.executor.start_process(start).await.unwrap().id;
    let pid = loop {
        let info = place.executor.process(&id).await.unwrap();
        if info.output_bytes > 0 {
            break info.pid.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let supervisor = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap();
    kill_process(Pid::from_raw(supervisor.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    let exit = place.executor.wait(&id).await.unwrap();
    assert_eq!(exit.reason, EndReason::Lost);
    let info = place.executor.process(&id).await.unwrap();
    assert_eq!((info.state, info.output_bytes), (ProcessState::Lost, 7));
    // The command went with it: nobody could have followed or ended it.
    let started = Instant::now();
    while test_kill_process(Pid::from_raw(pid.cast_signed()).unwrap()).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(5), "the command outlived its supervisor");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = place.executor.signal(&id, SignalRequest::Send(2)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::ProcessEnded);
}

async fn exit_not_eof(place: Place) {
    let started = Instant::now();
    let execute = Execute::new(shell("(sleep 30; echo late) & echo hi; echo err >&2; exit 6"));
    let done = place.executor.execute(execute).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!((done.exit.code, done.stdout.head.as_bytes()), (6, &b"hi\n"[..]));
    assert_eq!(done.stderr.head.as_bytes(), b"err\n");
    place.executor.signal(&done.id, SignalRequest::Kill).await.unwrap();
}

async fn background_killed(place: Place) {
    let me = std::env::current_exe().unwrap();
    let line = format!(
        "'{}' --escape daemon '{}' & sleep 0.3; exit 0",
        me.display(),
        place.path("mark").display()
    );
    let done = place.executor.execute(Execute::new(shell(line))).await.unwrap();
    assert_eq!(done.exit.code, 0);
    until_noted(&place, "mark", 2).await;
    let info = place.executor.process(&done.id).await.unwrap();
    assert!(info.state == ProcessState::Exited && info.background >= 2, "{info:?}");
    let exit = place.executor.signal(&done.id, SignalRequest::Cancel).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.reason), (0, EndReason::Exited), "its own end stays as it was");
    assert_eq!(living(&place, "mark").1, Vec::<String>::new());
}

async fn codes(place: Place) {
    for (line, code) in [
        ("true", 0),
        ("exit 7", 7),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
        ("no-such-command-here", 127),
        ("/", 126),
    ] {
        let done = place.executor.execute(Execute::new(shell(line))).await.unwrap();
        assert_eq!(done.exit.code, code, "{line}");
    }
    for (program, code) in
        [("no-such-command-here", 127), ("/etc/passwd", 126), ("/", 126), ("./missing", 127)]
    {
        let execute = Execute::new(StartProcess::argv([program]));
        let done = place.executor.execute(execute).await.unwrap();
        assert_eq!(done.exit.code, code, "{program}");
        assert!(done.stderr.head.to_string_lossy().starts_with("stigmer: "), "{done:?}");
    }
}

async fn known_elsewhere(place: Place) {
    let done = place.executor.execute(Execute::new(shell("echo hi"))).await.unwrap();
    let other = open(place.home.path(), None);
    assert_eq!(other.process(&done.id).await.unwrap().state, ProcessState::Exited);
    assert_eq!(other.list_processes().await.unwrap().len(), 1);
    let refused = other.start_process(shell("true")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotAvailable);
}

/// A supervisor serves a thousand followers, tells the next that there are no more, and lets whoever
/// ends the command through.
async fn crowd(place: Place) {
    let started = place.executor.start_process(shell("sleep 300")).await.unwrap();
    let mut waits: futures_util::stream::FuturesUnordered<_> =
        (0..1_100).map(|_| place.executor.wait(&started.id)).collect();
    // The ones too many are told so; the others wait.
    let refused = waits.next().await.unwrap().unwrap_err();
    assert_eq!(refused.code, ErrorCode::Busy);
    let end = async {
        place.executor.signal(&started.id, SignalRequest::Kill).await.unwrap().unwrap();
    };
    let rest = async {
        let mut ended = 0;
        while let Some(result) = waits.next().await {
            match result {
                Ok(exit) => {
                    assert_eq!(exit.reason, EndReason::Cancelled);
                    ended += 1;
                }
                Err(error) => assert_eq!(error.code, ErrorCode::Busy),
            }
        }
        ended
    };
    let (ended, ()) = tokio::join!(rest, end);
    assert!(ended > 900, "{ended} followers were told of the end");
}
