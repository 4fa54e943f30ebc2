//! Steering commands that run: input, signals, time limits, ends, and what is known of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stigmer_core::process::{
    Command, EndReason, Execute, Follow, Lifetime, OutputEvent, OutputKind, ProcessState,
    ReadOutput, SignalRequest, StartProcess, Stdin, TerminalSize,
};
use stigmer_core::{ErrorCode, ProcessId};

use futures_util::StreamExt;

use crate::Fixture;
use crate::check::{HOLD, refused, refused_with_hint};
use crate::harness::cases;

cases! {
    empty_input_ends_at_once,
    input_is_streamed_while_the_command_runs,
    a_large_input_arrives_whole,
    input_that_nobody_reads_is_no_failure,
    #[needs(InheritStdin)]
    an_inherited_input_is_the_callers_own_descriptor,
    #[needs(InheritStdin, Terminal)]
    a_terminal_inherits_no_input,
    a_timeout_is_124_with_what_was_written,
    a_timeout_lets_the_command_clean_up,
    a_command_that_ignores_term_is_killed,
    nothing_outlives_a_timeout,
    nothing_outlives_a_kill,
    a_cancel_returns_when_nothing_is_left,
    a_kill_spares_the_others,
    a_background_child_does_not_hang_the_call,
    what_a_background_child_wrote_in_time_is_there,
    children_left_behind_can_be_killed_later,
    any_signal_can_be_sent,
    signals_reach_children_in_the_foreground,
    bad_signals_are_refused,
    a_command_that_ended_takes_no_more,
    the_list_tells_what_is_known,
    waiting_may_begin_before_or_after_the_end,
    a_vanished_client_cancels_after_its_grace,
    a_detached_command_goes_on,
    a_process_id_that_was_never_given_is_unknown,
}

const MARKS: &str = "cat pids 2>/dev/null | while read p; do kill -0 $p 2>/dev/null && \
                     ! grep -q '^State:.Z' /proc/$p/status 2>/dev/null && echo $p; done; true";

/// Takes a lock that what is started behind it has, too, wherever commands see each other's ids or not.
const LOCK: &str = "exec 9>held; flock 9";

/// Fails while anything has the lock.
const IS_FREE: &str = "flock -n held true";

/// A shell command that starts descendants of every hard kind, each of which notes its id.
const TREE: &str = "
    note() { echo $1 >> pids; }
    trap '' TERM
    note $$
    sleep 300 & note $!
    (trap '' TERM HUP; sh -c 'echo $$ >> pids; while :; do sleep 0.1; done') &
    setsid sh -c 'echo $$ >> pids; trap \"\" TERM; sleep 300' &
    sh -c 'setsid sh -c \"echo \\$\\$ >> pids; sleep 300; true\" & exit 0' >/dev/null 2>&1
    env -i /bin/sh -c 'echo $$ >> pids; kill -STOP $$; sleep 300' </dev/null >/dev/null 2>&1 &
    until [ $(wc -l < pids) -ge 6 ]; do sleep 0.01; done
    echo ready
    while :; do sleep 1; done";

fn detached(line: &str) -> StartProcess {
    let mut start = StartProcess::shell(line);
    start.lifetime = Lifetime::Detached;
    start.termination_grace = Duration::from_millis(200);
    start
}

async fn start(place: &Fixture, line: &str) -> ProcessId {
    place.executor.start_process(detached(line)).await.unwrap().id
}

/// Waits until a command has written a text on its standard output.
async fn wrote(place: &Fixture, id: &ProcessId, text: &str) {
    let request = ReadOutput { since: 0, follow: Follow::UntilExit, hold: false };
    let mut stream = place.executor.process_output(id, request).await.unwrap();
    let mut seen = String::new();
    while !seen.contains(text) {
        match stream.next().await {
            Some(Ok(OutputEvent::Output { stream: OutputKind::Stderr, .. })) => {}
            Some(Ok(OutputEvent::Output { bytes, .. })) => seen.push_str(&bytes.to_string_lossy()),
            other => panic!("before it wrote {text:?}: {other:?}"),
        }
    }
}

async fn empty_input_ends_at_once(place: Fixture) {
    let done = place.execute("cat; echo end").await;
    assert_eq!(done.stdout.head, "end\n".into());
}

async fn input_is_streamed_while_the_command_runs(place: Fixture) {
    let mut request = StartProcess::shell("read a; echo \"got $a\"; cat");
    request.stdin = Stdin::Stream;
    let id = place.executor.start_process(request).await.unwrap().id;
    let mut stream = place.executor.process_output(&id, HOLD).await.unwrap();
    place.executor.write_stdin(&id, "one\n".into()).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let OutputEvent::Output { bytes, .. } = first else { panic!("{first:?}") };
    assert_eq!(bytes, "got one\n".into());
    place.executor.write_stdin(&id, b"\xfftwo".as_slice().into()).await.unwrap();
    place.executor.close_stdin(&id).await.unwrap();
    let second = stream.next().await.unwrap().unwrap();
    let OutputEvent::Output { bytes, .. } = second else { panic!("{second:?}") };
    assert_eq!(bytes.as_bytes(), b"\xfftwo");
    assert!(matches!(stream.next().await, Some(Ok(OutputEvent::Exit(exit))) if exit.code == 0));
    assert!(stream.next().await.is_none());
}

async fn a_large_input_arrives_whole(place: Fixture) {
    let input = crate::random::Random::new(1).bytes(5_000_001);
    let mut start = StartProcess::shell("sleep 0.2; sha256sum");
    start.stdin = Stdin::Stream;
    let mut request = Execute::new(start);
    let sum = crate::check::sha256(&input);
    request.input = input.into();
    let done = place.executor.execute(request).await.unwrap();
    assert_eq!(done.stdout.head.to_string_lossy(), format!("{sum}  -\n"));
}

async fn input_that_nobody_reads_is_no_failure(place: Fixture) {
    for line in ["exec <&-; sleep 0.1; echo ok", "head -c 1 >/dev/null; echo ok", "echo ok"] {
        let mut start = StartProcess::shell(line);
        start.stdin = Stdin::Stream;
        let mut request = Execute::new(start);
        request.input = vec![b'x'; 2_000_000].into();
        let done = place.executor.execute(request).await.unwrap();
        assert_eq!((done.exit.code, done.stdout.head), (0, "ok\n".into()), "{line}");
    }
    let id = start(&place, "sleep 60").await;
    refused_with_hint(
        place.executor.write_stdin(&id, "x".into()).await,
        ErrorCode::StdinClosed,
        &[id.as_str()],
    );
    refused(place.executor.close_stdin(&id).await, ErrorCode::StdinClosed, &[id.as_str()]);
    place.executor.signal(&id, SignalRequest::Kill).await.unwrap();
}

async fn an_inherited_input_is_the_callers_own_descriptor(place: Fixture) {
    use std::io::{Read, Seek, SeekFrom, Write};
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"first\nsecond\n").unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    let mut inherits = StartProcess::argv(["true"]);
    inherits.stdin = Stdin::Inherit(Arc::new(file.try_clone().unwrap().into()));
    let done = place.executor.execute(Execute::new(inherits)).await.unwrap();
    assert_eq!(done.exit.code, 0);
    assert_eq!(file.stream_position().unwrap(), 0, "who reads nothing takes nothing");
    let mut inherits = StartProcess::argv(["cat"]);
    inherits.stdin = Stdin::Inherit(Arc::new(file.try_clone().unwrap().into()));
    let done = place.executor.execute(Execute::new(inherits)).await.unwrap();
    assert_eq!(done.stdout.head, "first\nsecond\n".into());
    assert_eq!(file.read(&mut [0; 8]).unwrap(), 0, "it was the same file description");
}

async fn a_terminal_inherits_no_input(place: Fixture) {
    let mut start = StartProcess::argv(["true"]);
    start.terminal = Some(TerminalSize::default());
    start.stdin = Stdin::Inherit(Arc::new(tempfile::tempfile().unwrap().into()));
    let result = place.executor.start_process(start).await;
    refused(result, ErrorCode::InvalidArgument, &["stdin", "terminal"]);
}

async fn a_timeout_is_124_with_what_was_written(place: Fixture) {
    let mut start = StartProcess::shell("echo before; echo err >&2; sleep 300; echo after");
    start.timeout = Some(Duration::from_millis(400));
    let begun = Instant::now();
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!((done.exit.code, done.exit.reason), (124, EndReason::TimedOut));
    assert_eq!((done.stdout.head, done.stderr.head), ("before\n".into(), "err\n".into()));
    assert!(begun.elapsed() >= Duration::from_millis(400));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let exit = place.executor.wait(&done.id).await.unwrap();
    assert_eq!(exit.code, 124, "the same is told later");
}

async fn a_timeout_lets_the_command_clean_up(place: Fixture) {
    let mut start =
        StartProcess::shell("trap 'echo cleaned; exit 3' TERM; echo up; sleep 300 & wait");
    start.timeout = Some(Duration::from_millis(300));
    start.termination_grace = Duration::from_secs(20);
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!((done.exit.code, done.exit.reason), (124, EndReason::TimedOut));
    assert_eq!(done.stdout.head, "up\ncleaned\n".into());
}

async fn a_command_that_ignores_term_is_killed(place: Fixture) {
    let mut start = StartProcess::shell("trap '' TERM; echo up; while :; do sleep 0.1; done");
    start.timeout = Some(Duration::from_millis(300));
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!((done.exit.code, done.exit.reason), (124, EndReason::TimedOut));
    assert_eq!(done.stdout.head, "up\n".into());
}

async fn nothing_outlives_a_timeout(place: Fixture) {
    let mut start = StartProcess::shell(TREE);
    start.timeout = Some(Duration::from_secs(2));
    let done = place.executor.execute(Execute::new(start)).await.unwrap();
    assert_eq!((done.exit.code, done.exit.survivors), (124, vec![]));
    assert_eq!(done.stdout.head, "ready\n".into());
    assert_eq!(place.text(MARKS).await, "");
}

async fn nothing_outlives_a_kill(place: Fixture) {
    let id = start(&place, TREE).await;
    wrote(&place, &id, "ready\n").await;
    assert_eq!(place.text(MARKS).await.lines().count(), 6);
    let exit = place.executor.signal(&id, SignalRequest::Kill).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.reason, exit.survivors), (137, EndReason::Cancelled, vec![]));
    assert_eq!(place.text(MARKS).await, "");
}

async fn a_cancel_returns_when_nothing_is_left(place: Fixture) {
    let id = start(&place, TREE).await;
    wrote(&place, &id, "ready\n").await;
    let exit = place.executor.signal(&id, SignalRequest::Cancel).await.unwrap().unwrap();
    assert_eq!(exit.reason, EndReason::Cancelled);
    assert_eq!(place.text(MARKS).await, "");
    let again = place.executor.signal(&id, SignalRequest::Cancel).await.unwrap().unwrap();
    assert_eq!((again.code, again.reason), (exit.code, exit.reason), "it may be repeated");
    let info = place.executor.process(&id).await.unwrap();
    assert_eq!((info.state, info.background), (ProcessState::Exited, 0));
}

async fn a_kill_spares_the_others(place: Fixture) {
    let first = start(&place, "sleep 300 & echo one; wait").await;
    let line = format!("{LOCK}; sleep 300 & exec 9>&-; echo two; wait");
    let second = start(&place, &line).await;
    wrote(&place, &first, "one\n").await;
    wrote(&place, &second, "two\n").await;
    place.executor.signal(&first, SignalRequest::Kill).await.unwrap();
    assert_eq!(place.executor.process(&second).await.unwrap().state, ProcessState::Running);
    assert_eq!(place.execute(IS_FREE).await.exit.code, 1);
    place.executor.signal(&second, SignalRequest::Kill).await.unwrap();
    assert_eq!(place.execute(IS_FREE).await.exit.code, 0);
}

async fn a_background_child_does_not_hang_the_call(place: Fixture) {
    let line = format!("{LOCK}; sleep 300 & exec 9>&-; echo done; exit 5");
    let done = place.execute(line).await;
    assert_eq!((done.exit.code, done.stdout.head), (5, "done\n".into()));
    assert!(done.exit.duration_ms < 30_000);
    assert_eq!(place.execute(IS_FREE).await.exit.code, 1, "it was not asked to end");
    place.executor.signal(&done.id, SignalRequest::Kill).await.unwrap();
    assert_eq!(place.execute(IS_FREE).await.exit.code, 0);
}

async fn what_a_background_child_wrote_in_time_is_there(place: Fixture) {
    let line = "head -c 300000 /dev/zero | tr '\\0' b; (sleep 0.5; echo late) & exit 0";
    for _ in 0..5 {
        let done = place.execute(line).await;
        assert_eq!(done.stdout.head.len(), 300_000, "no byte written before the end is lost");
        let request = ReadOutput { since: 0, follow: Follow::UntilClosed, hold: false };
        let all = place.collect(&done.id, request).await;
        assert_eq!(all.bytes.len(), 300_005, "what comes later is kept, too");
        assert_eq!(all.exit.unwrap().1, 300_000, "the exit is told where it happened");
    }
}

async fn children_left_behind_can_be_killed_later(place: Fixture) {
    let done =
        place.execute("setsid sleep 300 & echo $! > pids; sleep 300 & echo $! >> pids").await;
    let info = place.executor.process(&done.id).await.unwrap();
    assert_eq!((info.state, info.background), (ProcessState::Exited, 2));
    let exit = place.executor.signal(&done.id, SignalRequest::Kill).await.unwrap().unwrap();
    assert_eq!((exit.code, exit.reason), (0, EndReason::Exited), "it had ended well");
    assert_eq!(place.text(MARKS).await, "");
}

async fn any_signal_can_be_sent(place: Fixture) {
    let line = "trap 'echo usr1' USR1; trap 'echo winch' WINCH; trap 'echo int; exit 7' INT; \
                echo up; while :; do sleep 0.02; done";
    let id = start(&place, line).await;
    wrote(&place, &id, "up\n").await;
    assert_eq!(place.executor.signal(&id, SignalRequest::Send(10)).await.unwrap(), None);
    wrote(&place, &id, "usr1\n").await;
    place.executor.signal(&id, SignalRequest::Send(28)).await.unwrap();
    wrote(&place, &id, "winch\n").await;
    place.executor.signal(&id, SignalRequest::Send(2)).await.unwrap();
    let exit = place.executor.wait(&id).await.unwrap();
    assert_eq!((exit.code, exit.reason), (7, EndReason::Exited));
    let all = place.collect(&id, crate::check::UNTIL_EXIT).await;
    assert_eq!(String::from_utf8_lossy(&all.stdout), "up\nusr1\nwinch\nint\n");

    let id = start(&place, "echo up; exec sleep 300").await;
    wrote(&place, &id, "up\n").await;
    place.executor.signal(&id, SignalRequest::Send(15)).await.unwrap();
    let exit = place.executor.wait(&id).await.unwrap();
    assert_eq!((exit.code, exit.signal), (143, Some(15)));
}

async fn signals_reach_children_in_the_foreground(place: Fixture) {
    // As a terminal would: the child gets it too, and not only the shell that waits for it.
    let id = start(&place, "echo up; sleep 300; echo \"child ended with $?\"").await;
    wrote(&place, &id, "up\n").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    place.executor.signal(&id, SignalRequest::Send(2)).await.unwrap();
    let exit = place.executor.wait(&id).await.unwrap();
    assert_eq!(exit.code, 130);
}

async fn bad_signals_are_refused(place: Fixture) {
    let id = start(&place, "sleep 300").await;
    for number in [0, -1, -9, 65, 1000, i32::MIN, i32::MAX] {
        let result = place.executor.signal(&id, SignalRequest::Send(number)).await;
        refused(result, ErrorCode::InvalidArgument, &["signal"]);
    }
    assert_eq!(place.executor.process(&id).await.unwrap().state, ProcessState::Running);
    place.executor.signal(&id, SignalRequest::Kill).await.unwrap();
}

async fn a_command_that_ended_takes_no_more(place: Fixture) {
    let id = place.execute("exit 6").await.id;
    let named = &[id.as_str()];
    let ended = ErrorCode::ProcessEnded;
    refused(place.executor.signal(&id, SignalRequest::Send(15)).await, ended, named);
    refused(place.executor.write_stdin(&id, "x".into()).await, ended, named);
    refused(place.executor.close_stdin(&id).await, ended, named);
    refused(place.executor.resize(&id, TerminalSize::default()).await, ended, named);
    for request in [SignalRequest::Cancel, SignalRequest::Kill] {
        let exit = place.executor.signal(&id, request).await.unwrap().unwrap();
        assert_eq!((exit.code, exit.reason), (6, EndReason::Exited));
    }
}

async fn the_list_tells_what_is_known(place: Fixture) {
    place.seed_directory("sub").await;
    assert_eq!(place.executor.list_processes().await.unwrap(), []);
    let first = place.execute("echo 12345; exit 3").await.id;
    let mut request = detached("echo up; sleep 300");
    request.cwd = "sub".into();
    let second = place.executor.start_process(request).await.unwrap().id;
    wrote(&place, &second, "up\n").await;
    let all = place.executor.list_processes().await.unwrap();
    let [one, two] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!((&one.id, &two.id), (&first, &second), "the oldest first");
    assert_eq!(one.command, Command::Shell("echo 12345; exit 3".into()));
    assert_eq!((one.state, one.pid, one.output_bytes), (ProcessState::Exited, None, 6));
    assert_eq!(one.exit.as_ref().map(|exit| exit.code), Some(3));
    assert!(!one.detached && !one.terminal && one.background == 0);
    assert_eq!(one.cwd.to_string_lossy(), place.root_text());
    assert_eq!(two.cwd, place.absolute("sub"));
    assert_eq!((two.state, &two.exit, two.output_bytes), (ProcessState::Running, &None, 3));
    assert!(two.pid.is_some_and(|pid| pid > 1) && two.detached);
    assert!(two.started_ms >= one.started_ms);
    assert_eq!(place.executor.process(&second).await.unwrap(), *two);
    place.executor.signal(&second, SignalRequest::Kill).await.unwrap();
    let two = place.executor.process(&second).await.unwrap();
    assert_eq!((two.state, two.pid), (ProcessState::Exited, None));
    assert_eq!(two.exit.unwrap().reason, EndReason::Cancelled);
}

async fn waiting_may_begin_before_or_after_the_end(place: Fixture) {
    let id = start(&place, "sleep 0.3; exit 9").await;
    let (one, two) = tokio::join!(place.executor.wait(&id), place.executor.wait(&id));
    assert_eq!((one.unwrap().code, two.unwrap().code), (9, 9));
    assert_eq!(place.executor.wait(&id).await.unwrap().code, 9);
}

async fn a_vanished_client_cancels_after_its_grace(place: Fixture) {
    let mut start = StartProcess::shell("echo up; sleep 300");
    start.lifetime = Lifetime::Foreground { client_grace: Duration::from_millis(500) };
    let id = place.executor.start_process(start).await.unwrap().id;
    let mut stream = place.executor.process_output(&id, HOLD).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(OutputEvent::Output { .. }))));
    // While the client holds it, it lives.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(place.executor.process(&id).await.unwrap().state, ProcessState::Running);
    drop(stream);
    // A client that comes back in time keeps it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let stream = place.executor.process_output(&id, ReadOutput { since: 3, ..HOLD }).await.unwrap();
    let hold = tokio::spawn(stream.collect::<Vec<_>>());
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(place.executor.process(&id).await.unwrap().state, ProcessState::Running);
    hold.abort();
    let _ = hold.await;
    let exit = place.executor.wait(&id).await.unwrap();
    assert_eq!(exit.reason, EndReason::Cancelled);
}

async fn a_detached_command_goes_on(place: Fixture) {
    let id = start(&place, "echo up; sleep 1; echo still; exit 2").await;
    let mut stream = place.executor.process_output(&id, HOLD).await.unwrap();
    assert!(stream.next().await.is_some());
    drop(stream);
    assert_eq!(place.executor.wait(&id).await.unwrap().code, 2);
    let all = place.collect(&id, crate::check::UNTIL_EXIT).await;
    assert_eq!(all.stdout, b"up\nstill\n");
}

async fn a_process_id_that_was_never_given_is_unknown(place: Fixture) {
    let id: ProcessId = "zzzzzzzzzz".parse().unwrap();
    let (code, named) = (ErrorCode::UnknownProcess, &["zzzzzzzzzz"]);
    let executor = &place.executor;
    refused_with_hint(executor.process_output(&id, HOLD).await.map(|_| ()), code, named);
    refused_with_hint(executor.write_stdin(&id, "x".into()).await, code, named);
    refused_with_hint(executor.close_stdin(&id).await, code, named);
    for request in [SignalRequest::Cancel, SignalRequest::Kill, SignalRequest::Send(15)] {
        refused_with_hint(executor.signal(&id, request).await, code, named);
    }
    refused_with_hint(executor.resize(&id, TerminalSize::default()).await, code, named);
    refused_with_hint(executor.wait(&id).await, code, named);
    refused_with_hint(executor.process(&id).await, code, named);
}
