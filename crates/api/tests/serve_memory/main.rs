//! What peers that do not read cost in memory. One at a time: the memory is this process's.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../serve/support.rs"]
#[allow(dead_code, reason = "the other suite uses all of it")]
mod support;

use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt;
use stigmer_api::serve::Limits;
use support::{LARGE, head, in_time, request, start, until};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

static ALONE: Mutex<()> = Mutex::const_new(());

/// What this process has in memory, with its server and its clients.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

#[tokio::test]
async fn a_stream_that_nobody_reads_costs_a_bounded_amount() {
    let _alone = ALONE.lock().await;
    let server = start(Limits::default()).await;
    let before = resident();
    let mut http1 = server.connect().await;
    let head = head("POST", "/v1/processes/output", "content-length: 0\r\n");
    http1.write_all(head.as_bytes()).await.unwrap();
    let mut client = server.http2().await;
    let unread = in_time(client.send_request(request("/v1/processes/output"))).await.unwrap();

    // It flows until everything between them is full, and then not any more.
    let mut last = 0;
    until("the streams stall", || {
        std::thread::sleep(Duration::from_millis(100));
        let now = server.streamed.load(Ordering::SeqCst);
        now > 0 && std::mem::replace(&mut last, now) == now
    })
    .await;
    assert!(last < 64 << 20, "{last} bytes");
    assert!(resident() < before + (96 << 20));
    assert!(server.healthy().await);
    let other = in_time(client.send_request(request("/v1/files/read"))).await.unwrap();
    assert_eq!(other.into_body().collect().await.unwrap().to_bytes(), "content");
    drop(unread);
}

#[tokio::test]
async fn answers_that_nobody_reads_have_a_bound_together() {
    let _alone = ALONE.lock().await;
    let limits = Limits {
        unread_bytes: 4 * LARGE as u64,
        unread_patience: Duration::from_millis(100),
        ..Limits::default()
    };
    let server = start(limits).await;
    let before = resident();
    let mut unread = Vec::new();
    // Many requests at once on HTTP/1, and none of their answers is read.
    let one = head("POST", "/v1/files/list", "content-length: 0\r\n");
    for _ in 0..30 {
        let mut stream = server.connect().await;
        stream.write_all(one.repeat(20).as_bytes()).await.unwrap();
        unread.push(stream);
        // Its first answer is stuck; nobody tells when.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(resident() < before + 16 * LARGE, "{} MiB", (resident() - before) >> 20);
    }
    assert!(server.ask("/v1/files/read", "").await.ends_with("content"));
}
