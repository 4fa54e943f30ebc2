//! A daemon of a test's own, and as much HTTP as it takes to ask it something.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::{Value, json};

use super::{Place, Ran};

/// How long anything may take that takes a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon in a place. It ends with the test.
pub(crate) struct Daemon<'a> {
    pub(crate) place: &'a Place,
    pub(crate) pid: Pid,
    pub(crate) socket: PathBuf,
    pub(crate) address: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }
}

impl<'a> Daemon<'a> {
    /// Starts one on a port that is free.
    #[track_caller]
    pub(crate) fn start(place: &'a Place) -> Self {
        Self::start_with(place, &[], &["--listen", "127.0.0.1:0"])
    }

    #[track_caller]
    pub(crate) fn start_with(
        place: &'a Place,
        variables: &[(&str, &str)],
        arguments: &[&str],
    ) -> Self {
        let words = [&["--json", "server", "start"], arguments].concat();
        Self::of(place, &place.run_with(variables, &words).ok())
    }

    /// The daemon that a start has told of.
    #[track_caller]
    pub(crate) fn of(place: &'a Place, ran: &Ran) -> Self {
        let record = ran.json();
        let pid = i32::try_from(record["pid"].as_i64().unwrap()).unwrap();
        Self {
            place,
            pid: Pid::from_raw(pid).unwrap(),
            socket: record["socket"].as_str().unwrap().into(),
            address: record["tcp"].as_str().map(str::to_owned),
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Ends it as a crash would, and waits until it is gone.
    pub(crate) fn crash(&self) {
        self.signal(Signal::KILL);
        self.gone();
    }

    /// Waits until it is gone.
    pub(crate) fn gone(&self) {
        until("the daemon is gone", || !lives(self.pid));
    }

    /// Asks over the socket.
    pub(crate) fn ask(&self, path: &str, request: &Value) -> Answer {
        post(self.try_connect().unwrap(), path, "", request)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        exchange(
            UnixStream::connect(&self.socket).unwrap(),
            &head("GET", path, "localhost", ""),
            "",
        )
    }

    /// A connection to the socket, on which nobody waits for ever; nothing if nobody listens.
    pub(crate) fn try_connect(&self) -> Option<UnixStream> {
        let stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Some(stream)
    }

    /// Asks over TCP, with these headers.
    pub(crate) fn ask_tcp(&self, path: &str, headers: &str, request: &Value) -> Answer {
        let address = self.address.as_ref().unwrap();
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        post(stream, path, headers, request)
    }

    pub(crate) fn bearer(&self) -> String {
        let token = std::fs::read_to_string(self.place.daemon().join("token")).unwrap();
        format!("authorization: Bearer {}\r\n", token.trim())
    }

    /// The workspace's name in requests.
    pub(crate) fn workspace(&self) -> String {
        self.place.work().to_str().unwrap().to_owned()
    }

    /// Starts a command that goes on without a client; returns its id.
    pub(crate) fn start_command(&self, line: &str) -> String {
        let request = json!({
            "workspace": self.workspace(),
            "command": { "shell": line },
            "detached": true,
        });
        self.ask("/v1/processes/start", &request).ok()["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        if lives(self.pid) {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }
}

impl Place {
    /// The daemon's directory.
    pub(crate) fn daemon(&self) -> PathBuf {
        self.home().join("state/daemon")
    }

    pub(crate) fn daemon_log(&self) -> String {
        std::fs::read_to_string(self.daemon().join("log")).unwrap_or_default()
    }
}

/// Whether a process is there and not just waiting to be buried.
pub(crate) fn lives(pid: Pid) -> bool {
    if pidfd_open(pid, PidfdFlags::empty()).is_err() {
        return false;
    }
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits until something is so that says so to nobody.
#[track_caller]
pub(crate) fn until(what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn head(method: &str, path: &str, host: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{headers}")
}

pub(crate) fn post(
    stream: impl Read + Write,
    path: &str,
    headers: &str,
    request: &Value,
) -> Answer {
    let body = request.to_string();
    let mut head = head("POST", path, "localhost", headers);
    head += &format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
    exchange(stream, &head, &body)
}

fn exchange(mut stream: impl Read + Write, head: &str, body: &str) -> Answer {
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Answer { status, body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        if size == 0 {
            break;
        }
        whole += &rest[..size];
        body = &rest[size + 2..];
    }
    whole
}

/// Hands a file's descriptor over under a ticket; returns what the door answered.
pub(crate) fn hand_over(door: &Path, ticket: &str, file: &std::fs::File) -> Vec<u8> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    use std::os::fd::AsFd;
    let mut client = UnixStream::connect(door).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [file.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let message = format!("{ticket}\n");
    let parts = [std::io::IoSlice::new(message.as_bytes())];
    sendmsg(&client, &parts, &mut control, SendFlags::NOSIGNAL).unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).unwrap();
    answer
}

/// Starts what the place's command line would start, with standard output and error piped.
pub(crate) fn piped(place: &Place, arguments: &[&str]) -> std::process::Child {
    let mut command: Command = place.command(arguments);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command.spawn().unwrap()
}
