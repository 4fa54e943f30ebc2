//! Clients that mean no good: each is refused or bounded, and meanwhile others are served.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use stigmer_api::client::{Client, ClientOptions, Endpoint, RemoteExecutor, Token};
use stigmer_core::file::ReadFile;
use stigmer_core::workspace::OpenWorkspace;
use stigmer_core::{ErrorCode, ToolExecutor};

/// What a daemon may take while it is attacked: it holds some megabytes for each of several clients.
const MOST_RESIDENT: u64 = 256 << 20;

/// How long an honest client's request may take meanwhile. A promise is a second; a machine that is
/// busy with other tests gets more.
const PATIENCE: Duration = Duration::from_secs(10);

/// A daemon on TCP.
struct Daemon {
    directory: tempfile::TempDir,
    address: String,
    token: String,
    pid: u64,
}

impl Daemon {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        std::fs::create_dir(path.join("work")).unwrap();
        std::fs::write(path.join("work/small"), "small\n").unwrap();
        let started =
            stigmer(&path).args(["server", "start", "--listen", "127.0.0.1:0"]).output().unwrap();
        assert!(started.status.success(), "{started:?}");
        let place = path.join("home/state/daemon");
        let record = std::fs::read(place.join("daemon.json")).unwrap();
        let record: Value = serde_json::from_slice(&record).unwrap();
        let token = std::fs::read_to_string(place.join("token")).unwrap().trim().to_owned();
        let address = record["tcp"].as_str().unwrap().to_owned();
        Self { directory, address, token, pid: record["pid"].as_u64().unwrap() }
    }

    fn work(&self) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join("work")
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let address = self.address.parse().unwrap();
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    fn head(&self, method: &str, path: &str, more: &str) -> String {
        let (address, token) = (&self.address, &self.token);
        format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
        )
    }

    /// A request's whole answer.
    fn ask(&self, head: &str, body: &str) -> std::io::Result<String> {
        let mut stream = self.connect()?;
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn post(&self, path: &str, body: &Value) -> String {
        let body = body.to_string();
        let more = format!(
            "Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n",
            body.len()
        );
        self.ask(&self.head("POST", path, &more), &body).unwrap()
    }

    /// What an honest client asks: health, and a small file.
    #[track_caller]
    fn serves(&self, meanwhile: &str) {
        let began = Instant::now();
        let head =
            format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address);
        let health = self.ask(&head, "").unwrap();
        assert!(health.starts_with("HTTP/1.1 200"), "{meanwhile}: {health}");
        let read = json!({ "workspace": self.work(), "path": "small" });
        let content = self.post("/v1/files/read", &read);
        assert!(content.contains(r#""small\n""#), "{meanwhile}: {content}");
        assert!(began.elapsed() < PATIENCE, "{meanwhile}: {:?}", began.elapsed());
        let resident = self.resident();
        assert!(resident < MOST_RESIDENT, "{meanwhile}: {resident} bytes resident");
    }

    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }
}

fn stigmer(path: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_stigmer"));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").stdin(Stdio::null());
    command.env("STIGMER_HOME", path.join("home")).current_dir(path.join("work"));
    command
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let path = self.directory.path().canonicalize().unwrap();
        let _ = stigmer(&path).args(["server", "stop", "--now"]).output();
    }
}

#[track_caller]
fn status(answer: &str) -> u16 {
    answer.get(9..12).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

#[test]
fn nobody_is_served_without_the_token_or_by_another_name() {
    let daemon = Daemon::start();
    let address = &daemon.address;
    let ask = |host: &str, more: &str| {
        let head = format!(
            "GET /v1/server/info HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{more}\r\n"
        );
        daemon.ask(&head, "").unwrap()
    };
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let good = bearer(&daemon.token);
    assert_eq!(status(&ask(address, &good)), 200);
    let half = &daemon.token[..32];
    for wrong in [
        String::new(),
        bearer("dummy-local-key"),
        bearer(""),
        bearer(half),
        format!("Authorization: Basic {}\r\n", daemon.token),
        format!("Authorization: {}\r\n", daemon.token),
    ] {
        let answer = ask(address, &wrong);
        assert_eq!(status(&answer), 401, "{wrong:?}: {answer}");
        assert!(answer.contains(r#""unauthenticated""#), "{answer}");
        assert!(!answer.contains(half), "{answer}");
    }
    for host in
        ["evil.example", "evil.example:50051", "localhost.evil.example", "127.0.0.1.evil.example"]
    {
        let answer = ask(host, &good);
        assert!([403, 421].contains(&status(&answer)), "{host}: {answer}");
    }
    let origin = format!("{good}Origin: http://evil.example\r\n");
    assert_eq!(status(&ask(address, &origin)), 403);
    for path in ["/metrics", "/openapi.json", "/v1/processes/list", "/anything"] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&daemon.ask(&head, "").unwrap()), 401, "{path}");
    }
    daemon.serves("after all that");
}

#[test]
fn a_body_that_never_ends_is_cut_off() {
    let daemon = Daemon::start();
    let whole: u64 = 1 << 30;
    for (name, more) in [
        ("announced", format!("Content-Length: {whole}\r\n")),
        ("in pieces", "Transfer-Encoding: chunked\r\n".to_owned()),
    ] {
        let mut stream = daemon.connect().unwrap();
        let more = format!("Content-Type: application/json\r\n{more}");
        stream.write_all(daemon.head("POST", "/v1/files/write", &more).as_bytes()).unwrap();
        let piece = vec![b' '; 1 << 20];
        let mut sent: u64 = 0;
        while sent < whole {
            let written = match name {
                "announced" => stream.write_all(&piece),
                _ => write!(stream, "{:x}\r\n", piece.len())
                    .and_then(|()| stream.write_all(&piece))
                    .and_then(|()| stream.write_all(b"\r\n")),
            };
            if written.is_err() {
                break;
            }
            sent += piece.len() as u64;
            assert!(
                daemon.resident() < MOST_RESIDENT,
                "{name}: {} after {sent}",
                daemon.resident()
            );
        }
        assert!(sent < whole, "{name}: all of it was taken");
        daemon.serves(name);
    }
}

#[test]
fn ten_thousand_idle_connections_and_slow_ones_keep_nobody_out() {
    let daemon = Daemon::start();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
    let most = limit.maximum.unwrap_or(u64::MAX).saturating_sub(200).min(10_000);
    let mut idle = Vec::new();
    for index in 0..most {
        match daemon.connect() {
            // Each third begins a request and never ends it.
            Ok(mut stream) => {
                if index % 3 == 0 {
                    let _ = stream.write_all(b"GET /v1/server/info HTTP/1.1\r\nHost: loc");
                }
                idle.push(stream);
            }
            Err(error) => panic!("connection {index}: {error}"),
        }
        if index % 2_500 == 2_499 {
            daemon.serves(&format!("{index} idle connections"));
        }
    }
    daemon.serves("all idle connections");
    // A request whose body comes byte by byte.
    let more = "Content-Type: application/json\r\nContent-Length: 1000\r\n";
    let head = daemon.head("POST", "/v1/files/read", more);
    let mut slow: Vec<TcpStream> = (0..200).map(|_| daemon.connect().unwrap()).collect();
    slow.iter_mut().for_each(|stream| stream.write_all(head.as_bytes()).unwrap());
    for _ in 0..3 {
        slow.iter_mut().for_each(|stream| drop(stream.write_all(b" ")));
        daemon.serves("slow bodies");
    }
    drop(slow);
    // Who never ends a request's head is sent away.
    let mut last = idle.pop().unwrap();
    last.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut bytes = Vec::new();
    let closed = last.read_to_end(&mut bytes);
    assert!(
        closed.is_ok() || closed.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
    );
}

#[test]
fn ten_thousand_requests_at_once_are_answered_or_told_to_wait() {
    let daemon = Arc::new(Daemon::start());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let probe = {
        let daemon = Arc::clone(&daemon);
        std::thread::spawn(move || {
            for _ in 0..20 {
                daemon.serves("ten thousand requests");
                std::thread::sleep(Duration::from_millis(50));
            }
        })
    };
    let (good, busy) = runtime.block_on(async {
        let token = Some(Token::new(&daemon.token).unwrap());
        let endpoint = Endpoint::Tcp { address: daemon.address.clone(), token };
        let options = ClientOptions::for_endpoint(&endpoint);
        let request = OpenWorkspace { path: daemon.work().into(), ..OpenWorkspace::default() };
        let client = Client::connect(endpoint, options);
        let executor = RemoteExecutor::open(client, request).await.unwrap();
        let read = || executor.read_file(ReadFile { path: "small".into(), ..ReadFile::default() });
        let all = futures_util::future::join_all((0..10_000).map(|_| read())).await;
        let (mut good, mut busy) = (0, 0);
        for result in all {
            match result {
                Ok(file) => {
                    assert_eq!(file.content.as_bytes(), b"small\n");
                    good += 1;
                }
                Err(error) => {
                    let told = [ErrorCode::Busy, ErrorCode::Unavailable, ErrorCode::OutOfResources];
                    assert!(told.contains(&error.code) && error.retryable, "{error:?}");
                    busy += 1;
                }
            }
        }
        (good, busy)
    });
    probe.join().unwrap();
    assert_eq!(good + busy, 10_000);
    assert!(good > 0, "nobody was served");
}

#[test]
fn a_reader_that_never_reads_costs_nothing() {
    let daemon = Daemon::start();
    let start = json!({
        "workspace": daemon.work(), "detached": true,
        "command": { "shell": "head -c 200000000 /dev/zero | tr '\\0' 'x'; sleep 60" },
    });
    let answer = daemon.post("/v1/processes/start", &start);
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let id = body["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/processes/output?id={id}&follow=until_exit");
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut stream = daemon.connect().unwrap();
        stream.write_all(daemon.head("GET", &path, "").as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        readers.push(stream);
    }
    for _ in 0..10 {
        daemon.serves("readers that never read");
        std::thread::sleep(Duration::from_millis(100));
    }
    drop(readers);
    let kill = json!({ "id": id, "signal": { "kill": {} } });
    assert_eq!(status(&daemon.post("/v1/processes/signal", &kill)), 200);
    daemon.serves("afterwards");
}
