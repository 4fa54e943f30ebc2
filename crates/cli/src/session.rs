//! Being the client of a command: its output to ours, our signals and input to it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use stigmer_core::process::{
    ExitStatus, GapReason, OutputEvent, OutputKind, ReadOutput, SignalRequest,
};
use stigmer_core::{ByteString, Capture, OutputStream, ProcessId, ToolExecutor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use crate::context;
use crate::output::{Failure, Output};
use crate::terminal::{self, RawTerminal};

/// Pieces of output that wait for whoever reads ours. A slow reader makes the command wait.
const PIECES: usize = 4;

/// Bytes of input read at a time: what a terminal gives at most (`n_tty`).
const INPUT: usize = 4096;

/// What to do when whoever reads our output goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokenPipe {
    /// The command shall learn it, as it would have without us.
    Tell,
    /// It is the command's no matter.
    Leave,
}

/// How a session is held.
#[derive(Debug)]
pub(crate) struct Options {
    /// What to read.
    pub(crate) read: ReadOutput,
    /// When output cannot be written any more.
    pub(crate) broken_pipe: BrokenPipe,
    /// Signals that we get are passed on; else they end us.
    pub(crate) pass_signals: bool,
    /// Our standard input is passed on.
    pub(crate) pass_input: bool,
    /// The command has a terminal: pass on its size, and let ours do nothing by itself.
    pub(crate) terminal: bool,
}

/// How a session ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The command ended.
    Exit {
        /// How.
        exit: ExitStatus,
        /// The last signal that we passed on.
        passed: Option<i32>,
    },
    /// The output that was asked for is out; the command goes on.
    Edge {
        /// The offset after it.
        offset: u64,
    },
    /// The user left, or a signal ended the following; the command goes on.
    Left {
        /// The offset after what was written out.
        offset: u64,
    },
}

/// Where output goes.
pub(crate) enum Sink<'a> {
    /// To our own standard output and error, as it comes.
    Write,
    /// Into memory, the beginning and the end of each.
    Capture(&'a mut Capture, &'a mut Capture),
    /// As one JSON object an event.
    Json(&'a mut Output),
}

/// Follows a command until it ends, or the user leaves.
pub(crate) async fn follow(
    executor: &Arc<dyn ToolExecutor>,
    id: &ProcessId,
    options: Options,
    sink: Sink<'_>,
) -> Result<End, Failure> {
    let stream = executor.process_output(id, options.read).await?;
    let (mut signals, mut resized) = (Signals::new()?, Resized::new(options.terminal)?);
    let raw = if options.terminal { RawTerminal::enter() } else { None };
    let (leave, mut left) = mpsc::channel(1);
    if options.pass_input {
        pass_input(executor, id, raw.is_some(), leave);
    }
    let mut progress = Progress { offset: options.read.since, exit: None };
    let mut passed = None;
    let result = {
        let pump = pump(stream, sink, &mut progress);
        tokio::pin!(pump);
        loop {
            tokio::select! {
                result = &mut pump => break Some(result),
                () = resized.next() => {
                    if let Some(size) = terminal::size() {
                        let _ = executor.resize(id, size).await;
                    }
                }
                number = signals.next() => {
                    if !options.pass_signals {
                        break None;
                    }
                    passed = Some(number);
                    // One that has just ended needs no signal.
                    let _ = executor.signal(id, SignalRequest::Send(number)).await;
                }
                Some(()) = left.recv() => break None,
            }
        }
    };
    drop(raw);
    match result {
        None => Ok(End::Left { offset: progress.offset }),
        Some(Ok(())) => match progress.exit {
            Some(exit) => Ok(End::Exit { exit, passed }),
            None => Ok(End::Edge { offset: progress.offset }),
        },
        Some(Err(failure)) => {
            if options.broken_pipe == BrokenPipe::Tell {
                tell_broken_pipe(executor, id).await;
            }
            Err(failure)
        }
    }
}

/// What has come so far.
struct Progress {
    offset: u64,
    exit: Option<ExitStatus>,
}

async fn pump(
    mut stream: OutputStream,
    mut sink: Sink<'_>,
    progress: &mut Progress,
) -> Result<(), Failure> {
    let mut writer = None;
    while let Some(event) = stream.next().await {
        let event = event?;
        if let Sink::Json(output) = &mut sink {
            output.json(&event)?;
            output.flush()?;
        }
        match event {
            OutputEvent::Output { offset, stream, bytes } => {
                progress.offset = offset + bytes.len() as u64;
                match &mut sink {
                    Sink::Json(_) => {}
                    Sink::Capture(_, stderr) if stream == OutputKind::Stderr => {
                        stderr.push(bytes.as_bytes());
                    }
                    Sink::Capture(stdout, _) => stdout.push(bytes.as_bytes()),
                    Sink::Write => {
                        writer.get_or_insert_with(Writer::start).write(stream, bytes).await?;
                    }
                }
            }
            OutputEvent::Gap { offset, length, reason } => {
                progress.offset = offset + length;
                match &mut sink {
                    Sink::Json(_) => {}
                    Sink::Capture(stdout, _) => stdout.skip(length),
                    Sink::Write => say_gap(offset, length, reason),
                }
            }
            OutputEvent::Exit(exit) => progress.exit = Some(exit),
        }
    }
    match writer {
        Some(writer) => writer.finish().await,
        None => Ok(()),
    }
}

fn say_gap(offset: u64, length: u64, reason: GapReason) {
    let why = match reason {
        GapReason::OverCap => "the output outgrew its cap (setting output_cap)",
        GapReason::DiskFull => "the disk was full",
    };
    Output::to_stderr(format_args!(
        "stigmer: {length} bytes are missing here, from offset {offset}: {why}"
    ));
}

/// Writes to our standard output and error in a thread of its own, so that a reader who does not
/// read never keeps us from passing on a signal.
struct Writer {
    pieces: mpsc::Sender<(OutputKind, ByteString)>,
    thread: std::thread::JoinHandle<io::Result<()>>,
}

impl Writer {
    fn start() -> Self {
        let (pieces, mut queue) = mpsc::channel::<(OutputKind, ByteString)>(PIECES);
        let thread = std::thread::spawn(move || {
            while let Some((stream, bytes)) = queue.blocking_recv() {
                write_out(stream, bytes.as_bytes())?;
            }
            Ok(())
        });
        Self { pieces, thread }
    }

    async fn write(&mut self, stream: OutputKind, bytes: ByteString) -> Result<(), Failure> {
        if self.pieces.send((stream, bytes)).await.is_err() {
            // The thread ended, which it does before its time only for an error.
            let broken = io::Error::from(io::ErrorKind::BrokenPipe);
            return Err(Failure::Stdout(broken));
        }
        Ok(())
    }

    async fn finish(self) -> Result<(), Failure> {
        let Self { pieces, thread } = self;
        drop(pieces);
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        match joined {
            Ok(Ok(result)) => result.map_err(Failure::Stdout),
            _ => Err(Failure::Stdout(io::Error::other("the writing thread broke off"))),
        }
    }
}

fn write_out(stream: OutputKind, mut bytes: &[u8]) -> io::Result<()> {
    let target = match stream {
        OutputKind::Stderr => rustix::stdio::stderr(),
        OutputKind::Stdout | OutputKind::Terminal => rustix::stdio::stdout(),
    };
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Somebody who shares our output has made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&target, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends what comes on our standard input to the command.
fn pass_input(
    executor: &Arc<dyn ToolExecutor>,
    id: &ProcessId,
    keys: bool,
    leave: mpsc::Sender<()>,
) {
    let (pieces, mut queue) = mpsc::channel::<Option<Vec<u8>>>(PIECES);
    std::thread::spawn(move || {
        let mut buffer = [0; INPUT];
        let mut detach = terminal::DetachKeys::default();
        loop {
            let piece = match rustix::io::read(rustix::stdio::stdin(), &mut buffer) {
                Ok(0) => None,
                Ok(count) => Some(buffer[..count].to_vec()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {
                    let stdin = rustix::stdio::stdin();
                    let _ = poll(&mut [PollFd::new(&stdin, PollFlags::IN)], None);
                    continue;
                }
                Err(_) => None,
            };
            if keys && piece.as_deref().is_some_and(|piece| detach.complete_in(piece)) {
                let _ = leave.blocking_send(());
                return;
            }
            let last = piece.is_none();
            if pieces.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    let (executor, id) = (Arc::clone(executor), id.clone());
    tokio::spawn(async move {
        while let Some(piece) = queue.recv().await {
            let result = match piece {
                Some(bytes) => executor.write_stdin(&id, bytes.into()).await,
                None => executor.close_stdin(&id).await,
            };
            // A command that has closed its input, or ended, wants no more.
            if result.is_err() {
                return;
            }
        }
    });
}

/// Lets a command learn that nobody reads its output any more: the signal that its own write would
/// have brought it, and an end if it does not care.
async fn tell_broken_pipe(executor: &Arc<dyn ToolExecutor>, id: &ProcessId) {
    /// `SIGPIPE` has this number on every Linux.
    const SIGPIPE: i32 = 13;
    /// Time to end by itself.
    const PATIENCE: Duration = Duration::from_secs(1);
    if executor.signal(id, SignalRequest::Send(SIGPIPE)).await.is_ok()
        && tokio::time::timeout(PATIENCE, executor.wait(id)).await.is_err()
    {
        let _ = executor.signal(id, SignalRequest::Cancel).await;
    }
}

/// The signals that end a command, or us.
struct Signals([(i32, Signal); 4]);

impl Signals {
    fn new() -> Result<Self, Failure> {
        let ending = |kind: SignalKind| listen(kind).map(|signal| (kind.as_raw_value(), signal));
        Ok(Self([
            ending(SignalKind::interrupt())?,
            ending(SignalKind::terminate())?,
            ending(SignalKind::hangup())?,
            ending(SignalKind::quit())?,
        ]))
    }

    async fn next(&mut self) -> i32 {
        let [a, b, c, d] = &mut self.0;
        tokio::select! {
            _ = a.1.recv() => a.0,
            _ = b.1.recv() => b.0,
            _ = c.1.recv() => c.0,
            _ = d.1.recv() => d.0,
        }
    }
}

/// Changes of our terminal's size; none if the command has no terminal.
struct Resized(Option<Signal>);

impl Resized {
    fn new(terminal: bool) -> Result<Self, Failure> {
        Ok(Self(terminal.then(|| listen(SignalKind::window_change())).transpose()?))
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}

fn listen(kind: SignalKind) -> Result<Signal, Failure> {
    Ok(signal(kind).map_err(|error| context::io("listen to", "signals", &error))?)
}
