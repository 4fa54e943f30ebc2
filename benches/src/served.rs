//! The same operations through a server: what the way there and back costs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use stigmer_core::ToolExecutor;
use stigmer_core::file::{ReadFile, WriteFile};

use crate::commands::{bare, run_the_cli, run_true, thousand_in};
use crate::measure::{Budget, Row, compare, time};
use crate::servers::{Daemon, Sidecar};
use crate::{Bench, Outcome};

/// `true` through a server, on a connection that is there, against a bare fork and exec.
fn against_bare(
    bench: &Bench,
    way: &str,
    budget: Budget,
    executor: &impl ToolExecutor,
) -> Outcome<Row> {
    compare(
        &format!("execute `true`, {way}"),
        "fork + exec",
        budget,
        (bench.options.runs, bench.repeat(200)),
        || time(|| run_true(bench, executor)),
        || time(|| bare("true", &[])),
    )
}

/// Through the daemon, whose state makes the same difference as the engine's own.
pub(crate) fn execute(bench: &Bench) -> Outcome<Vec<Row>> {
    let daemon = Daemon::start(bench)?;
    let unix = daemon.open(bench, daemon.unix())?;
    let tcp = daemon.open(bench, daemon.tcp()?)?;
    let budget = Budget::ExtraMs(1.0);
    let mut rows = vec![against_bare(bench, "daemon, state on disk", budget, &unix)?];
    if let Ok(daemon) = Daemon::start_beneath(bench, Path::new("/dev/shm")) {
        let unix = daemon.open(bench, daemon.unix())?;
        rows.push(against_bare(bench, "daemon, state in memory", budget, &unix)?);
    }
    rows.push(against_bare(bench, "daemon, state on disk, TCP", Budget::None, &tcp)?);
    Ok(rows)
}

/// Through a sidecar.
pub(crate) fn execute_in_sidecar(bench: &Bench) -> Outcome<Vec<Row>> {
    let (unix, stdio) = (Sidecar::unix(bench)?, Sidecar::stdio(bench)?);
    let (over_unix, over_stdio) = (unix.open(bench)?, stdio.open(bench)?);
    Ok(vec![
        against_bare(bench, "sidecar, unix socket", Budget::None, &over_unix)?,
        against_bare(bench, "sidecar, stdin and stdout", Budget::None, &over_stdio)?,
    ])
}

/// The CLI as a whole process, which finds the daemon and asks it.
pub(crate) fn run(bench: &Bench) -> Outcome<Vec<Row>> {
    let daemon = Daemon::start(bench)?;
    let what = "`stigmer run true`, whole process, daemon";
    Ok(vec![run_the_cli(bench, what, daemon.home())?])
}

/// A thousand commands at once, from one client.
pub(crate) fn thousand(bench: &Bench) -> Outcome<Vec<Row>> {
    let daemon = Daemon::start(bench)?;
    let executor = daemon.open(bench, daemon.unix())?;
    Ok(vec![thousand_in(bench, "1,000 × `sleep 1` at once, daemon", &executor)?])
}

/// The file that is read and written.
const NAME: &str = "small.txt";

/// A small file: what moving it costs is little, so that the rest is seen.
fn content() -> String {
    "a line of 32 bytes for reading.\n".repeat((4 << 10) / 32)
}

fn read(bench: &Bench, executor: &impl ToolExecutor) -> Outcome<()> {
    let request = ReadFile { path: NAME.into(), ..ReadFile::default() };
    std::hint::black_box(bench.runtime.block_on(executor.read_file(request))?);
    Ok(())
}

fn write(bench: &Bench, executor: &impl ToolExecutor, text: &str) -> Outcome<()> {
    let request = WriteFile { path: NAME.into(), content: text.into(), ..WriteFile::default() };
    bench.runtime.block_on(executor.write_file(request))?;
    Ok(())
}

/// Reading and writing a small file, against the engine in process.
pub(crate) fn files(bench: &Bench) -> Outcome<Vec<Row>> {
    let text = content();
    std::fs::write(bench.workspace().join(NAME), &text)?;
    let daemon = Daemon::start(bench)?;
    let remote = daemon.open(bench, daemon.unix())?;
    let mut http = KeptAlive::connect(&daemon)?;
    let request = serde_json::json!({ "workspace": bench.workspace(), "path": NAME }).to_string();

    let against_embedded =
        |what: &str, ours: &mut dyn FnMut() -> Outcome<()>, theirs: &dyn Fn() -> Outcome<()>| {
            compare(
                what,
                "embedded",
                Budget::None,
                (bench.options.runs, bench.repeat(200)),
                || time(&mut *ours),
                || time(theirs),
            )
        };
    let embedded_read = || read(bench, &bench.executor);
    let embedded_write = || write(bench, &bench.executor, &text);
    Ok(vec![
        against_embedded("read_file, 4 KiB, daemon", &mut || read(bench, &remote), &embedded_read)?,
        against_embedded(
            "read_file, 4 KiB, daemon, HTTP and JSON over TCP",
            &mut || http.post("/v1/files/read", &request).map(drop),
            &embedded_read,
        )?,
        against_embedded(
            "write_file, 4 KiB, daemon",
            &mut || write(bench, &remote, &text),
            &embedded_write,
        )?,
    ])
}

/// As much HTTP as a plain client needs that keeps its connection.
struct KeptAlive {
    stream: BufReader<TcpStream>,
    head: String,
}

impl KeptAlive {
    fn connect(daemon: &Daemon) -> Outcome<Self> {
        let (address, token) = (&daemon.address, daemon.token()?);
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let head = format!(
            "host: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n"
        );
        Ok(Self { stream: BufReader::new(stream), head })
    }

    /// Asks, and gives what was answered.
    fn post(&mut self, path: &str, body: &str) -> Outcome<Vec<u8>> {
        let (head, length) = (&self.head, body.len());
        let request =
            format!("POST {path} HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}");
        self.stream.get_mut().write_all(request.as_bytes())?;
        let status = self.line()?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':').map(|(name, value)| (name, value.trim())) {
                Some(("content-length", value)) => length = value.parse()?,
                Some(("transfer-encoding", value)) => chunked = value == "chunked",
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = Vec::new();
        if !chunked {
            self.take(length, &mut answer)?;
        }
        while chunked {
            let length = usize::from_str_radix(&self.line()?, 16)?;
            self.take(length, &mut answer)?;
            self.line()?;
            chunked = length > 0;
        }
        if status.split(' ').nth(1) == Some("200") {
            return Ok(answer);
        }
        Err(format!("{path}: {status}: {}", String::from_utf8_lossy(&answer)).into())
    }

    /// The next line without its end.
    fn line(&mut self) -> Outcome<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        if line.is_empty() {
            return Err("the server closed the connection".into());
        }
        Ok(line.trim_end().to_owned())
    }

    fn take(&mut self, length: usize, into: &mut Vec<u8>) -> Outcome<()> {
        let begin = into.len();
        into.resize(begin + length, 0);
        Ok(self.stream.read_exact(&mut into[begin..])?)
    }
}
