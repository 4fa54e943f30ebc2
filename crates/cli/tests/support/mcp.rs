//! A client of the Model Context Protocol, as small as it can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::Pid;
use serde_json::{Value, json};

use super::Place;
use super::daemon::{Daemon, PATIENCE, lives, until};

/// The last version that begins with a handshake.
pub(crate) const WITH_HANDSHAKE: &str = "2025-11-25";
/// The first version that knows no sessions.
pub(crate) const WITHOUT_SESSIONS: &str = "2026-07-28";

/// One that has started `stigmer mcp`.
pub(crate) struct Agent {
    pub(crate) child: Child,
    stdin: Option<Box<dyn Write + Send>>,
    messages: Receiver<Value>,
    last: u64,
    reads: Arc<AtomicBool>,
    /// Notifications that came while something else was waited for.
    pub(crate) notifications: Vec<Value>,
}

impl Agent {
    /// Starts it and shakes hands.
    #[track_caller]
    pub(crate) fn start(place: &Place, arguments: &[&str]) -> Self {
        Self::greeted(Self::bare(place, arguments))
    }

    /// The same with variables set.
    #[track_caller]
    pub(crate) fn start_with(place: &Place, variables: &[(&str, &str)]) -> Self {
        let mut command = place.command(&["mcp"]);
        command.envs(variables.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped());
        Self::greeted(Self::piped(command.spawn().unwrap()))
    }

    #[track_caller]
    fn greeted(mut client: Self) -> Self {
        let hello = client.ask("initialize", hello());
        assert_eq!(hello["protocolVersion"], WITH_HANDSHAKE, "{hello}");
        client.tell("notifications/initialized", json!({}));
        client
    }

    /// Starts it, and says nothing yet.
    pub(crate) fn bare(place: &Place, arguments: &[&str]) -> Self {
        Self::piped(Self::spawn(place, arguments, Stdio::piped(), Stdio::piped()))
    }

    fn piped(mut child: Child) -> Self {
        let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self::with(child, stdin, stdout)
    }

    /// The same over sockets, as programs that run on Node.js start it.
    pub(crate) fn over_sockets(place: &Place) -> Self {
        let (stdin, input) = UnixStream::pair().unwrap();
        let (stdout, output) = UnixStream::pair().unwrap();
        let [input, output] = [input, output].map(|end| Stdio::from(OwnedFd::from(end)));
        let child = Self::spawn(place, &[], input, output);
        Self::with(child, stdin, stdout)
    }

    fn spawn(place: &Place, arguments: &[&str], input: Stdio, output: Stdio) -> Child {
        let words = [&["mcp"], arguments].concat();
        place.command(&words).stdin(input).stdout(output).spawn().unwrap()
    }

    fn with(
        child: Child,
        stdin: impl Write + Send + 'static,
        stdout: impl Read + Send + 'static,
    ) -> Self {
        let (sender, messages) = channel();
        let stdout = BufReader::new(stdout);
        let reads = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&reads);
        std::thread::spawn(move || {
            for line in stdout.lines() {
                while !goes_on.load(Ordering::Relaxed) {
                    std::thread::park();
                }
                let message = serde_json::from_str(&line.unwrap()).expect("one message a line");
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let stdin: Option<Box<dyn Write + Send>> = Some(Box::new(stdin));
        Self { child, stdin, messages, last: 0, notifications: Vec::new(), reads }
    }

    /// Reads no more, and leaves open what it does not read.
    pub(crate) fn stop_reading(&self) {
        self.reads.store(false, Ordering::Relaxed);
    }

    pub(crate) fn send(&mut self, message: &Value) {
        let line = format!("{message}\n");
        self.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }

    /// Sends a request; returns its id.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> u64 {
        self.last += 1;
        let id = self.last;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    pub(crate) fn tell(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    #[track_caller]
    pub(crate) fn next(&self) -> Value {
        self.messages.recv_timeout(PATIENCE).expect("a message in time")
    }

    /// The answer to a request, whole.
    #[track_caller]
    pub(crate) fn answer(&mut self, id: u64) -> Value {
        loop {
            let message = self.next();
            if message["id"] == id {
                return message;
            }
            assert!(message["method"].is_string(), "an answer to nothing: {message}");
            self.notifications.push(message);
        }
    }

    /// The result of a request.
    #[track_caller]
    pub(crate) fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        let mut answer = self.answer(id);
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].take()
    }

    /// The error of a request that is none.
    #[track_caller]
    pub(crate) fn refused(&mut self, method: &str, params: Value) -> Value {
        let id = self.request(method, params);
        let mut answer = self.answer(id);
        assert!(answer["result"].is_null(), "{answer}");
        answer["error"].take()
    }

    /// What a tool's result says, for programs.
    #[track_caller]
    pub(crate) fn call(&mut self, tool: &str, arguments: Value) -> Value {
        good(&self.ask("tools/call", json!({ "name": tool, "arguments": arguments })))
    }

    /// How a tool fails.
    #[track_caller]
    pub(crate) fn fail(&mut self, tool: &str, arguments: Value) -> Value {
        bad(&self.ask("tools/call", json!({ "name": tool, "arguments": arguments })))
    }

    /// Closes its standard input, and waits until it has ended.
    #[track_caller]
    pub(crate) fn close(&mut self) -> ExitStatus {
        drop(self.stdin.take());
        self.ended()
    }

    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        until("the server has ended", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What begins a handshake.
pub(crate) fn hello() -> Value {
    json!({
        "protocolVersion": WITH_HANDSHAKE,
        "capabilities": {},
        "clientInfo": { "name": "test", "version": "1" },
    })
}

/// What every request carries since there are no handshakes.
pub(crate) fn meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": WITHOUT_SESSIONS,
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

/// The structured part of a result.
#[track_caller]
pub(crate) fn good(result: &Value) -> Value {
    assert_ne!(result["isError"], true, "{result}");
    assert!(result["content"][0]["text"].is_string(), "{result}");
    result["structuredContent"].clone()
}

/// The structured part of a failure.
#[track_caller]
pub(crate) fn bad(result: &Value) -> Value {
    assert_eq!(result["isError"], true, "{result}");
    let error = result["structuredContent"].clone();
    let text = result["content"][0]["text"].as_str().unwrap();
    for part in ["code", "message"] {
        assert!(text.contains(error[part].as_str().unwrap()), "{result}");
    }
    assert!(error["retryable"].is_boolean(), "{result}");
    error
}

/// The process that has written its id to a file.
#[track_caller]
pub(crate) fn pid_in(file: &Path) -> Pid {
    let mut pid = None;
    until("a process id is written", || {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        pid = text.strip_suffix('\n').and_then(|text| text.parse().ok()).and_then(Pid::from_raw);
        pid.is_some()
    });
    pid.unwrap()
}

/// A command that goes on for long, and what it leaves behind: a process of another session that
/// ignores TERM.
pub(crate) const STUBBORN: &str = "setsid bash -c 'trap \"\" TERM; echo $$ >inner; sleep 1000' & \
                                   echo $$ >outer; echo started; wait";

/// Waits until that command and all of it are gone.
#[track_caller]
pub(crate) fn gone(place: &Place, [outer, inner]: [Pid; 2]) {
    until("all that was started is gone", || !lives(outer) && !lives(inner));
    assert!(place.work().join("inner").exists());
}

/// Both of them, once they run.
#[track_caller]
pub(crate) fn stubborn(place: &Place) -> [Pid; 2] {
    ["outer", "inner"].map(|name| pid_in(&place.work().join(name)))
}

/// One that asks over HTTP.
pub(crate) struct Http<'a> {
    pub(crate) daemon: &'a Daemon<'a>,
    /// Path and query.
    pub(crate) address: String,
    pub(crate) headers: String,
}

/// An answer that is being read.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    body: Body,
}

enum Body {
    Whole(BufReader<TcpStream>),
    Chunked { stream: BufReader<TcpStream>, text: String },
}

impl<'a> Http<'a> {
    pub(crate) fn new(daemon: &'a Daemon<'a>) -> Self {
        let address = format!("/mcp?workspace={}", daemon.workspace());
        Self { daemon, address, headers: daemon.bearer() }
    }

    pub(crate) fn send(&self, method: &str, headers: &str, body: &str) -> Reply {
        let port = self.daemon.address.as_ref().unwrap();
        let mut stream = TcpStream::connect(port).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = if headers.contains("host: ") { "" } else { "host: localhost\r\n" };
        let request = format!(
            "{method} {} HTTP/1.1\r\n{host}{}{headers}connection: close\r\n\
             content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
             content-length: {}\r\n\r\n{body}",
            self.address,
            self.headers,
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut stream = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(stream.read_line(&mut head).unwrap(), 0, "{head}");
        }
        let head = head.to_ascii_lowercase();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match head.contains("transfer-encoding: chunked") {
            true => Body::Chunked { stream, text: String::new() },
            false => Body::Whole(stream),
        };
        Reply { status, head, body }
    }

    /// A request of a client without sessions.
    pub(crate) fn modern(&self, method: &str, name: Option<&str>, mut params: Value) -> Reply {
        let mut meta = meta();
        if let Some(token) = params["_meta"].get("progressToken") {
            meta["progressToken"] = token.clone();
        }
        params["_meta"] = meta;
        let name = name.map(|name| format!("mcp-name: {name}\r\n")).unwrap_or_default();
        let headers =
            format!("mcp-protocol-version: {WITHOUT_SESSIONS}\r\nmcp-method: {method}\r\n{name}");
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.send("POST", &headers, &body.to_string())
    }

    /// A tool's result.
    #[track_caller]
    pub(crate) fn result(&self, tool: &str, arguments: Value) -> Value {
        let params = json!({ "name": tool, "arguments": arguments });
        let mut reply = self.modern("tools/call", Some(tool), params).accepted();
        reply.answer()["result"].clone()
    }

    /// A request within a session.
    pub(crate) fn within(&self, session: &str, message: &Value) -> Reply {
        let headers =
            format!("mcp-session-id: {session}\r\nmcp-protocol-version: {WITH_HANDSHAKE}\r\n");
        self.send("POST", &headers, &message.to_string())
    }

    /// Shakes hands; returns the session's id.
    #[track_caller]
    pub(crate) fn shake_hands(&self) -> String {
        let body = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello() });
        let mut reply = self.send("POST", "", &body.to_string()).accepted();
        let at = reply.head.find("mcp-session-id: ").unwrap() + "mcp-session-id: ".len();
        let session = reply.head[at..].lines().next().unwrap().to_owned();
        assert_eq!(reply.answer()["result"]["serverInfo"]["name"], "stigmer");
        let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
        assert_eq!(self.within(&session, &ready).status, 202);
        session
    }
}

impl Reply {
    /// It is one that is worth reading.
    #[track_caller]
    fn accepted(mut self) -> Self {
        if self.status != 200 {
            let text = self.rest();
            panic!("{}: {text}", self.status);
        }
        self
    }

    /// What is left of the body.
    pub(crate) fn rest(&mut self) -> String {
        let mut all = String::new();
        match &mut self.body {
            Body::Whole(stream) => drop(stream.read_to_string(&mut all)),
            Body::Chunked { .. } => {
                while let Some(line) = self.line() {
                    all += &line;
                    all.push('\n');
                }
            }
        }
        all
    }

    /// The next line of a body that comes in chunks.
    fn line(&mut self) -> Option<String> {
        let Body::Chunked { stream, text } = &mut self.body else { return None };
        loop {
            if let Some(end) = text.find('\n') {
                let line = text[..end].trim_end().to_owned();
                text.drain(..=end);
                return Some(line);
            }
            let mut size = String::new();
            stream.read_line(&mut size).ok()?;
            let size = usize::from_str_radix(size.trim(), 16).ok().filter(|size| *size > 0)?;
            let mut chunk = vec![0; size + 2];
            stream.read_exact(&mut chunk).ok()?;
            *text += std::str::from_utf8(&chunk[..size]).unwrap();
        }
    }

    /// The next message, whether it comes alone or in a stream.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Value {
        if let Body::Whole(_) = self.body {
            return serde_json::from_str(&self.rest()).unwrap();
        }
        loop {
            let line = self.line().expect("a message before the stream ends");
            if let Some(data) = line.strip_prefix("data:").filter(|data| !data.trim().is_empty()) {
                return serde_json::from_str(data).unwrap();
            }
            if line.starts_with('{') {
                return serde_json::from_str(&line).unwrap();
            }
        }
    }

    /// The answer, behind all notifications.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Value {
        loop {
            let message = self.next();
            if message["method"].is_null() {
                return message;
            }
        }
    }
}
