//! How a server ends.

use std::time::Duration;

use http_body_util::BodyExt;
use stigmer_api::serve::Limits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{head, in_time, request, rest, start, start_for};

#[tokio::test]
async fn what_is_being_done_is_finished_and_streams_and_idle_ones_end() {
    let server = start(Limits::default()).await;
    let mut idle = server.connect().await;
    let mut asked = server.connect().await;
    let quick = head("POST", "/v1/files/read", "content-length: 0\r\n");
    asked.write_all(quick.as_bytes()).await.unwrap();
    in_time(asked.read_u8()).await.unwrap();

    let mut client = server.http2().await;
    let stream = in_time(client.send_request(request("/v1/processes/output"))).await.unwrap();
    let mut other = server.http2().await;
    let writing = tokio::spawn(async move {
        let response = other.send_request(request("/v1/files/write")).await.unwrap();
        response.into_body().collect().await.unwrap().to_bytes()
    });
    let mut http1 = server.connect().await;
    let write = head("POST", "/v1/files/write", "content-length: 0\r\n");
    http1.write_all(write.as_bytes()).await.unwrap();
    server.until_begun(2).await;

    server.shutdown.cancel();
    rest(&mut idle).await;
    rest(&mut asked).await;
    let mut stream = stream.into_body();
    let end = async {
        loop {
            match stream.frame().await {
                Some(Ok(_)) => {}
                other => return other,
            }
        }
    };
    assert!(
        matches!(in_time(end).await, Some(Err(_))),
        "a stream that just ended would look whole"
    );

    assert!(!writing.is_finished());
    let gone = tokio::net::TcpStream::connect(server.address).await;
    assert!(gone.is_err(), "nobody new is taken in");
    server.gate.add_permits(2);
    assert_eq!(in_time(writing).await.unwrap(), "done");
    assert!(rest(&mut http1).await.ends_with("done"));
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn a_grpc_stream_is_told_that_the_server_ends() {
    let server = start(Limits::default()).await;
    let mut client = server.http2().await;
    let response =
        in_time(client.send_request(request("/stigmer.v1.Processes/Output"))).await.unwrap();
    let mut body = response.into_body();
    in_time(body.frame()).await.unwrap().unwrap();
    server.shutdown.cancel();
    let trailers = async {
        loop {
            if let Ok(trailers) = body.frame().await.unwrap().unwrap().into_trailers() {
                return trailers;
            }
        }
    };
    assert_eq!(in_time(trailers).await["grpc-status"], "14");
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn what_is_not_done_in_time_is_said_to_be_unknown() {
    let server = start_for(Limits::default(), Duration::from_millis(50)).await;
    let mut stream = server.connect().await;
    let write = head("POST", "/v1/files/write", "content-length: 0\r\n");
    stream.write_all(write.as_bytes()).await.unwrap();
    server.until_begun(1).await;
    server.shutdown.cancel();
    assert!(rest(&mut stream).await.contains("\"completion_unknown\""));
    assert_eq!(server.ended().await.cut, 0);
}

#[tokio::test]
async fn a_peer_that_does_not_let_go_is_cut_off() {
    let server = start_for(Limits::default(), Duration::from_millis(50)).await;
    let mut stream = server.connect().await;
    let large = head("POST", "/v1/files/list", "content-length: 0\r\n");
    stream.write_all(large.as_bytes()).await.unwrap();
    in_time(stream.read_u8()).await.unwrap();
    server.shutdown.cancel();
    server.ended().await;
}
