//! The operations in a sandbox, whatever becomes of its container meanwhile.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::manager::{Listener, PlaceState, Site};
use stigmer_core::process::{
    Execute, Executed, ExitStatus, OutputEvent, ProcessInfo, ReadOutput, SignalRequest,
    StartProcess, StartedProcess, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, UploadSummary, Watch};
use stigmer_core::workspace::Preparation;
use stigmer_core::{
    ByteStream, ByteString, Capabilities, Capability, ChangeStream, ErrorCode, FilePath,
    OutputStream, Place, ProcessId, Result, ToolError, ToolExecutor,
};
use stigmer_host::HostExecutor;

use super::{Sandboxes, Slot, Wanted};

/// A workspace's sandbox. Its place is made by its first use, and made anew by the next use when it
/// is gone: what could be lost with it was lost when it went.
pub(crate) struct Sandboxed {
    sandboxes: Arc<Sandboxes>,
    slot: Arc<Slot>,
    site: Site,
    wanted: Wanted,
}

static CAPABILITIES: LazyLock<Capabilities> = LazyLock::new(capabilities);

/// What can be done in a sandbox: what the host can, except what would let the caller's environment
/// or descriptors in.
pub(crate) fn capabilities() -> Capabilities {
    let mut has = HostExecutor::can().has;
    has.retain(|capability| {
        !matches!(capability, Capability::InheritStdin | Capability::CallerEnvironment)
    });
    Capabilities { backend: "docker".to_owned(), has }
}

impl Sandboxed {
    pub(super) fn new(
        sandboxes: Arc<Sandboxes>,
        slot: Arc<Slot>,
        site: Site,
        wanted: Wanted,
    ) -> Self {
        Self { sandboxes, slot, site, wanted }
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &FilePath {
        &self.site.root
    }

    /// Makes the place ready, and tells how far it is.
    pub(crate) async fn prepare(
        &self,
        preparation: Preparation,
        listener: Listener<'_>,
    ) -> Result<Arc<dyn ToolExecutor>> {
        let (slot, site) = (&self.slot, &self.site);
        self.sandboxes.open(slot, site, &self.wanted, preparation, listener).await
    }

    async fn opened(&self) -> Result<Arc<dyn ToolExecutor>> {
        self.prepare(Preparation::Open, &|_| ()).await
    }

    /// Whether a request was not seen by anybody because its place is gone. It is let go of then.
    fn is_gone<T>(&self, executor: &Arc<dyn ToolExecutor>, answer: &Result<T>) -> bool {
        let gone = answer.as_ref().is_err_and(|error| error.code == ErrorCode::Unavailable);
        if gone {
            self.slot.drop_dead(executor);
        }
        gone
    }

    /// Who knows the commands of this sandbox: what is in it, if that is there already. No place is
    /// made to be asked about commands that ended with another.
    async fn commands(&self) -> Result<Option<Arc<dyn ToolExecutor>>> {
        if let Some(held) = self.slot.held() {
            return Ok(Some(held.executor));
        }
        let manager = self.sandboxes.manager(&self.wanted.options)?;
        match manager.status(&self.site).await?.state {
            PlaceState::Ready | PlaceState::Creating => self.opened().await.map(Some),
            _ => Ok(None),
        }
    }

    /// What is on disk of a command.
    fn recorded(&self, id: &ProcessId) -> Result<Arc<HostExecutor>> {
        let records = self.sandboxes.records(&self.site.workspace).filter(|all| all.has(id));
        let records = records.ok_or_else(|| ToolError::unknown_process(id.as_str()))?;
        Ok(records.executor())
    }

    /// Refuses what would let the caller's circumstances in.
    fn check(request: &StartProcess) -> Result<()> {
        if request.caller.is_some() {
            CAPABILITIES.require(Capability::CallerEnvironment)?;
        }
        Ok(())
    }
}

/// Asks the place, and once more a new one if nobody was there to see it.
macro_rules! ask {
    ($self:ident, $method:ident, $request:expr) => {{
        let request = $request;
        let executor = $self.opened().await?;
        let answer = executor.$method(request.clone()).await;
        if $self.is_gone(&executor, &answer) {
            $self.opened().await?.$method(request).await
        } else {
            answer
        }
    }};
}

/// Asks the place about a command, and the disk if there is no place any more.
macro_rules! ask_of {
    ($self:ident, $method:ident, $id:expr $(, $argument:expr)*) => {{
        match $self.commands().await {
            Ok(Some(executor)) => {
                let answer = executor.$method($id $(, $argument.clone())*).await;
                if $self.is_gone(&executor, &answer) {
                    $self.recorded($id)?.$method($id $(, $argument)*).await
                } else {
                    answer
                }
            }
            Ok(None) => $self.recorded($id)?.$method($id $(, $argument)*).await,
            // Without an engine there is the disk; what is not there, nobody can tell.
            Err(error) => match $self.recorded($id) {
                Ok(recorded) => recorded.$method($id $(, $argument)*).await,
                Err(_) => Err(error),
            },
        }
    }};
}

#[async_trait]
impl ToolExecutor for Sandboxed {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        ask!(self, read_file, request)
    }
    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        ask!(self, stat_file, path)
    }
    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        ask!(self, write_file, request)
    }
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        ask!(self, edit_file, request)
    }
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        ask!(self, delete_file, request)
    }
    async fn move_path(&self, request: MovePath) -> Result<()> {
        ask!(self, move_path, request)
    }
    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        ask!(self, make_directory, request)
    }
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        ask!(self, list_directory, request)
    }
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        ask!(self, search_files, request)
    }
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        ask!(self, grep_search, request)
    }
    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        ask!(self, watch, request)
    }
    async fn download(&self, request: Download) -> Result<ByteStream> {
        ask!(self, download, request)
    }
    /// The content can be had once only.
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        let executor = self.opened().await?;
        let answer = executor.upload(request, content).await;
        self.is_gone(&executor, &answer);
        answer
    }

    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        Self::check(&request)?;
        let started: Result<StartedProcess> = ask!(self, start_process, request);
        started.map(|started| StartedProcess { place: Place::Container, ..started })
    }
    async fn execute(&self, request: Execute) -> Result<Executed> {
        Self::check(&request.start)?;
        let executed: Result<Executed> = ask!(self, execute, request);
        executed.map(|executed| Executed { place: Place::Container, ..executed })
    }

    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let since = request.since;
        let executor = match self.commands().await {
            Ok(Some(executor)) => executor,
            Ok(None) => return self.recorded(id)?.process_output(id, request).await,
            Err(error) => match self.recorded(id) {
                Ok(recorded) => return recorded.process_output(id, request).await,
                Err(_) => return Err(error),
            },
        };
        let stream = executor.process_output(id, request).await;
        if self.is_gone(&executor, &stream) {
            return self.recorded(id)?.process_output(id, request).await;
        }
        // When the place goes while somebody reads, what was written is on disk still.
        let rest = Rest {
            slot: Arc::clone(&self.slot),
            executor,
            records: self.sandboxes.records(&self.site.workspace),
            id: id.clone(),
            request,
            at: since,
        };
        Ok(rest.after(stream?))
    }
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        ask_of!(self, write_stdin, id, bytes)
    }
    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        ask_of!(self, close_stdin, id)
    }
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        ask_of!(self, signal, id, request)
    }
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        ask_of!(self, resize, id, size)
    }
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        ask_of!(self, wait, id)
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        ask_of!(self, process, id)
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        let recorded = || self.sandboxes.records(&self.site.workspace);
        let live = match self.commands().await {
            Ok(Some(executor)) => {
                let answer = executor.list_processes().await;
                if !self.is_gone(&executor, &answer) {
                    return answer;
                }
                answer
            }
            Ok(None) => Ok(Vec::new()),
            Err(error) => Err(error),
        };
        match recorded() {
            Some(records) => records.list().await,
            None => live,
        }
    }
}

/// The output of a command of which a part was read.
struct Rest {
    slot: Arc<Slot>,
    executor: Arc<dyn ToolExecutor>,
    records: Option<super::Records>,
    id: ProcessId,
    request: ReadOutput,
    at: u64,
}

impl Rest {
    /// The stream, and behind it what is on disk if it breaks.
    fn after(self, stream: OutputStream) -> OutputStream {
        Box::pin(futures_util::stream::unfold(
            (stream, Some(self)),
            async |(mut stream, mut rest)| {
                let event = stream.next().await?;
                if let (Ok(event), Some(rest)) = (&event, &mut rest) {
                    rest.at = end_of(event).unwrap_or(rest.at);
                }
                let gone = event.as_ref().is_err_and(|e| e.code == ErrorCode::Unavailable);
                match rest.take() {
                    Some(rest) if gone => match rest.open().await {
                        Some(mut again) => {
                            let event = again.next().await?;
                            Some((event, (again, None)))
                        }
                        None => Some((event, (stream, None))),
                    },
                    rest => Some((event, (stream, rest))),
                }
            },
        ))
    }

    async fn open(self) -> Option<OutputStream> {
        self.slot.drop_dead(&self.executor);
        let records = self.records.filter(|all| all.has(&self.id))?;
        let request = ReadOutput { since: self.at, ..self.request };
        records.executor().process_output(&self.id, request).await.ok()
    }
}

/// The offset behind an event.
fn end_of(event: &OutputEvent) -> Option<u64> {
    match event {
        OutputEvent::Output { offset, bytes, .. } => {
            offset.checked_add(u64::try_from(bytes.as_bytes().len()).ok()?)
        }
        OutputEvent::Gap { offset, length, .. } => offset.checked_add(*length),
        _ => None,
    }
}
