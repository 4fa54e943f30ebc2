//! Streams of requests: WebSockets.

use std::net::SocketAddr;

use futures_util::stream::StreamExt;
use serde_json::{Value, json};
use stigmer_api::serve::{Access, Limits, Token};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};
use tokio_util::sync::CancellationToken;

use crate::{PATIENCE, Server};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn listen(server: &Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

async fn connect(server: &Server, path: &str) -> Socket {
    let address = listen(server).await;
    connect_async(format!("ws://{address}{path}")).await.unwrap().0
}

async fn send(socket: &mut Socket, message: Message) {
    use futures_util::sink::SinkExt;
    socket.send(message).await.unwrap();
}

async fn say(socket: &mut Socket, json: Value) {
    send(socket, Message::text(json.to_string())).await;
}

/// The next message: JSON, or how it was closed.
async fn hear(socket: &mut Socket) -> Result<Value, (u16, String)> {
    let message = async {
        loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Text(text) => return Ok(serde_json::from_str(&text).unwrap()),
                Message::Close(Some(frame)) => {
                    return Err((frame.code.into(), frame.reason.to_string()));
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    timeout(PATIENCE, message).await.unwrap()
}

#[tokio::test]
async fn a_terminal_is_text_messages_both_ways_and_bytes_for_input() {
    let mut server = Server::new();
    let mut socket = connect(&server, "/v1/processes/attach").await;
    say(&mut socket, json!({ "begin": { "id": "p", "since": 7 } })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["next"], 7);
    send(&mut socket, Message::binary(&b"ls\n"[..])).await;
    let output = hear(&mut socket).await.unwrap();
    assert_eq!((&output["next"], &output["output"]["bytes"]), (&json!(10), &json!("ls\n")));
    say(&mut socket, json!({ "data": "/w==" })).await;
    let output = hear(&mut socket).await.unwrap();
    assert_eq!(output["output"]["bytes"], json!({ "base64": "/w==" }));
    say(&mut socket, json!({ "close_stdin": {} })).await;
    assert!(hear(&mut socket).await.unwrap()["exit"].is_object());
    assert_eq!(hear(&mut socket).await.unwrap_err(), (1000, String::new()));
    server.sees("attach dropped").await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_heard() {
    let mut server = Server::new();
    let address = listen(&server).await;
    let stream = TcpSocket::new_v4().unwrap();
    stream.set_recv_buffer_size(64 << 10).unwrap();
    let stream = MaybeTlsStream::Plain(stream.connect(address).await.unwrap());
    let url = format!("ws://{address}/v1/processes/attach?id=endless");
    let mut socket = client_async(url, stream).await.unwrap().0;
    // One message is more than the connection holds, so that the server cannot send on.
    server.sees("endless").await;
    say(&mut socket, json!({ "signal": { "kill": {} } })).await;
    server.sees("signal").await;
    drop(socket);
    server.sees("attach dropped").await;
}

#[tokio::test]
async fn the_query_stands_for_the_first_message() {
    let server = Server::new();
    let mut socket = connect(&server, "/v1/processes/attach?id=p&since=9").await;
    assert_eq!(hear(&mut socket).await.unwrap()["next"], 9);
    let address = listen(&server).await;
    let refused = connect_async(format!("ws://{address}/v1/processes/attach?idd=p")).await;
    let Err(tungstenite::Error::Http(response)) = refused else { panic!("{refused:?}") };
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn what_fails_is_said_and_closes_with_its_code() {
    let server = Server::new();
    for (message, code) in [
        (json!({ "signal": { "kill": {} } }), "process_ended"),
        (json!({ "begn": {} }), "invalid_argument"),
        (json!([]), "invalid_argument"),
    ] {
        let mut socket = connect(&server, "/v1/processes/attach?id=p").await;
        hear(&mut socket).await.unwrap();
        say(&mut socket, message).await;
        assert_eq!(hear(&mut socket).await.unwrap()["error"]["code"], code);
        assert_eq!(hear(&mut socket).await.unwrap_err(), (1011, code.to_owned()));
    }
}

#[tokio::test]
async fn an_upload_is_pieces_of_bytes_and_its_result_one_text() {
    let mut server = Server::new();
    let mut socket = connect(&server, "/v1/transfers/upload?path=a&format=file").await;
    send(&mut socket, Message::binary(&b"some "[..])).await;
    send(&mut socket, Message::binary(&b"bytes"[..])).await;
    say(&mut socket, json!({ "finish": {} })).await;
    assert_eq!(hear(&mut socket).await.unwrap()["bytes"], 10);
    assert_eq!(hear(&mut socket).await.unwrap_err().0, 1000);
    server.sees("begin a 2").await;
}

#[tokio::test]
async fn a_client_that_leaves_finishes_no_upload() {
    let mut server = Server::new();
    for polite in [true, false] {
        let mut socket = connect(&server, "/v1/transfers/upload?path=a").await;
        send(&mut socket, Message::binary(&b"some"[..])).await;
        server.sees("data").await;
        if polite {
            socket.close(None).await.unwrap();
        }
        drop(socket);
    }
    // The call is dropped in the middle: it neither finishes nor fails by itself.
    let mut socket = connect(&server, "/v1/processes/attach?id=p").await;
    hear(&mut socket).await.unwrap();
    drop(socket);
    while let Some(seen) = timeout(PATIENCE, server.seen.recv()).await.unwrap() {
        assert!(!["finish", "broken off"].contains(&seen.as_str()), "{seen}");
        if seen == "attach dropped" {
            break;
        }
    }
}

#[tokio::test]
async fn a_message_over_the_limit_ends_the_conversation() {
    let server = Server::new();
    let mut socket = connect(&server, "/v1/processes/attach?id=p").await;
    hear(&mut socket).await.unwrap();
    use futures_util::sink::SinkExt;
    // The server may hang up before all of it is sent.
    let _ = socket.send(Message::binary(vec![0; (4 << 20) + 1])).await;
    loop {
        match timeout(PATIENCE, socket.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => {
                assert!(text.contains("the limit of 4194304 bytes"), "{text}");
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => break,
        }
    }
}

#[tokio::test]
async fn a_server_that_is_stopped_says_so() {
    let mut server = Server::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let token = "an-example-token-that-nobody-uses";
    let shutdown = CancellationToken::new();
    let serving = stigmer_api::serve::Server::new(server.router.clone(), Limits::default())
        .tcp(listener, Access::new(Token::new(token).unwrap()))
        .unwrap()
        .run(shutdown.clone(), PATIENCE);
    let serving = tokio::spawn(serving);
    let url = format!("ws://{address}/v1/processes/attach?id=p");
    let Err(tungstenite::Error::Http(refused)) = connect_async(&url).await else {
        panic!("without a token");
    };
    assert_eq!(refused.status(), 401);
    let mut request = url.into_client_request().unwrap();
    let value = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", value);
    let mut socket = connect_async(request).await.unwrap().0;
    hear(&mut socket).await.unwrap();
    shutdown.cancel();
    assert_eq!(hear(&mut socket).await.unwrap_err().0, 1001);
    server.sees("attach dropped").await;
    drop(socket);
    timeout(PATIENCE, serving).await.unwrap().unwrap();
}
