//! Streams and waits that go on after the connection broke.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use libtest_mimic::Trial;
use stigmer_api::client::{Client, Endpoint, RemoteExecutor};
use stigmer_core::process::{Execute, Follow, OutputEvent, ReadOutput, StartProcess, Stdin};
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, OutputStream, ToolExecutor as _};
use stigmer_host::Launcher;

use crate::proxy::Way;
use crate::{Place, quick, trial};

pub(crate) fn trials(launcher: &Arc<Launcher>) -> Vec<Trial> {
    vec![
        trial(launcher, "output_through_many_cuts_is_whole_and_unrepeated", many_cuts),
        trial(launcher, "output_through_a_cut_at_any_byte_is_whole", any_byte),
        trial(launcher, "output_goes_on_when_the_server_is_killed_and_started_again", killed),
        trial(launcher, "a_stream_that_cannot_be_resumed_ends_with_an_error", gives_up),
        trial(launcher, "waiting_goes_on_after_a_cut", waits),
        trial(launcher, "many_at_once_take_more_connections_and_stop_nobody", many),
    ]
}

/// What a command writes that counts, and how it is told to.
fn counting(to: usize) -> (StartProcess, Vec<u8>) {
    let text: String = (1..=to).map(|number| format!("{number}\n")).collect();
    (StartProcess::shell(format!("seq 1 {to}")), text.into_bytes())
}

/// Reads a stream to its end: the bytes, and how often it was told of the end.
async fn read_all(mut events: OutputStream) -> (Vec<u8>, usize) {
    let (mut bytes, mut ends) = (Vec::new(), 0);
    while let Some(event) = events.next().await {
        match event.unwrap() {
            OutputEvent::Output { bytes: more, .. } => bytes.extend_from_slice(more.as_bytes()),
            OutputEvent::Gap { .. } => panic!("a gap"),
            OutputEvent::Exit(exit) => {
                assert_eq!(exit.code, 0);
                ends += 1;
            }
        }
    }
    (bytes, ends)
}

fn following(follow: Follow) -> ReadOutput {
    ReadOutput { since: 0, follow, hold: true }
}

async fn many_cuts(place: Place) {
    let (start, expected) = counting(3_000_000);
    let started = place.remote.start_process(start).await.unwrap();
    // Larger than one event (256 KiB), so that each connection brings something; odd, so that the cuts fall
    // anywhere.
    let mut number = 0_usize;
    place.proxy.keep_cutting(move || {
        number += 1;
        Some(280_001 + number * 7_919 % 60_000)
    });
    let events = place.remote.process_output(&started.id, following(Follow::UntilClosed)).await;
    let (bytes, ends) = read_all(events.unwrap()).await;
    assert!(bytes == expected, "{} of {} bytes, or others", bytes.len(), expected.len());
    assert_eq!(ends, 1);
    assert!(place.proxy.cuts() >= 50, "{} cuts", place.proxy.cuts());
}

async fn any_byte(place: Place) {
    let (start, expected) = counting(100);
    let started = place.remote.start_process(start).await.unwrap();
    place.remote.wait(&started.id).await.unwrap();
    for follow in [Follow::No, Follow::UntilExit, Follow::UntilClosed] {
        let mut cuts = 0;
        for after in (0..).step_by(13) {
            place.proxy.cut(Way::ToClient, after);
            let events = place.remote.process_output(&started.id, following(follow)).await;
            let (bytes, ends) = read_all(events.unwrap()).await;
            assert!(bytes == expected, "cut after {after}");
            assert_eq!(ends, 1, "cut after {after}");
            if place.proxy.forget() {
                break;
            }
            cuts += 1;
        }
        assert!(cuts > 20, "{cuts} cuts");
    }
}

async fn killed(mut place: Place) {
    let (mut start, expected) = counting(1000);
    // It writes the rest when the server is back.
    start = StartProcess { stdin: Stdin::Stream, ..start };
    start.command = StartProcess::shell("seq 1 500; read line; seq 501 1000").command;
    let started = place.remote.start_process(start).await.unwrap();
    let events = place.remote.process_output(&started.id, following(Follow::UntilExit)).await;
    let mut events = events.unwrap();
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\n500\n") {
        let Some(Ok(OutputEvent::Output { bytes: more, .. })) = events.next().await else {
            panic!("no output");
        };
        bytes.extend_from_slice(more.as_bytes());
    }
    place.server.kill().await;
    place.server.start_again();
    // What reads finds out that the connection is broken; input would not be sent twice.
    place.remote.process(&started.id).await.unwrap();
    place.remote.write_stdin(&started.id, "\n".into()).await.unwrap();
    let (rest, ends) = read_all(events).await;
    bytes.extend(rest);
    assert!(bytes == expected);
    assert_eq!(ends, 1);
}

async fn gives_up(mut place: Place) {
    let endpoint = Endpoint::Unix(place.home.path().join("proxy"));
    let mut options = quick(&endpoint);
    options.resume_for = Duration::from_millis(50);
    let client = Client::connect(endpoint, options);
    let remote = RemoteExecutor::open(client, OpenWorkspace::default()).await.unwrap();
    let started = remote.start_process(StartProcess::shell("echo 1; sleep 60")).await.unwrap();
    let mut events =
        remote.process_output(&started.id, following(Follow::UntilExit)).await.unwrap();
    assert!(matches!(events.next().await, Some(Ok(OutputEvent::Output { .. }))));
    place.server.kill().await;
    let error = events.next().await.unwrap().unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    assert!(events.next().await.is_none());
}

async fn waits(place: Place) {
    let start = StartProcess { stdin: Stdin::Stream, ..StartProcess::shell("read a; exit 3") };
    let started = place.remote.start_process(start).await.unwrap();
    let cut = async {
        // The wait is on its way when its answer is not there; it is cut before it could be.
        place.proxy.cut(Way::ToClient, 0);
        let other = crate::client_of(&place.home.path().join("server"));
        let other = RemoteExecutor::open(other, OpenWorkspace::default()).await.unwrap();
        other.write_stdin(&started.id, "\n".into()).await.unwrap();
    };
    let (exit, ()) = tokio::join!(place.remote.wait(&started.id), cut);
    assert_eq!(exit.unwrap().code, 3);
    assert_eq!(place.proxy.cuts(), 1);
}

async fn many(place: Place) {
    let start = StartProcess { stdin: Stdin::Stream, ..StartProcess::shell("read a") };
    let started = place.remote.start_process(start).await.unwrap();
    let waits = (0..100).map(|_| place.remote.wait(&started.id));
    let release = async {
        let executed = place.remote.execute(Execute::new(StartProcess::shell("echo 1"))).await;
        assert_eq!(executed.unwrap().stdout.head.as_bytes(), b"1\n");
        place.remote.write_stdin(&started.id, "\n".into()).await.unwrap();
    };
    let (exits, ()) = tokio::join!(futures_util::future::join_all(waits), release);
    assert!(exits.into_iter().all(|exit| exit.unwrap().code == 0));
    assert_eq!(place.proxy.connections(), 2);
}
