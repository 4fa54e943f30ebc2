//! Output, input and terminals.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use libtest_mimic::Trial;
use stigmer_core::process::{
    Execute, Follow, GapReason, OutputEvent, OutputKind, ReadOutput, SignalRequest, Stdin,
    TerminalSize,
};
use stigmer_core::{ErrorCode, ToolExecutor};
use stigmer_host::Launcher;

use crate::{Place, shell, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    vec![
        trial(launcher, "resume_at_every_offset", resume_at_every_offset),
        trial(launcher, "a_slow_holder_loses_nothing_over_the_cap", a_slow_holder_loses_nothing),
        trial(launcher, "over_the_cap_a_late_reader_meets_a_gap", over_the_cap),
        trial(launcher, "input_is_streamed", input_is_streamed),
        trial(launcher, "a_large_input_arrives_whole", a_large_input),
        trial(launcher, "a_terminal_is_one", a_terminal_is_one),
        trial(launcher, "a_thousand_at_once", a_thousand_at_once),
        trial(launcher, "a_full_disk_becomes_a_gap", a_full_disk_becomes_a_gap),
    ]
}

const ALL: ReadOutput = ReadOutput { since: 0, follow: Follow::UntilExit, hold: false };

async fn resume_at_every_offset(place: Place) {
    let line = "for i in 1 2 3 4 5 6; do echo out$i; echo err$i >&2; done";
    let id = place.executor.execute(Execute::new(shell(line))).await.unwrap().id;
    let whole = bytes(&place, &id, ALL).await;
    assert_eq!(whole.len(), 60);
    for since in 0..=60 {
        assert_eq!(bytes(&place, &id, ReadOutput { since, ..ALL }).await, whole[since as usize..]);
    }
    let error = place.executor.process_output(&id, ReadOutput { since: 61, ..ALL }).await.err();
    assert_eq!(error.unwrap().code, ErrorCode::InvalidArgument);
}

async fn bytes(place: &Place, id: &stigmer_core::ProcessId, request: ReadOutput) -> Vec<u8> {
    let mut stream = place.executor.process_output(id, request).await.unwrap();
    let mut all = Vec::new();
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            OutputEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, request.since + all.len() as u64);
                all.extend_from_slice(bytes.as_bytes());
            }
            OutputEvent::Gap { .. } => panic!("no gap was expected"),
            OutputEvent::Exit(_) => {}
        }
    }
    all
}

async fn a_slow_holder_loses_nothing(place: Place) {
    let mut start = shell("seq 1 200000; echo done >&2");
    start.output_cap = Some(64 << 10);
    let id = place.executor.start_process(start).await.unwrap().id;
    let hold = ReadOutput { hold: true, ..ALL };
    let mut stream = place.executor.process_output(&id, hold).await.unwrap();
    let (mut all, mut errors) = (Vec::new(), Vec::new());
    let mut turns = 0;
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            OutputEvent::Output { stream: OutputKind::Stderr, bytes, .. } => {
                errors.extend_from_slice(bytes.as_bytes());
            }
            OutputEvent::Output { bytes, .. } => all.extend_from_slice(bytes.as_bytes()),
            gap @ OutputEvent::Gap { .. } => panic!("{gap:?} after {} bytes", all.len()),
            OutputEvent::Exit(exit) => assert_eq!(exit.code, 0),
        }
        turns += 1;
        if turns < 40 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let expected: String = (1..=200_000).map(|i| format!("{i}\n")).collect();
    assert_eq!(errors, b"done\n");
    assert!(all == expected.as_bytes(), "{} of {} bytes", all.len(), expected.len());
}

async fn over_the_cap(place: Place) {
    let mut execute = Execute::new(shell("seq 1 200000"));
    execute.start.output_cap = Some(64 << 10);
    let done = place.executor.execute(execute).await.unwrap();
    assert_eq!(done.exit.output_bytes, 1_288_895);
    let stream = place.executor.process_output(&done.id, ALL).await.unwrap();
    let events: Vec<_> = stream.map(Result::unwrap).collect().await;
    let gaps: Vec<_> = events.iter().filter(|e| matches!(e, OutputEvent::Gap { .. })).collect();
    let [OutputEvent::Gap { offset, length, reason: GapReason::OverCap }] = gaps.as_slice() else {
        panic!("{gaps:?}")
    };
    assert!(*offset > 4000 && *length > 1_000_000);
    // From within the gap the rest of it is reported.
    let since = offset + 10;
    let mut stream =
        place.executor.process_output(&done.id, ReadOutput { since, ..ALL }).await.unwrap();
    let first = stream.next().await.unwrap().unwrap();
    let rest = OutputEvent::Gap { offset: since, length: length - 10, reason: GapReason::OverCap };
    assert_eq!(first, rest);
}

async fn input_is_streamed(place: Place) {
    let mut start = shell("read a; echo got $a; cat");
    start.stdin = Stdin::Stream;
    let id = place.executor.start_process(start).await.unwrap().id;
    let hold = ReadOutput { hold: true, ..ALL };
    let mut stream = place.executor.process_output(&id, hold).await.unwrap();
    place.executor.write_stdin(&id, "one\n".into()).await.unwrap();
    let Some(Ok(OutputEvent::Output { bytes, .. })) = stream.next().await else { panic!() };
    assert_eq!(bytes.as_bytes(), b"got one\n");
    place.executor.write_stdin(&id, "two".into()).await.unwrap();
    place.executor.close_stdin(&id).await.unwrap();
    let closed = place.executor.write_stdin(&id, "three".into()).await.unwrap_err();
    assert!(matches!(closed.code, ErrorCode::StdinClosed | ErrorCode::ProcessEnded));
    let Some(Ok(OutputEvent::Output { bytes, .. })) = stream.next().await else { panic!() };
    assert_eq!(bytes.as_bytes(), b"two");
    assert!(matches!(stream.next().await, Some(Ok(OutputEvent::Exit(exit))) if exit.code == 0));
}

async fn a_large_input(place: Place) {
    let mut execute = Execute::new(shell("sleep 0.2; wc -c"));
    execute.start.stdin = Stdin::Stream;
    execute.input = vec![b'x'; 5_000_000].into();
    let done = place.executor.execute(execute).await.unwrap();
    assert_eq!(done.stdout.head.to_string_lossy().trim(), "5000000");
    // A child that holds the input and never reads it keeps nobody waiting.
    let mut execute = Execute::new(shell("sleep 30 & echo ok"));
    execute.start.stdin = Stdin::Stream;
    execute.input = vec![b'x'; 5_000_000].into();
    let done = place.executor.execute(execute).await.unwrap();
    assert!(done.exit.duration_ms < 20_000 && done.stdout.head.as_bytes() == b"ok\n");
    place.executor.signal(&done.id, SignalRequest::Kill).await.unwrap();
    // A command that does not read is no failure.
    let mut execute = Execute::new(shell("exec <&-; sleep 0.1; echo ok"));
    execute.start.stdin = Stdin::Stream;
    execute.input = vec![b'x'; 5_000_000].into();
    let done = place.executor.execute(execute).await.unwrap();
    assert_eq!(done.stdout.head.as_bytes(), b"ok\n");
}

async fn a_terminal_is_one(place: Place) {
    let mut start =
        shell("tty >/dev/null && stty size; read a; stty size; echo \"<$a>\"; sleep 60");
    start.terminal = Some(TerminalSize { rows: 33, columns: 101 });
    let id = place.executor.start_process(start).await.unwrap().id;
    let hold = ReadOutput { hold: true, ..ALL };
    let mut stream = place.executor.process_output(&id, hold).await.unwrap();
    let mut seen = String::new();
    let mut stage = 0;
    let exit = loop {
        match stream.next().await.unwrap().unwrap() {
            OutputEvent::Output { bytes, .. } => seen.push_str(&bytes.to_string_lossy()),
            OutputEvent::Exit(exit) => break exit,
            gap @ OutputEvent::Gap { .. } => panic!("{gap:?}"),
        }
        if stage == 0 && seen.contains("33 101") {
            stage = 1;
            let size = TerminalSize { rows: 44, columns: 120 };
            place.executor.resize(&id, size).await.unwrap();
            place.executor.write_stdin(&id, "typed\n".into()).await.unwrap();
        }
        if stage == 1 && seen.contains("44 120") && seen.contains("<typed>") {
            stage = 2;
            // What Ctrl-C types.
            place.executor.write_stdin(&id, "\x03".into()).await.unwrap();
        }
    };
    assert_eq!((stage, exit.code), (2, 130), "{seen:?}");
}

async fn a_thousand_at_once(place: Place) {
    let runs = (0..1000).map(|number| {
        let executor = &place.executor;
        async move {
            let line = format!(
                "sleep 0.5; echo out {number}; echo err {number} >&2; exit {}",
                number % 200
            );
            let done = executor.execute(Execute::new(shell(line))).await.unwrap();
            assert_eq!(done.stdout.head.to_string_lossy(), format!("out {number}\n"));
            assert_eq!(done.stderr.head.to_string_lossy(), format!("err {number}\n"));
            assert_eq!(done.exit.code, number % 200);
        }
    });
    futures_util::future::join_all(runs).await;
    assert_eq!(place.executor.list_processes().await.unwrap().len(), 1000);
}

/// `RLIMIT_FSIZE` stands for a full disk: the log's file takes no more, in the same way.
async fn a_full_disk_becomes_a_gap(place: Place) {
    let me = std::env::current_exe().unwrap();
    let line = format!(
        "ulimit -f 8; exec '{}' --client 'detached:seq 1 20000; exit 3' '{}'",
        me.display(),
        place.home.path().display()
    );
    let mut program = std::process::Command::new("bash")
        .args(["-c", &line])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut id = String::new();
    let mut stdout = std::io::BufReader::new(program.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut id).unwrap();
    let id = id.trim().parse().unwrap();
    let exit = place.executor.wait(&id).await.unwrap();
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!((exit.code, exit.output_bytes), (3, 108_894));
    let mut end = 0;
    let mut lost = 0;
    let mut stream = place.executor.process_output(&id, ALL).await.unwrap();
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            OutputEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, end);
                end += bytes.len() as u64;
            }
            OutputEvent::Gap { offset, length, reason } => {
                assert_eq!((offset, reason), (end, GapReason::DiskFull));
                end += length;
                lost += length;
            }
            OutputEvent::Exit(_) => {}
        }
    }
    assert_eq!(end, 108_894);
    assert!(lost > 80_000, "{lost}");
    let _ = place.executor.signal(&id, SignalRequest::Kill).await;
}
