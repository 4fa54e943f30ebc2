//! Output: whole, in order, resumable, bounded.

use std::time::Duration;

use futures_util::StreamExt;
use stigmer_core::process::{
    Execute, Follow, GapReason, Lifetime, OutputEvent, ProcessState, ReadOutput, SignalRequest,
    StartProcess,
};
use stigmer_core::{ErrorCode, ProcessId};

use crate::Fixture;
use crate::check::{HOLD, UNTIL_EXIT, drain, refused, same_bytes};
use crate::harness::cases;

cases! {
    every_byte_comes_back_as_it_was,
    the_two_streams_are_told_apart_and_in_order,
    output_can_be_resumed_at_every_offset,
    an_offset_past_the_end_is_refused,
    what_there_is_now_does_not_wait,
    following_ends_at_the_exit,
    following_can_go_on_until_nobody_can_write,
    a_follower_sees_output_as_it_comes,
    a_client_that_reconnects_neither_loses_nor_repeats,
    many_followers_see_the_same,
    output_over_the_cap_leaves_an_explicit_gap,
    output_within_the_gap_can_be_asked_for,
    a_holder_that_reads_slowly_loses_nothing_over_the_cap,
    a_holder_that_does_not_read_makes_the_command_wait,
    a_hundred_megabytes_without_a_line_end_take_no_memory,
    a_million_short_lines_arrive,
    no_output_is_no_event,
    closed_output_is_no_end,
}

fn detached(line: &str) -> StartProcess {
    let mut start = StartProcess::shell(line);
    start.lifetime = Lifetime::Detached;
    start
}

fn from(since: u64) -> ReadOutput {
    ReadOutput { since, ..UNTIL_EXIT }
}

async fn every_byte_comes_back_as_it_was(place: Fixture) {
    let bytes = crate::random::Random::new(7).bytes(700_001);
    place.seed("bytes", &bytes).await;
    let done = place.execute("cat bytes").await;
    same_bytes(done.stdout.head.as_bytes(), &bytes, "execute");
    let all = place.collect(&done.id, UNTIL_EXIT).await;
    same_bytes(&all.stdout, &bytes, "process_output");
    let done = place.execute(r"printf '\0\377\200\303\n\r\n\303'; printf '\300' >&2").await;
    assert_eq!(done.stdout.head.as_bytes(), b"\0\xff\x80\xc3\n\r\n\xc3");
    assert_eq!(done.stderr.head.as_bytes(), b"\xc0");
}

async fn the_two_streams_are_told_apart_and_in_order(place: Fixture) {
    let done = place
        .execute("for i in 1 2 3 4 5; do echo o$i; sleep 0.03; echo e$i >&2; sleep 0.03; done")
        .await;
    let all = place.collect(&done.id, UNTIL_EXIT).await;
    assert_eq!(all.stdout, b"o1\no2\no3\no4\no5\n");
    assert_eq!(all.stderr, b"e1\ne2\ne3\ne4\ne5\n");
    assert_eq!(all.bytes, b"o1\ne1\no2\ne2\no3\ne3\no4\ne4\no5\ne5\n");
}

async fn output_can_be_resumed_at_every_offset(place: Fixture) {
    let line = "for i in 1 2 3 4 5 6; do printf o$i; printf e$i >&2; done; exit 3";
    let done = place.execute(line).await;
    let whole = place.collect(&done.id, UNTIL_EXIT).await;
    assert_eq!(whole.bytes.len(), 24);
    for since in 0..=24 {
        let part = place.collect(&done.id, from(since)).await;
        assert_eq!(part.bytes, whole.bytes[usize::try_from(since).unwrap()..], "since {since}");
        assert_eq!(part.code(), 3);
        // The part of each stream is the end of the whole.
        assert!(whole.stdout.ends_with(&part.stdout) && whole.stderr.ends_with(&part.stderr));
    }
    let large = place.execute("seq 1 200000").await;
    let whole = place.collect(&large.id, UNTIL_EXIT).await;
    let mut random = crate::random::Random::new(11);
    for _ in 0..20 {
        let since = random.below(whole.bytes.len());
        let part = place.collect(&large.id, from(since as u64)).await;
        same_bytes(&part.bytes, &whole.bytes[since..], "resumed");
    }
}

async fn an_offset_past_the_end_is_refused(place: Fixture) {
    let id = place.execute("printf 12345").await.id;
    assert_eq!(place.collect(&id, from(5)).await.bytes, b"");
    for since in [6, 1 << 40, u64::MAX] {
        let result = place.executor.process_output(&id, from(since)).await.map(|_| ());
        refused(result, ErrorCode::InvalidArgument, &["since", &since.to_string(), "5"]);
    }
    let id = place.executor.start_process(detached("sleep 300")).await.unwrap().id;
    let result = place.executor.process_output(&id, from(1)).await.map(|_| ());
    refused(result, ErrorCode::InvalidArgument, &["since"]);
    place.executor.signal(&id, SignalRequest::Kill).await.unwrap();
}

async fn what_there_is_now_does_not_wait(place: Fixture) {
    let id = place.executor.start_process(detached("echo up; sleep 300")).await.unwrap().id;
    let mut stream = place.executor.process_output(&id, UNTIL_EXIT).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(OutputEvent::Output { .. }))));
    let now = ReadOutput { since: 0, follow: Follow::No, hold: false };
    let all = place.collect(&id, now).await;
    assert_eq!((all.bytes.as_slice(), &all.exit), (b"up\n".as_slice(), &None));
    assert_eq!(place.collect(&id, ReadOutput { since: 3, ..now }).await.bytes, b"");
    place.executor.signal(&id, SignalRequest::Kill).await.unwrap();
    let all = place.collect(&id, now).await;
    assert_eq!((all.bytes.as_slice(), all.code()), (b"up\n".as_slice(), 137));
}

async fn following_ends_at_the_exit(place: Fixture) {
    let id =
        place.executor.start_process(detached("echo a; (sleep 0.7; echo late) & echo b; exit 4"));
    let id = id.await.unwrap().id;
    let all = place.collect(&id, UNTIL_EXIT).await;
    assert_eq!((all.bytes.as_slice(), all.code()), (b"a\nb\n".as_slice(), 4));
    let exit = all.exit.unwrap();
    assert_eq!((exit.0.output_bytes, exit.1), (4, 4));
}

async fn following_can_go_on_until_nobody_can_write(place: Fixture) {
    let line = "echo a; (sleep 0.4; echo late; sleep 0.2; echo later >&2) & echo b; exit 4";
    let id = place.executor.start_process(detached(line)).await.unwrap().id;
    let until = ReadOutput { since: 0, follow: Follow::UntilClosed, hold: false };
    let all = place.collect(&id, until).await;
    assert_eq!(all.bytes, b"a\nb\nlate\nlater\n");
    let (exit, at) = all.exit.unwrap();
    assert_eq!((exit.code, exit.output_bytes, at), (4, 4, 4), "the exit is told when it happens");
    let again = place.collect(&id, until).await;
    assert_eq!(again.bytes, b"a\nb\nlate\nlater\n");
    assert_eq!(place.collect(&id, UNTIL_EXIT).await.bytes, b"a\nb\n");
}

async fn a_follower_sees_output_as_it_comes(place: Fixture) {
    let line = "echo one; read -r line < fifo; echo two";
    place.sh("mkfifo fifo").await;
    let id = place.executor.start_process(detached(line)).await.unwrap().id;
    let mut stream = place.executor.process_output(&id, UNTIL_EXIT).await.unwrap();
    // The command goes on only after its first line was seen: it must not be held back.
    let first = stream.next().await.unwrap().unwrap();
    assert!(matches!(first, OutputEvent::Output { offset: 0, .. }), "{first:?}");
    place.sh("echo > fifo").await;
    let rest = drain(stream, 4).await;
    assert_eq!((rest.bytes.as_slice(), rest.code()), (b"two\n".as_slice(), 0));
}

async fn read_in_pieces(place: &Fixture, id: &ProcessId, seed: u64) -> Vec<u8> {
    let mut random = crate::random::Random::new(seed);
    let mut all = Vec::new();
    loop {
        let request = from(all.len() as u64);
        let mut stream = place.executor.process_output(id, request).await.unwrap();
        for _ in 0..=random.below(3) {
            match stream.next().await {
                Some(Ok(OutputEvent::Output { offset, bytes, .. })) => {
                    assert_eq!(offset, all.len() as u64);
                    all.extend_from_slice(bytes.as_bytes());
                }
                Some(Ok(OutputEvent::Exit(_))) => return all,
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn a_client_that_reconnects_neither_loses_nor_repeats(place: Fixture) {
    let line = "for i in $(seq 1 40); do seq $i $((i + 300)); echo e$i >&2; sleep 0.01; done";
    let id = place.executor.start_process(detached(line)).await.unwrap().id;
    let pieces = read_in_pieces(&place, &id, 3).await;
    let whole = place.collect(&id, UNTIL_EXIT).await;
    same_bytes(&pieces, &whole.bytes, "in pieces");
}

async fn many_followers_see_the_same(place: Fixture) {
    let line = "for i in $(seq 1 30); do seq 1 500; sleep 0.01; done";
    let id = place.executor.start_process(detached(line)).await.unwrap().id;
    let all = futures_util::future::join_all((0..20).map(|_| place.collect(&id, UNTIL_EXIT))).await;
    for one in &all {
        same_bytes(&one.bytes, &all[0].bytes, "another follower");
    }
    assert_eq!(all[0].bytes.len(), 30 * 1892);
}

async fn output_over_the_cap_leaves_an_explicit_gap(place: Fixture) {
    let mut start = detached("seq 1 200000; echo end >&2");
    start.output_cap = Some(64 << 10);
    let id = place.executor.start_process(start).await.unwrap().id;
    place.executor.wait(&id).await.unwrap();
    let all = place.collect(&id, UNTIL_EXIT).await;
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    let [(offset, length, GapReason::OverCap)] = all.gaps.as_slice() else {
        panic!("{:?}", all.gaps)
    };
    let (offset, length) = (usize::try_from(*offset).unwrap(), usize::try_from(*length).unwrap());
    assert_eq!(all.end, expected.len() as u64 + 4, "every byte is counted");
    assert_eq!(all.bytes.len() + length, expected.len() + 4);
    same_bytes(&all.bytes[..offset], &expected.as_bytes()[..offset], "the beginning");
    let tail = &all.stdout[offset..];
    assert!(expected.as_bytes().ends_with(tail), "the end");
    assert_eq!(all.stderr, b"end\n", "the end of the other stream is kept");
    assert!(offset >= 4 << 10 && tail.len() >= 4 << 10, "{offset} and {}", tail.len());
    assert_eq!(all.exit.unwrap().0.output_bytes, expected.len() as u64 + 4);
}

async fn output_within_the_gap_can_be_asked_for(place: Fixture) {
    let mut start = detached("seq 1 100000");
    start.output_cap = Some(64 << 10);
    let id = place.executor.start_process(start).await.unwrap().id;
    place.executor.wait(&id).await.unwrap();
    let whole = place.collect(&id, UNTIL_EXIT).await;
    let (offset, length, _) = whole.gaps[0];
    for into in [0, 1, length / 2, length - 1] {
        let part = place.collect(&id, from(offset + into)).await;
        assert_eq!(part.gaps, [(offset + into, length - into, GapReason::OverCap)]);
        assert!(whole.bytes.ends_with(&part.bytes));
    }
    let part = place.collect(&id, from(offset + length)).await;
    assert_eq!((part.gaps.len(), part.end), (0, whole.end));
}

fn capped(line: &str) -> StartProcess {
    let mut start = StartProcess::shell(line);
    start.output_cap = Some(64 << 10);
    start
}

async fn a_holder_that_reads_slowly_loses_nothing_over_the_cap(place: Fixture) {
    let id = place.executor.start_process(capped("seq 1 200000; echo done >&2")).await.unwrap().id;
    let mut stream = place.executor.process_output(&id, HOLD).await.unwrap();
    let mut all = crate::check::Collected::default();
    let mut turns = 0;
    while let Some(event) = stream.next().await {
        all.take(event.unwrap());
        turns += 1;
        if turns < 40 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let expected: String = (1..=200_000).map(|number| format!("{number}\n")).collect();
    assert_eq!(all.gaps, []);
    same_bytes(&all.stdout, expected.as_bytes(), "slowly read");
    assert_eq!((all.stderr.as_slice(), all.code()), (b"done\n".as_slice(), 0));
}

async fn a_holder_that_does_not_read_makes_the_command_wait(place: Fixture) {
    let id = place.executor.start_process(capped("head -c 20000000 /dev/zero; echo end >&2")).await;
    let id = id.unwrap().id;
    let mut stream = place.executor.process_output(&id, HOLD).await.unwrap();
    let mut all = crate::check::Collected::default();
    all.take(stream.next().await.unwrap().unwrap());
    tokio::time::sleep(Duration::from_millis(700)).await;
    let info = place.executor.process(&id).await.unwrap();
    assert_eq!(info.state, ProcessState::Running, "it waits for its reader");
    assert!(info.output_bytes < 2_000_000, "{}", info.output_bytes);
    while let Some(event) = stream.next().await {
        all.take(event.unwrap());
    }
    assert_eq!((all.gaps.len(), all.stdout.len(), all.code()), (0, 20_000_000, 0));
    assert_eq!(all.stderr, b"end\n");
}

async fn a_hundred_megabytes_without_a_line_end_take_no_memory(place: Fixture) {
    // The command's parent is its supervisor.
    let line = "head -c 100000000 /dev/zero | tr '\\0' x; grep VmHWM /proc/$PPID/status >&2";
    let id = place.executor.start_process(StartProcess::shell(line)).await.unwrap().id;
    let mut stream = place.executor.process_output(&id, HOLD).await.unwrap();
    let (mut count, mut largest, mut said, mut code) = (0_u64, 0, String::new(), None);
    while let Some(event) = stream.next().await {
        match event.unwrap() {
            OutputEvent::Output {
                stream: stigmer_core::process::OutputKind::Stderr,
                bytes,
                ..
            } => {
                said.push_str(&bytes.to_string_lossy());
            }
            OutputEvent::Output { bytes, .. } => {
                largest = largest.max(bytes.len());
                count += bytes.len() as u64;
                assert!(bytes.as_bytes().iter().all(|byte| *byte == b'x'));
            }
            OutputEvent::Exit(exit) => code = Some(exit.code),
            gap @ OutputEvent::Gap { .. } => panic!("{gap:?}"),
        }
    }
    assert_eq!((count, code), (100_000_000, Some(0)));
    assert!(largest <= 1 << 20, "a frame of {largest} bytes");
    let kilobytes: u64 = said.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 64 << 10, "the supervisor took {kilobytes} kB");
}

async fn a_million_short_lines_arrive(place: Fixture) {
    let mut request = Execute::new(StartProcess::shell("yes 12 | head -n 1000000"));
    request.capture_bytes = 1000;
    let done = place.executor.execute(request).await.unwrap();
    assert_eq!(done.exit.output_bytes, 3_000_000);
    assert_eq!(done.stdout.omitted_bytes, 3_000_000 - 1000);
    // Each written by itself.
    let line = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i + 1)); done";
    let done = place.execute(line).await;
    let expected: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    same_bytes(done.stdout.head.as_bytes(), expected.as_bytes(), "short lines");
}

async fn no_output_is_no_event(place: Fixture) {
    let id = place.execute("exit 3").await.id;
    let all = place.collect(&id, UNTIL_EXIT).await;
    assert_eq!((all.bytes.len(), all.end, all.code()), (0, 0, 3));
}

async fn closed_output_is_no_end(place: Fixture) {
    let done = place.execute("echo a; exec >&- 2>&-; sleep 0.4; touch late; exit 8").await;
    assert_eq!((done.exit.code, done.stdout.head), (8, "a\n".into()));
    assert!(place.exists("late").await);
}
