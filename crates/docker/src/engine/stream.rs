//! Byte streams through the engine: a program in a container, and a container's own output.
//!
//! Not the library's own: that guesses from the first byte how the stream is framed, and can wait
//! for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use stigmer_api::client::Io;
use stigmer_core::Result;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::errors::{EngineError, Said};
use super::frames::Decoder;
use super::{Address, Engine};

/// The longest answer that is read where none is expected: an error's text.
const MOST_ANSWER: usize = 64 << 10;

/// Bytes that are read at once.
const READ: usize = 32 << 10;

/// A program's input and output in a container, or a container's output.
pub(crate) struct Framed {
    inner: TokioIo<hyper::upgrade::Upgraded>,
    decoder: Decoder,
    /// Output that nobody has taken yet.
    ready: Bytes,
    has_ended: bool,
}

impl Engine {
    /// Runs a program in a container, as a user, without a terminal.
    pub(crate) async fn exec(
        &self,
        container: &str,
        user: &str,
        program: &[&str],
    ) -> Result<Framed, EngineError> {
        let what = "run a program in the container";
        let request = json!({
            "AttachStdin": true, "AttachStdout": true, "AttachStderr": true,
            "Tty": false, "Cmd": program, "User": user,
        });
        let made = self.post(what, &format!("/containers/{container}/exec"), &request).await?;
        let id = made.get("Id").and_then(Value::as_str).unwrap_or_default().to_owned();
        let start = json!({ "Detach": false, "Tty": false });
        self.upgraded(what, &format!("/exec/{id}/start"), &start).await
    }

    /// What a container writes from now on.
    pub(crate) async fn attach(&self, container: &str) -> Result<Framed, EngineError> {
        let path = format!("/containers/{container}/attach?stream=1&stdout=1&stderr=1");
        self.upgraded("attach to the container", &path, &Value::Null).await
    }

    async fn post(&self, what: &str, path: &str, body: &Value) -> Result<Value, EngineError> {
        let deadline = self.deadline;
        let asking = async {
            let answer = self.send(what, path, body, false).await?;
            let bytes = self.body(what, answer).await?;
            serde_json::from_slice(&bytes)
                .map_err(|error| self.failed(what, &Said::Garbled(error.to_string())))
        };
        tokio::time::timeout(deadline, asking)
            .await
            .unwrap_or_else(|_| Err(self.failed(what, &Said::Late(deadline.as_millis()))))
    }

    async fn upgraded(&self, what: &str, path: &str, body: &Value) -> Result<Framed, EngineError> {
        let deadline = self.deadline;
        let asking = async {
            let answer = self.send(what, path, body, true).await?;
            if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
                let text = format!("it answers {} instead of a stream", answer.status());
                return Err(self.failed(what, &Said::Garbled(text)));
            }
            let upgraded = hyper::upgrade::on(answer).await;
            upgraded.map_err(|error| self.failed(what, &Said::Garbled(error.to_string())))
        };
        let upgraded = tokio::time::timeout(deadline, asking)
            .await
            .unwrap_or_else(|_| Err(self.failed(what, &Said::Late(deadline.as_millis()))))?;
        Ok(Framed {
            inner: TokioIo::new(upgraded),
            decoder: Decoder::default(),
            ready: Bytes::new(),
            has_ended: false,
        })
    }

    async fn send(
        &self,
        what: &str,
        path: &str,
        body: &Value,
        upgrade: bool,
    ) -> Result<http::Response<Incoming>, EngineError> {
        let io = |error: io::Error| self.failed(what, &Said::Io(error.kind(), error.to_string()));
        let broken = |error: hyper::Error| {
            let text = error.to_string();
            self.failed(what, &Said::Io(io::ErrorKind::ConnectionReset, text))
        };
        let stream: Box<dyn Io> = match &self.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await.map_err(io)?),
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await.map_err(io)?;
                stream.set_nodelay(true).map_err(io)?;
                Box::new(stream)
            }
        };
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(broken)?;
        tokio::spawn(connection.with_upgrades());
        let version = self.client().await?.client_version();
        let host = match &self.address {
            Address::Unix(_) => "docker",
            Address::Tcp(address) => address,
        };
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v{version}{path}"))
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json");
        if upgrade {
            request = request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "tcp");
        }
        let body = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = request
            .body(Full::new(body))
            .map_err(|error| self.failed(what, &Said::Garbled(error.to_string())))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        if answer.status().is_success() || answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let bytes = self.body(what, answer).await?;
        let text = match serde_json::from_slice::<Value>(&bytes) {
            Ok(said) => said["message"].as_str().unwrap_or_default().to_owned(),
            Err(_) => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Err(self.failed(what, &Said::Status(status, text)))
    }

    async fn body(
        &self,
        what: &str,
        answer: http::Response<Incoming>,
    ) -> Result<Bytes, EngineError> {
        let whole = Limited::new(answer.into_body(), MOST_ANSWER).collect().await;
        whole
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| self.failed(what, &Said::Garbled(error.to_string())))
    }

    fn failed(&self, what: &str, said: &Said) -> EngineError {
        EngineError::of(said, &self.asked(what, None))
    }
}

impl Framed {
    /// What the program has written on its standard error.
    pub(crate) fn stderr(&self) -> String {
        self.decoder.stderr()
    }

    /// Takes the next piece that comes on any stream, so that [`Framed::stderr`] grows; returns
    /// whether there may be more.
    pub(crate) async fn hear(&mut self) -> io::Result<bool> {
        std::future::poll_fn(|context| {
            self.take_framed()?;
            self.ready.clear();
            match ready!(self.poll_read_raw(context)?) {
                0 => Poll::Ready(Ok(false)),
                _ => {
                    while self.take_framed()? {
                        self.ready.clear();
                    }
                    Poll::Ready(Ok(true))
                }
            }
        })
        .await
    }

    /// Makes the next piece ready, if it has arrived.
    fn take_framed(&mut self) -> io::Result<bool> {
        match self.decoder.next() {
            Ok(Some(piece)) => {
                self.ready = piece;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Err(reason) => Err(io::Error::new(io::ErrorKind::InvalidData, reason)),
        }
    }

    /// Reads bytes as they come; 0 is the end.
    fn poll_read_raw(&mut self, context: &mut Context<'_>) -> io::Result<Poll<usize>> {
        let mut space = [0_u8; READ];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut self.inner).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => {
                self.decoder.push(buffer.filled());
                Ok(Poll::Ready(buffer.filled().len()))
            }
        }
    }

    /// Waits until something is ready, or the end.
    fn poll_more(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ready.is_empty() && !self.has_ended {
            if self.take_framed()? {
                continue;
            }
            if ready!(self.poll_read_raw(context)?) == 0 {
                self.has_ended = true;
                if !self.decoder.is_between_frames() {
                    let reason = "the engine's stream ended within a frame";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason)));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Framed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_more(context))?;
        let piece = self.ready.len().min(buffer.remaining());
        buffer.put_slice(&self.ready[..piece]);
        self.ready.advance(piece);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Framed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
