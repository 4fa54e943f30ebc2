//! Commands with an id of their client's, and those that run as the caller would run them.

use futures_util::future::join_all;
use std::hash::{DefaultHasher, Hash, Hasher};

use stigmer_core::process::{
    Caller, CallerLimit, EndReason, Execute, Lifetime, ProcessState, ResourceLimits, StartProcess,
    Stdin, TerminalSize,
};
use stigmer_core::{ErrorCode, ProcessId};

use crate::Fixture;
use crate::check::{HOLD, UNTIL_EXIT, refused, refused_with_hint};
use crate::harness::cases;

cases! {
    the_same_request_with_the_same_id_runs_once,
    the_same_request_at_the_same_time_runs_once,
    executing_again_gives_the_same_result,
    executing_what_still_runs_follows_it,
    another_request_with_the_same_id_is_a_conflict,
    an_id_of_a_request_that_failed_is_free,
    a_trace_reaches_the_command,
    #[needs(CallerEnvironment)]
    the_callers_own_trace_is_kept,
    #[needs(CallerEnvironment)]
    the_callers_umask_is_the_commands,
    #[needs(CallerEnvironment)]
    the_callers_limits_are_the_commands,
    #[needs(CallerEnvironment, ResourceLimits)]
    limits_of_the_request_override_the_callers,
    #[needs(CallerEnvironment)]
    a_caller_that_cannot_be_is_refused,
}

/// Ids differ from one workspace to the next: a daemon keeps the commands of all.
fn id(place: &Fixture, number: u64) -> ProcessId {
    let mut hasher = DefaultHasher::new();
    (&place.root, number).hash(&mut hasher);
    ProcessId::from_random(hasher.finish())
}

fn shell(line: &str, id: ProcessId) -> StartProcess {
    StartProcess { id: Some(id), ..StartProcess::shell(line) }
}

async fn the_same_request_with_the_same_id_runs_once(place: Fixture) {
    let request =
        || StartProcess { lifetime: Lifetime::Detached, ..shell("echo ran >> f", id(&place, 1)) };
    let first = place.executor.start_process(request()).await.unwrap();
    assert_eq!(first.id, id(&place, 1));
    let second = place.executor.start_process(request()).await.unwrap();
    assert_eq!((&second.id, second.place), (&first.id, first.place));
    let exit = place.executor.wait(&id(&place, 1)).await.unwrap();
    assert_eq!((exit.code, exit.reason), (0, EndReason::Exited));
    // And long after it has ended.
    place.executor.start_process(request()).await.unwrap();
    assert_eq!(place.executor.wait(&id(&place, 1)).await.unwrap(), exit);
    assert_eq!(place.bytes("f").await, b"ran\n");
    assert_eq!(place.executor.list_processes().await.unwrap().len(), 1);
}

async fn the_same_request_at_the_same_time_runs_once(place: Fixture) {
    for round in 0..10 {
        let line = format!("echo ran >> f{round}; sleep 0.05; echo out");
        let starts = (0..8).map(|_| place.executor.start_process(shell(&line, id(&place, round))));
        let executes =
            (0..8).map(|_| place.executor.execute(Execute::new(shell(&line, id(&place, round)))));
        let (started, done) = tokio::join!(join_all(starts), join_all(executes));
        for started in started {
            assert_eq!(started.unwrap().id, id(&place, round));
        }
        for done in done {
            let done = done.unwrap();
            assert_eq!((done.exit.code, done.stdout.head), (0, "out\n".into()), "round {round}");
        }
        assert_eq!(place.bytes(format!("f{round}")).await, b"ran\n", "round {round}");
    }
}

async fn executing_again_gives_the_same_result(place: Fixture) {
    let mut request = Execute::new(StartProcess {
        stdin: Stdin::Stream,
        ..shell("cat; echo err >&2; echo ran >> f; exit 3", id(&place, 1))
    });
    request.input = "input\n".into();
    let first = place.executor.execute(request.clone()).await.unwrap();
    assert_eq!((first.exit.code, &first.stdout.head), (3, &"input\n".into()));
    let second = place.executor.execute(request).await.unwrap();
    assert_eq!(second.exit, first.exit);
    assert_eq!((second.stdout, second.stderr), (first.stdout, first.stderr));
    assert_eq!(place.bytes("f").await, b"ran\n");
}

async fn executing_what_still_runs_follows_it(place: Fixture) {
    let line = "echo one; while [ ! -e go ]; do sleep 0.02; done; echo two";
    let started = place.executor.start_process(shell(line, id(&place, 1))).await.unwrap();
    let again = place.executor.execute(Execute::new(shell(line, id(&place, 1))));
    let go = async {
        // Whoever holds it from its start reads on beside the other.
        place.seed("go", "").await;
        place.collect(&started.id, HOLD).await
    };
    let (again, held) = tokio::join!(again, go);
    assert_eq!(again.unwrap().stdout.head, "one\ntwo\n".into());
    assert_eq!(held.stdout, b"one\ntwo\n");
}

async fn another_request_with_the_same_id_is_a_conflict(place: Fixture) {
    type Change = fn(&mut StartProcess);
    place.seed_directory("d").await;
    let first = shell("sleep 60", id(&place, 1));
    place.executor.start_process(first.clone()).await.unwrap();
    let others: [Change; 5] = [
        |s| s.command = StartProcess::shell("touch ran").command,
        |s| s.command = StartProcess::argv(["sleep 60"]).command,
        |s| s.cwd = "d".into(),
        |s| s.terminal = Some(TerminalSize::default()),
        |s| s.lifetime = Lifetime::Detached,
    ];
    for change in others {
        let mut other = first.clone();
        change(&mut other);
        let result = place.executor.start_process(other.clone()).await;
        let error = refused_with_hint(result, ErrorCode::Exists, &[id(&place, 1).as_str()]);
        assert_eq!(error.details["process"], id(&place, 1).as_str());
        // A command is never executed detached, whatever its id.
        if other.lifetime != Lifetime::Detached {
            let result = place.executor.execute(Execute::new(other)).await;
            refused_with_hint(result, ErrorCode::Exists, &[id(&place, 1).as_str()]);
        }
    }
    // The one that has the id is none the worse for it.
    let info = place.executor.process(&id(&place, 1)).await.unwrap();
    assert_eq!(info.state, ProcessState::Running);
    assert!(!place.exists("ran").await);
}

async fn an_id_of_a_request_that_failed_is_free(place: Fixture) {
    let mut request = shell("echo ran", id(&place, 1));
    request.cwd = "later".into();
    let result = place.executor.start_process(request.clone()).await;
    refused(result, ErrorCode::NotFound, &["later"]);
    refused(
        place.executor.wait(&id(&place, 1)).await,
        ErrorCode::UnknownProcess,
        &[id(&place, 1).as_str()],
    );
    place.seed_directory("later").await;
    place.executor.start_process(request).await.unwrap();
    assert_eq!(place.collect(&id(&place, 1), UNTIL_EXIT).await.stdout, b"ran\n");
}

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn traced() -> StartProcess {
    let line = "printf %s \"${TRACEPARENT-none}\"";
    StartProcess { traceparent: Some(TRACE.to_owned()), ..StartProcess::shell(line) }
}

async fn a_trace_reaches_the_command(place: Fixture) {
    let run = async |start| place.executor.execute(Execute::new(start)).await.unwrap().stdout.head;
    assert_eq!(run(traced()).await, TRACE.into());
    let mut declared = traced();
    declared.variables.insert("TRACEPARENT".into(), "mine".into());
    assert_eq!(run(declared).await, "mine".into());
    assert_eq!(run(StartProcess { traceparent: None, ..traced() }).await, "none".into());
}

async fn the_callers_own_trace_is_kept(place: Fixture) {
    let mut start = traced();
    start.caller =
        Some(Caller::with_environment(vec![("TRACEPARENT".into(), "the caller's".into())]));
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, "the caller's".into());
}

/// A command line with the usual PATH and these circumstances.
fn called(line: &str, umask: Option<u32>, limits: Vec<CallerLimit>) -> StartProcess {
    let environment = vec![("PATH".into(), "/usr/bin:/bin".into())];
    let caller = Some(Caller { environment, umask, limits });
    StartProcess { caller, ..StartProcess::shell(line) }
}

async fn the_callers_umask_is_the_commands(place: Fixture) {
    for (umask, shown, mode) in [(0o027, "0027\n", 0o640), (0, "0000\n", 0o666)] {
        let start = called("umask; rm -f f; touch f", Some(umask), Vec::new());
        let done = place.executor.execute(Execute::new(start)).await.unwrap();
        assert_eq!(done.stdout.head, shown.into());
        assert_eq!(place.mode("f").await, mode);
    }
}

/// Linux's numbers (`asm-generic/resource.h`).
const CORE: u32 = 4;
const OPEN_FILES: u32 = 7;

async fn the_callers_limits_are_the_commands(place: Fixture) {
    let limits = vec![
        CallerLimit { resource: OPEN_FILES, soft: Some(123), hard: Some(234) },
        CallerLimit { resource: CORE, soft: Some(0), hard: Some(0) },
    ];
    let line = "ulimit -Sn; ulimit -Hn; ulimit -Sc; ulimit -Hc";
    let start = called(line, None, limits);
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, "123\n234\n0\n0\n".into());
    // What may not be raised so far stays as it is.
    let usual = place.text("ulimit -Hn").await;
    let limits = vec![CallerLimit { resource: OPEN_FILES, soft: Some(99), hard: None }];
    let start = called("ulimit -Sn; ulimit -Hn", None, limits);
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, format!("99\n{usual}\n").into());
    let limits = vec![CallerLimit { resource: OPEN_FILES, soft: None, hard: None }];
    let start = called("ulimit -Sn", None, limits);
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, format!("{usual}\n").into());
}

async fn limits_of_the_request_override_the_callers(place: Fixture) {
    let limits = vec![CallerLimit { resource: OPEN_FILES, soft: Some(50), hard: Some(60) }];
    let mut start = called("ulimit -Sn; ulimit -Hn", None, limits);
    start.limits = ResourceLimits { open_files: Some(70), ..ResourceLimits::default() };
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!(done.stdout.head, "70\n70\n".into());
}

async fn a_caller_that_cannot_be_is_refused(place: Fixture) {
    let limit = |resource, soft, hard| CallerLimit { resource, soft, hard };
    let twice = vec![limit(OPEN_FILES, Some(9), None); 2];
    for (umask, limits, names) in [
        (Some(0o1000), Vec::new(), ["umask", "0o1000"]),
        (Some(u32::MAX), Vec::new(), ["umask", "0o"]),
        (None, vec![limit(16, None, None)], ["limits", "16"]),
        (None, vec![limit(u32::MAX, None, None)], ["limits", "4294967295"]),
        (None, vec![limit(OPEN_FILES, Some(10), Some(9))], ["limits", "soft"]),
        (None, vec![limit(OPEN_FILES, None, Some(9))], ["limits", "soft"]),
        (None, twice, ["limits", "twice"]),
    ] {
        let start = called("touch ran", umask, limits);
        let result = place.executor.start_process(start).await;
        refused(result, ErrorCode::InvalidArgument, &names);
    }
    let mut start = StartProcess::shell("touch ran");
    start.traceparent = Some("00-1-2-3".to_owned());
    let result = place.executor.start_process(start).await;
    refused(result, ErrorCode::InvalidArgument, &["traceparent"]);
    assert!(!place.exists("ran").await);
}
