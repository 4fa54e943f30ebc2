//! Being the client of a command: its output to ours, our signals and input to it.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use stigmer_core::process::{
    ExitStatus, GapReason, OutputEvent, OutputKind, ReadOutput, SignalRequest,
};
use stigmer_core::{Capture, ErrorCode, OutputStream, ProcessId, ToolError, ToolExecutor};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::context;
use crate::output::{Failure, Output};
use crate::terminal::{self, RawTerminal};

/// Pieces of output that wait for whoever reads ours. A slow reader makes the command wait.
const PIECES: usize = 4;

/// Bytes of input read at a time: each piece is a request of its own that is waited for, and a pipe
/// holds as much (`pipe(7)`). A terminal gives 4096 at most.
const INPUT: usize = 64 << 10;

/// What to do when whoever reads our output goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BrokenPipe {
    /// The command shall learn it, as it would have without us.
    Tell,
    /// It is the command's no matter.
    Leave,
}

/// Which of the signals that we get are the command's; the others end us and not it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passing {
    /// All of them: we stand for the command.
    All,
    /// What a person types: Ctrl-C and Ctrl-\.
    Keys,
    /// None: we only look on.
    None,
}

impl Passing {
    fn passes(self, number: i32) -> bool {
        match self {
            Self::All => true,
            Self::Keys => matches!(number, libc::SIGINT | libc::SIGQUIT),
            Self::None => false,
        }
    }
}

/// How a session is held.
#[derive(Debug)]
pub(crate) struct Options {
    /// What to read.
    pub(crate) read: ReadOutput,
    /// When output cannot be written any more.
    pub(crate) broken_pipe: BrokenPipe,
    /// Which signals are passed on.
    pub(crate) passing: Passing,
    /// Our standard input is passed on.
    pub(crate) pass_input: bool,
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

/// Readiness to be a command's client: from here on no signal ends us unheard.
pub(crate) struct Session {
    signals: Signals,
    resized: Resized,
    terminal: bool,
}

impl Session {
    /// Listens to signals. If the command has a `terminal`, its size is passed on and ours does
    /// nothing by itself.
    pub(crate) fn new(terminal: bool) -> Result<Self, Failure> {
        Ok(Self { signals: Signals::new()?, resized: Resized::new(terminal)?, terminal })
    }

    /// Follows a command until it ends, or the user leaves.
    pub(crate) async fn follow(
        mut self,
        executor: &Arc<dyn ToolExecutor>,
        id: &ProcessId,
        options: Options,
        sink: Sink<'_>,
    ) -> Result<End, Failure> {
        let stream = executor.process_output(id, options.read).await?;
        let raw = if self.terminal { RawTerminal::enter() } else { None };
        let (leave, mut left) = mpsc::channel(1);
        if options.pass_input {
            pass_input(executor, id, raw.is_some(), leave)?;
        }
        let written = Arc::new(AtomicU64::new(options.read.since));
        let mut exit = None;
        let mut passed = None;
        let result = {
            let pump = pump(stream, sink, &written, &mut exit);
            tokio::pin!(pump);
            loop {
                tokio::select! {
                    result = &mut pump => break Some(result),
                    () = self.resized.next() => {
                        if let Some(size) = terminal::size() {
                            let _ = executor.resize(id, size).await;
                        }
                    }
                    number = self.signals.next() => {
                        if !options.passing.passes(number) {
                            break None;
                        }
                        passed = Some(number);
                        // What has ended takes no signal: then only our reader keeps us, and the
                        // signal is for us.
                        if executor.signal(id, SignalRequest::Send(number)).await.is_err() {
                            break None;
                        }
                    }
                    Some(()) = left.recv() => break None,
                }
            }
        };
        drop(raw);
        if let Some(Err(failure)) = result {
            if options.broken_pipe == BrokenPipe::Tell {
                tell_broken_pipe(executor, id).await;
            }
            return Err(failure);
        }
        let offset = written.load(Ordering::Acquire);
        match (exit, result) {
            (Some(exit), _) => Ok(End::Exit { exit, passed }),
            (None, Some(_)) => Ok(End::Edge { offset }),
            (None, None) => Ok(End::Left { offset }),
        }
    }
}

/// Takes events to where they go. `written` is the offset after what is out.
async fn pump(
    mut stream: OutputStream,
    mut sink: Sink<'_>,
    written: &Arc<AtomicU64>,
    exit: &mut Option<ExitStatus>,
) -> Result<(), Failure> {
    let mut writer = match sink {
        Sink::Write => Some(Writer::start(written)?),
        Sink::Capture(..) | Sink::Json(_) => None,
    };
    loop {
        let event = match &writer {
            Some(writer) => tokio::select! {
                event = stream.next() => event,
                // Whoever read our output went away, which a quiet command shall learn, too.
                () = writer.pieces.closed() => break,
            },
            None => stream.next().await,
        };
        let Some(event) = event else { break };
        let event = event?;
        if let Sink::Json(output) = &mut sink {
            output.json(&event)?;
            output.flush()?;
        }
        match (&mut sink, event) {
            (_, OutputEvent::Exit(how)) => *exit = Some(how),
            (Sink::Capture(stdout, stderr), OutputEvent::Output { stream, bytes, .. }) => {
                let capture = if stream == OutputKind::Stderr { stderr } else { stdout };
                capture.push(bytes.as_bytes());
            }
            (Sink::Capture(stdout, _), OutputEvent::Gap { length, .. }) => stdout.skip(length),
            (Sink::Json(_), OutputEvent::Output { offset, bytes, .. }) => {
                written.store(offset + bytes.len() as u64, Ordering::Release);
            }
            (Sink::Json(_), OutputEvent::Gap { offset, length, .. }) => {
                written.store(offset + length, Ordering::Release);
            }
            (Sink::Write, event) => {
                let Some(writer) = &mut writer else { continue };
                if writer.pieces.send(event).await.is_err() {
                    break;
                }
            }
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
    pieces: mpsc::Sender<OutputEvent>,
    /// How it ended.
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Writer {
    fn start(written: &Arc<AtomicU64>) -> Result<Self, Failure> {
        let (pieces, mut queue) = mpsc::channel(PIECES);
        let (end, ended) = oneshot::channel();
        let written = Arc::clone(written);
        thread("output", move || {
            let mut result = Ok(());
            while result.is_ok() {
                let Some(piece) = queue.blocking_recv() else { break };
                result = match piece {
                    OutputEvent::Output { offset, stream, bytes } => {
                        write_out(stream, bytes.as_bytes(), offset, &written)
                    }
                    OutputEvent::Gap { offset, length, reason } => {
                        say_gap(offset, length, reason);
                        written.store(offset + length, Ordering::Release);
                        Ok(())
                    }
                    OutputEvent::Exit(_) => Ok(()),
                };
            }
            drop(queue);
            // Nobody waits for it when a signal has ended the session.
            let _ = end.send(result);
        })?;
        Ok(Self { pieces, ended })
    }

    async fn finish(self) -> Result<(), Failure> {
        let Self { pieces, ended } = self;
        drop(pieces);
        let broke_off = |_| Err(io::Error::other("the writing thread broke off"));
        ended.await.unwrap_or_else(broke_off).map_err(Failure::Stdout)
    }
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map(drop).map_err(|error| {
        let message = format!("cannot start a thread for {name}: {error}");
        let error = ToolError::new(ErrorCode::OutOfResources, message);
        error.with_hint("the user is at the limit of processes (`ulimit -u`)").into()
    })
}

/// Writes a piece out; `written` follows byte by byte, so that a session that is stopped knows where.
fn write_out(
    stream: OutputKind,
    mut bytes: &[u8],
    offset: u64,
    written: &AtomicU64,
) -> io::Result<()> {
    let end = offset + bytes.len() as u64;
    let target = match stream {
        OutputKind::Stderr => rustix::stdio::stderr(),
        OutputKind::Stdout | OutputKind::Terminal => rustix::stdio::stdout(),
    };
    let is_pipe = rustix::fs::fstat(target)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Fifo);
    while !bytes.is_empty() {
        let result =
            if is_pipe { write_pipe(target, bytes) } else { rustix::io::write(target, bytes) };
        match result {
            Ok(count) => {
                bytes = &bytes[count..];
                written.store(end - bytes.len() as u64, Ordering::Release);
            }
            Err(Errno::INTR) => {}
            // The pipe is full, or somebody who shares our output has made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&target, PollFlags::OUT)], None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Writes as much as a pipe takes now. An ordinary write would block until it has taken all, and
/// nobody could tell meanwhile how much it has.
fn write_pipe(target: BorrowedFd<'_>, bytes: &[u8]) -> rustix::io::Result<usize> {
    /// The current position (`pwritev2(2)`): a pipe has no other.
    const HERE: u64 = u64::MAX;
    /// What a pipe that can be polled for writing takes without blocking (`pipe(7)`, PIPE_BUF).
    const ATOMIC: usize = 4096;
    match pwritev2(target, &[IoSlice::new(bytes)], HERE, ReadWriteFlags::NOWAIT) {
        // Kernels before 6.4.
        Err(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS | Errno::SPIPE) => {
            poll(&mut [PollFd::new(&target, PollFlags::OUT)], None)?;
            rustix::io::write(target, &bytes[..bytes.len().min(ATOMIC)])
        }
        result => result,
    }
}

/// Sends what comes on our standard input to the command.
fn pass_input(
    executor: &Arc<dyn ToolExecutor>,
    id: &ProcessId,
    keys: bool,
    leave: mpsc::Sender<()>,
) -> Result<(), Failure> {
    let (pieces, mut queue) = mpsc::channel::<Option<Vec<u8>>>(PIECES);
    thread("input", move || {
        let mut buffer = vec![0; INPUT];
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
                // A terminal that hung up: nobody is there, which is not what they typed.
                Err(_) => return,
            };
            if keys && piece.is_none() {
                return;
            }
            if keys && piece.as_deref().is_some_and(|piece| detach.complete_in(piece)) {
                let _ = leave.blocking_send(());
                return;
            }
            let last = piece.is_none();
            if pieces.blocking_send(piece).is_err() || last {
                return;
            }
        }
    })?;
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
    Ok(())
}

/// Lets a command learn that nobody reads its output any more: the signal that its own write would
/// have brought it, and an end if it does not care.
async fn tell_broken_pipe(executor: &Arc<dyn ToolExecutor>, id: &ProcessId) {
    /// Time to end by itself.
    const PATIENCE: Duration = Duration::from_secs(1);
    if executor.signal(id, SignalRequest::Send(libc::SIGPIPE)).await.is_ok()
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
