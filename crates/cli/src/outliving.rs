//! Following a sandboxed command that the daemon started, also when the daemon goes.
//!
//! The command runs in a container and needs no daemon. So what watches over it goes through the
//! daemon for as long as that lives, and then straight to the container, as it does without a daemon.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use stigmer_api::RequestContext;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::process::{
    Execute, Executed, ExitStatus, OutputEvent, ProcessInfo, ReadOutput, SignalRequest,
    StartProcess, StartedProcess, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, UploadSummary, Watch};
use stigmer_core::{
    ByteStream, ByteString, Capabilities, ChangeStream, ErrorCode, FilePath, OutputStream,
    ProcessId, Result, ToolError, ToolExecutor, WorkspaceId,
};
use stigmer_engine::Engine;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A sandbox whose commands are followed by way of the daemon, and without it when it is gone.
/// What is no matter of a command that runs is asked of the daemon only.
pub(crate) struct Outliving {
    daemon: Arc<dyn ToolExecutor>,
    direct: Arc<Direct>,
}

/// The way that needs no daemon.
struct Direct {
    engine: Engine,
    workspace: WorkspaceId,
    /// Readable once the daemon has ended (`pidfd_open(2)`). Without it the daemon is never given up.
    end: Option<AsyncFd<OwnedFd>>,
}

impl Outliving {
    /// By way of the daemon with this process id; `engine` knows the same state.
    pub(crate) fn new(
        daemon: Arc<dyn ToolExecutor>,
        pid: u32,
        engine: Engine,
        workspace: WorkspaceId,
    ) -> Self {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let end = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        // SAFETY: what is registered owns the descriptor, which nobody else can close.
        let register = |end| unsafe { AsyncFd::register_with_interest(end, Interest::READABLE) };
        let end = end.and_then(|end| register(end).ok());
        Self { daemon, direct: Arc::new(Direct { engine, workspace, end }) }
    }

    /// What the daemon answers; nothing if it is gone, and the container is to be asked. `again` says
    /// whether a request that the daemon may have passed on already can be made once more.
    async fn by_daemon<T>(
        &self,
        again: bool,
        answer: impl Future<Output = Result<T>>,
    ) -> Option<Result<T>> {
        if self.direct.is_alone() {
            return None;
        }
        let answer = tokio::select! {
            biased;
            answer = answer => answer,
            () = self.direct.alone(), if again => return None,
        };
        let unseen = answer.as_ref().is_err_and(|error| error.code == ErrorCode::Unavailable);
        (!unseen || !self.direct.is_alone()).then_some(answer)
    }
}

/// Asks by way of the daemon, and without it if it is gone.
macro_rules! ask {
    ($self:ident, $again:expr, $method:ident, $id:expr $(, $argument:expr)*) => {{
        let answer = $self.daemon.$method($id $(, $argument.clone())*);
        match $self.by_daemon($again, answer).await {
            Some(answer) => answer,
            None => $self.direct.executor($id)?.$method($id $(, $argument)*).await,
        }
    }};
}

impl Direct {
    /// Waits until the daemon has ended.
    async fn alone(&self) {
        match &self.end {
            Some(end) => drop(end.readable().await),
            None => std::future::pending().await,
        }
    }

    /// Whether the daemon has ended.
    fn is_alone(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.end.as_ref().is_some_and(|end| {
            poll(&mut [PollFd::new(end.get_ref(), PollFlags::IN)], Some(&now)) == Ok(1)
        })
    }

    fn executor(&self, id: &ProcessId) -> Result<Arc<dyn ToolExecutor>> {
        let context = RequestContext::default();
        let executor = self.engine.executor_of(self.workspace.as_str(), &context);
        executor.map_err(|error| lonely(id, &error))
    }

    async fn output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let opened = self.executor(id)?.process_output(id, request).await;
        opened.map_err(|error| lonely(id, &error))
    }
}

fn gone() -> ToolError {
    ToolError::new(ErrorCode::Unavailable, "the daemon is gone")
}

/// The daemon is gone, and its command cannot be followed without it.
fn lonely(id: &ProcessId, error: &ToolError) -> ToolError {
    let message =
        format!("the daemon is gone, and {id} cannot be followed without it: {}", error.message);
    ToolError::new(ErrorCode::Unavailable, message).with_detail("process", id.as_str()).with_hint(
        format!(
            "it goes on, and is ended when nobody comes back: `stigmer server start`, then \
             `stigmer attach {id}`"
        ),
    )
}

/// How far the output of a command was read.
struct Reading {
    direct: Arc<Direct>,
    id: ProcessId,
    request: ReadOutput,
    /// By way of the daemon still.
    remote: bool,
}

/// The stream, and behind it what the container says if the daemon goes.
fn outlive(stream: OutputStream, reading: Reading) -> OutputStream {
    Box::pin(futures_util::stream::unfold(
        Some((stream, reading)),
        async |state: Option<(OutputStream, Reading)>| {
            let (mut stream, mut reading) = state?;
            let event = if reading.remote {
                let event = tokio::select! {
                    biased;
                    event = stream.next() => event,
                    () = reading.direct.alone() => Some(Err(gone())),
                };
                let broken = |event: &Result<OutputEvent>| {
                    event.as_ref().is_err_and(|error| error.code == ErrorCode::Unavailable)
                };
                if event.as_ref().is_some_and(broken) && reading.direct.is_alone() {
                    reading.remote = false;
                    match reading.direct.output(&reading.id, reading.request).await {
                        Ok(direct) => stream = direct,
                        Err(error) => return Some((Err(error), None)),
                    }
                    stream.next().await?
                } else {
                    event?
                }
            } else {
                stream.next().await?
            };
            match &event {
                Ok(OutputEvent::Output { offset, bytes, .. }) => {
                    reading.request.since = offset + bytes.len() as u64;
                }
                Ok(OutputEvent::Gap { offset, length, .. }) => {
                    reading.request.since = offset + length;
                }
                Ok(OutputEvent::Exit(_)) | Err(_) => {}
            }
            Some((event, Some((stream, reading))))
        },
    ))
}

#[async_trait]
impl ToolExecutor for Outliving {
    fn capabilities(&self) -> &Capabilities {
        self.daemon.capabilities()
    }

    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let remote = !self.direct.is_alone();
        let stream = match remote {
            true => self.daemon.process_output(id, request).await,
            false => Err(gone()),
        };
        let reading = Reading { direct: Arc::clone(&self.direct), id: id.clone(), request, remote };
        match stream {
            Err(error) if error.code == ErrorCode::Unavailable && self.direct.is_alone() => {
                self.direct.output(id, request).await
            }
            stream => Ok(outlive(stream?, reading)),
        }
    }
    /// Not repeated: bytes that were written twice would be read twice.
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        ask!(self, false, write_stdin, id, bytes)
    }
    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        ask!(self, true, close_stdin, id)
    }
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        // A signal that is sent twice arrives twice.
        let again = !matches!(request, SignalRequest::Send(_));
        ask!(self, again, signal, id, request)
    }
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        ask!(self, true, resize, id, size)
    }
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        ask!(self, true, wait, id)
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        ask!(self, true, process, id)
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        self.daemon.list_processes().await
    }
    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        self.daemon.read_file(request).await
    }
    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        self.daemon.stat_file(path).await
    }
    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        self.daemon.write_file(request).await
    }
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        self.daemon.edit_file(request).await
    }
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        self.daemon.delete_file(request).await
    }
    async fn move_path(&self, request: MovePath) -> Result<()> {
        self.daemon.move_path(request).await
    }
    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        self.daemon.make_directory(request).await
    }
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        self.daemon.list_directory(request).await
    }
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        self.daemon.search_files(request).await
    }
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        self.daemon.grep_search(request).await
    }
    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        self.daemon.watch(request).await
    }
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        self.daemon.upload(request, content).await
    }
    async fn download(&self, request: Download) -> Result<ByteStream> {
        self.daemon.download(request).await
    }
    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        self.daemon.start_process(request).await
    }
    async fn execute(&self, request: Execute) -> Result<Executed> {
        self.daemon.execute(request).await
    }
}
