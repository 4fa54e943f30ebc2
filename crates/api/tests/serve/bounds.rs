//! What a peer costs at most, and that the others are served meanwhile.

use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt;
use stigmer_api::serve::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{code_of, head, in_time, request, rest, start, until};

#[tokio::test]
async fn a_connection_that_does_not_ask_in_time_is_closed() {
    let limits = Limits { head_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(limits).await;
    for begin in
        ["", "POST /v1/files/read HTTP/1.1\r\nhost: loc", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let mut stream = server.connect().await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        rest(&mut stream).await;
    }
    assert!(server.healthy().await);
}

#[tokio::test]
async fn a_head_or_body_that_is_too_large_is_refused() {
    let server = start(Limits { body_bytes: 1 << 20, ..Limits::default() }).await;
    let long = format!("x: {}\r\n", "x".repeat(64 << 10));
    assert!(server.ask("/v1/files/read", &long).await.starts_with("HTTP/1.1 431"));
    let declared = head("POST", "/v1/files/edit", "content-length: 1000000000\r\n");
    let answer = server.say(&declared).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("\"too_large\""), "{answer}");

    let mut client = server.http2().await;
    let body = axum::body::Body::from_stream(futures_util::stream::repeat_with(|| {
        Ok::<_, std::convert::Infallible>(bytes::Bytes::from(vec![0; 16 << 10]))
    }));
    let endless = request("/v1/files/edit").map(|_| body);
    assert_eq!(code_of(&in_time(client.send_request(endless)).await.unwrap()), 413);
    let small = in_time(client.send_request(request("/v1/files/read"))).await.unwrap();
    assert_eq!(code_of(&small), 200, "the connection lives on");
}

#[tokio::test]
async fn a_body_that_makes_no_progress_is_aborted() {
    let limits = Limits { body_timeout: Duration::from_millis(100), ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.connect().await;
    let begin = head("POST", "/v1/files/edit", "content-length: 100\r\n");
    stream.write_all(format!("{begin}some").as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 504") && answer.contains("no progress"), "{answer}");
}

#[tokio::test]
async fn bodies_count_until_their_requests_are_answered() {
    let limits = Limits { buffered_bytes: 1 << 20, uncounted_bytes: 1 << 10, ..Limits::default() };
    let server = start(limits).await;
    for (begun, path) in [(1, "/v1/processes/execute"), (2, "/v1/files/write")] {
        let more = "content-length: 800000\r\nconnection: close\r\n";
        let large = format!("{}{}", head("POST", path, more), "x".repeat(800_000));
        let mut first = server.connect().await;
        first.write_all(large.as_bytes()).await.unwrap();
        server.until_begun(begun).await;
        // Its body is not read any more, and what was made of it is at work.
        let refused = server.say(&large).await;
        assert!(refused.starts_with("HTTP/1.1 503"), "{path}: {refused}");
        assert!(refused.contains("\"out_of_resources\""), "{path}: {refused}");
        server.gate.add_permits(1);
        assert!(rest(&mut first).await.ends_with("done"));
        assert!(server.ask("/v1/files/edit", "").await.ends_with('0'));
    }
    let large = head("POST", "/v1/files/edit", "content-length: 800000\r\nconnection: close\r\n");
    let answer = server.say(&format!("{large}{}", "x".repeat(800_000))).await;
    assert!(answer.ends_with("800000"), "{answer}");
}

#[tokio::test]
async fn idle_connections_do_not_lock_anybody_out() {
    let limits = Limits { connections: 100, extra_connections: 100, ..Limits::default() };
    let server = start(limits).await;
    let mut idle = Vec::new();
    for _ in 0..1_000 {
        idle.push(server.connect().await);
    }
    assert!(server.healthy().await);
    assert!(server.ask("/v1/files/read", "").await.ends_with("content"));
}

/// A question about health without a token, whose body does not end.
const TRICKLE: &str = "POST /grpc.health.v1.Health/Check HTTP/1.1\r\nhost: localhost\r\n\
    transfer-encoding: chunked\r\n\r\n1\r\nx\r\n";

#[tokio::test]
async fn strangers_who_do_not_finish_asking_do_not_lock_anybody_out() {
    let limits = Limits { connections: 10, extra_connections: 10, ..Limits::default() };
    let server = start(limits).await;
    let mut asking = Vec::new();
    for _ in 0..40 {
        let mut stream = server.connect().await;
        stream.write_all(TRICKLE.as_bytes()).await.unwrap();
        asking.push(stream);
    }
    assert!(server.healthy().await);
    assert!(server.ask("/v1/files/read", "").await.ends_with("content"));
}

#[tokio::test]
async fn a_strangers_body_is_small_and_comes_at_once() {
    let limits = Limits { head_timeout: Duration::from_millis(300), ..Limits::default() };
    let server = start(limits).await;
    let mut stream = server.connect().await;
    stream.write_all(TRICKLE.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.split();
    let trickle = async {
        while writing.write_all(b"1\r\nx\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut answer = [0; 12];
    tokio::select! {
        () = in_time(trickle) => {}
        read = reading.read_exact(&mut answer) => { read.unwrap(); }
    }
    assert_eq!(&answer, b"HTTP/1.1 504");
    let large = format!("{TRICKLE}500\r\n{}\r\n", "x".repeat(0x500));
    assert!(server.say(&large).await.starts_with("HTTP/1.1 413"));
    let whole = server.say(&format!("{TRICKLE}0\r\n\r\nGET / HTTP/1.0\r\n\r\n")).await;
    assert!(whole.starts_with("HTTP/1.1 200"), "{whole}");
}

#[tokio::test]
async fn commands_that_wait_do_not_lock_anybody_out() {
    let limits = Limits { connections: 50, extra_connections: 50, ..Limits::default() };
    let server = start(limits).await;
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut stream = server.connect().await;
        let head = head("POST", "/v1/processes/execute", "content-length: 0\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        waiting.push(stream);
    }
    server.until_begun(50).await;
    assert!(server.healthy().await);
    assert!(server.ask("/v1/files/read", "").await.ends_with("content"));
    let refused = server.ask("/v1/processes/execute", "").await;
    assert!(
        refused.starts_with("HTTP/1.1 503") && refused.contains("\"unavailable\""),
        "{refused}"
    );
    server.gate.add_permits(50);
    for mut stream in waiting {
        let mut answer = [0; 12];
        in_time(stream.read_exact(&mut answer)).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
}

#[tokio::test]
async fn one_client_that_asks_much_does_not_keep_another_waiting() {
    let limits = Limits { quick: 4, ..Limits::default() };
    let server = start(limits).await;
    let client = server.http2().await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..500 {
        let mut client = client.clone();
        asked.spawn(async move { client.send_request(request("/v1/files/write")).await });
    }
    server.until_begun(4).await;
    assert!(server.healthy().await, "health does not wait for a turn");
    let other = tokio::spawn({
        let mut client = server.http2().await;
        async move { client.send_request(request("/v1/files/read")).await }
    });
    // One turn is given up: the other client's comes after at most one more of the first's.
    let begun = async {
        for _ in 0..20 {
            if other.is_finished() {
                return;
            }
            server.gate.add_permits(1);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    begun.await;
    assert_eq!(code_of(&in_time(other).await.unwrap().unwrap()), 200);
    assert!(server.begun.load(Ordering::SeqCst) < 100, "it did not wait for all of them");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_costs_its_peer_the_connection() {
    let limits = Limits { write_timeout: Duration::from_millis(400), ..Limits::default() };
    let server = start(limits).await;
    let mut http1 = server.connect().await;
    let head = head("POST", "/v1/files/list", "content-length: 0\r\n");
    http1.write_all(head.as_bytes()).await.unwrap();
    let client = server.http2().await;
    let mut sender = client.clone();
    let unread = in_time(sender.send_request(request("/v1/files/list"))).await.unwrap();
    until("the HTTP/2 connection ends", || client.is_closed()).await;
    assert!(unread.into_body().collect().await.is_err());

    until("the HTTP/1 connection ends", || {
        // A reset is seen by writing.
        http1.try_write(b"x").is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    })
    .await;
    assert!(server.healthy().await);
}

#[tokio::test]
async fn ten_thousand_requests_at_once_leave_room_for_a_small_one() {
    let server = start(Limits::default()).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let client = server.http2().await;
        for _ in 0..1_000 {
            let mut client = client.clone();
            asked.spawn(async move {
                let response = client.send_request(request("/v1/processes/execute")).await;
                response.map(|response| code_of(&response))
            });
        }
    }
    server.until_begun(Limits::default().waiting).await;
    assert!(server.healthy().await);
    assert!(server.ask("/v1/files/read", "").await.ends_with("content"));
    server.gate.add_permits(10_000);
    let mut counts = std::collections::BTreeMap::new();
    while let Some(code) = in_time(asked.join_next()).await {
        *counts.entry(code.unwrap().unwrap()).or_insert(0) += 1;
    }
    // Every one got an answer: done, or that nothing was done.
    assert_eq!(counts.values().sum::<usize>(), 10_000, "{counts:?}");
    assert!(counts[&200] >= Limits::default().waiting, "{counts:?}");
    assert!(counts.keys().all(|code| [200, 503].contains(code)), "{counts:?}");
}
