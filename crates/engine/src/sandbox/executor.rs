//! The operations in a sandbox, whatever becomes of its container meanwhile.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::manager::{Listener, PlaceFate, Site};
use stigmer_core::process::{
    EndReason, Execute, Executed, ExitStatus, Follow, OutputEvent, ProcessInfo, ProcessState,
    ReadOutput, SignalRequest, StartProcess, StartedProcess, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, UploadSummary, Watch};
use stigmer_core::workspace::Preparation;
use stigmer_core::{
    ByteStream, ByteString, Capabilities, Capability, ChangeStream, ErrorCode, FilePath,
    OutputStream, Place, ProcessId, Result, ToolError, ToolExecutor,
};
use stigmer_host::HostExecutor;

use crate::homeless::not_lost;

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
    /// made or changed to be asked about commands, whatever settings it was made with.
    async fn commands(&self) -> Result<Option<Arc<dyn ToolExecutor>>> {
        match self.slot.attached() {
            Some(executor) => Ok(Some(executor)),
            None => self.attach().await,
        }
    }

    /// The same, looked for anew.
    async fn attach(&self) -> Result<Option<Arc<dyn ToolExecutor>>> {
        let manager = self.sandboxes.manager(&self.wanted.options)?;
        let executor = manager.attach(&self.site).await?;
        if let Some(executor) = &executor {
            self.slot.attach(executor);
        }
        Ok(executor)
    }

    /// What is on disk of a command that has ended, for when its place is there and cannot be asked:
    /// what has no end there may run still.
    async fn ended(&self, id: &ProcessId, error: ToolError) -> Result<Arc<HostExecutor>> {
        let Ok(recorded) = self.recorded(id) else { return Err(error) };
        match recorded.process(id).await {
            Ok(info) if info.state == ProcessState::Exited => Ok(recorded),
            _ => Err(error),
        }
    }

    /// What follows a command's output where its place goes while somebody reads.
    fn rest(&self, executor: &Arc<dyn ToolExecutor>, id: &ProcessId, request: ReadOutput) -> Rest {
        Rest {
            slot: Arc::clone(&self.slot),
            executor: Arc::clone(executor),
            records: self.sandboxes.records(&self.site.workspace),
            id: id.clone(),
            request,
            at: request.since,
        }
    }

    /// The commands of this sandbox, as `on_disk` has them where it cannot be asked.
    pub(crate) async fn list(
        &self,
        on_disk: impl AsyncFnOnce() -> Result<Vec<ProcessInfo>>,
    ) -> Result<Vec<ProcessInfo>> {
        let mut found = self.commands().await;
        if let Ok(Some(executor)) = &found {
            let answer = executor.list_processes().await;
            if !self.is_gone(executor, &answer) {
                return answer;
            }
            found = self.attach().await;
            if let Ok(Some(executor)) = &found {
                return executor.list_processes().await;
            }
        }
        let mut all = on_disk().await?;
        match found {
            Ok(_) => self.explain(&mut all).await,
            Err(error) => all = all.into_iter().map(|info| unasked(info, &error)).collect(),
        }
        Ok(all)
    }

    /// Says of commands that are lost what became of their place, if that is known.
    async fn explain(&self, all: &mut [ProcessInfo]) {
        if all.iter().all(|info| info.state != ProcessState::Lost) {
            return;
        }
        let Some(fate) = self.fate().await else { return };
        for info in all {
            if info.state == ProcessState::Lost
                && let Ok(recorded) = self.recorded(&info.id)
                && let Ok(mut exit) = recorded.wait(&info.id).await
            {
                lost_with(&mut exit, &fate);
                info.exit = Some(exit).filter(|exit| exit.cause.is_some());
            }
        }
    }

    /// What became of the place, for those who learn only now that it is gone.
    async fn fate(&self) -> Option<PlaceFate> {
        self.sandboxes.manager(&self.wanted.options).ok()?.fate(&self.site).await
    }

    /// The output of a command whose place is gone.
    async fn output_on_disk(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let stream = self.recorded(id)?.process_output(id, request).await?;
        let manager = self.sandboxes.manager(&self.wanted.options)?;
        let site = self.site.clone();
        Ok(Box::pin(stream.then(move |event| {
            let (manager, site) = (Arc::clone(&manager), site.clone());
            async move {
                match event {
                    Ok(OutputEvent::Exit(mut exit)) if exit.reason == EndReason::Lost => {
                        if let Some(fate) = manager.fate(&site).await {
                            lost_with(&mut exit, &fate);
                        }
                        Ok(OutputEvent::Exit(exit))
                    }
                    event => event,
                }
            }
        })))
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

/// Asks the place about a command, and the disk if there is no place any more. If there is one that
/// cannot be asked, the disk is only believed that a command has ended.
macro_rules! ask_of {
    ($self:ident, $method:ident, $id:expr $(, $argument:expr)*) => {{
        let mut found = $self.commands().await;
        if let Ok(Some(executor)) = &found {
            let answer = executor.$method($id $(, $argument.clone())*).await;
            if !$self.is_gone(executor, &answer) {
                return answer;
            }
            // Another may be there by now.
            found = $self.attach().await;
            if let Ok(Some(executor)) = &found {
                return executor.$method($id $(, $argument)*).await;
            }
        }
        match found {
            Ok(_) => $self.recorded($id)?.$method($id $(, $argument)*).await,
            Err(error) => $self.ended($id, error).await?.$method($id $(, $argument)*).await,
        }
    }};
}

/// What is on disk of a command whose place could not be asked.
fn unasked(info: ProcessInfo, error: &ToolError) -> ProcessInfo {
    match error.code == ErrorCode::DeadlineExceeded || is_paused(error) {
        true => not_lost(info),
        false => info,
    }
}

fn is_paused(error: &ToolError) -> bool {
    error.details.get("cause") == Some(&"container_paused".into())
}

/// Says of a command that is lost what became of its place.
fn because(exit: &mut ExitStatus, gone: &ToolError) {
    if exit.reason == EndReason::Lost && gone.details.contains_key("cause") {
        let hint = gone.hint.iter().map(|hint| format!("; {hint}"));
        exit.cause = Some(std::iter::once(gone.message.clone()).chain(hint).collect());
    }
}

/// The same of a place of which one learns later, unless the command was lost before it was made.
fn lost_with(exit: &mut ExitStatus, fate: &PlaceFate) {
    if exit.ended_ms.saturating_sub(exit.duration_ms) >= fate.created_ms {
        because(exit, &fate.reason);
    }
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
        let mut found = self.commands().await;
        if let Ok(Some(executor)) = &found {
            let stream = executor.process_output(id, request).await;
            if !self.is_gone(executor, &stream) {
                return Ok(self.rest(executor, id, request).after(stream?));
            }
            // Another may be there by now.
            found = self.attach().await;
            if let Ok(Some(executor)) = &found {
                let stream = executor.process_output(id, request).await?;
                return Ok(self.rest(executor, id, request).after(stream));
            }
        }
        match found {
            Ok(_) => self.output_on_disk(id, request).await,
            // What was written so far is on disk; how it goes on is not.
            Err(error) if request.follow == Follow::No => match self.recorded(id) {
                Ok(recorded) => recorded.process_output(id, request).await,
                Err(_) => Err(error),
            },
            Err(error) => self.ended(id, error).await?.process_output(id, request).await,
        }
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
        let mut found = self.commands().await;
        let mut gone = None;
        if let Ok(Some(executor)) = &found {
            let answer = executor.wait(id).await;
            if !self.is_gone(executor, &answer) {
                return answer;
            }
            gone = answer.err();
            found = self.attach().await;
            if let Ok(Some(executor)) = &found {
                return executor.wait(id).await;
            }
        }
        let recorded = match found {
            Ok(_) => self.recorded(id)?,
            Err(error) => self.ended(id, error).await?,
        };
        let mut exit = recorded.wait(id).await?;
        if let Some(gone) = gone {
            because(&mut exit, &gone);
        }
        if exit.reason == EndReason::Lost
            && exit.cause.is_none()
            && let Some(fate) = self.fate().await
        {
            lost_with(&mut exit, &fate);
        }
        Ok(exit)
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        let mut found = self.commands().await;
        if let Ok(Some(executor)) = &found {
            let answer = executor.process(id).await;
            if !self.is_gone(executor, &answer) {
                return answer;
            }
            found = self.attach().await;
            if let Ok(Some(executor)) = &found {
                return executor.process(id).await;
            }
        }
        match (found, self.recorded(id)) {
            (Ok(_), recorded) => {
                let mut info = recorded?.process(id).await?;
                self.explain(std::slice::from_mut(&mut info)).await;
                Ok(info)
            }
            (Err(error), Err(_)) => Err(error),
            (Err(error), Ok(recorded)) => {
                recorded.process(id).await.map(|info| unasked(info, &error))
            }
        }
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        self.list(async || match self.sandboxes.records(&self.site.workspace) {
            Some(records) => records.list().await,
            None => Ok(Vec::new()),
        })
        .await
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
                let gone = event.as_ref().err().filter(|e| e.code == ErrorCode::Unavailable);
                match (gone.cloned(), rest.take()) {
                    (Some(gone), Some(rest)) => match rest.open(gone).await {
                        Some(mut again) => {
                            let event = again.next().await?;
                            Some((event, (again, None)))
                        }
                        None => Some((event, (stream, None))),
                    },
                    (_, rest) => Some((event, (stream, rest))),
                }
            },
        ))
    }

    async fn open(self, gone: ToolError) -> Option<OutputStream> {
        self.slot.drop_dead(&self.executor);
        // One that is there still may go on with it.
        if is_paused(&gone) {
            return None;
        }
        let records = self.records.filter(|all| all.has(&self.id))?;
        let request = ReadOutput { since: self.at, ..self.request };
        let stream = records.executor().process_output(&self.id, request).await.ok()?;
        Some(Box::pin(stream.map(move |event| match event {
            Ok(OutputEvent::Exit(mut exit)) => {
                because(&mut exit, &gone);
                Ok(OutputEvent::Exit(exit))
            }
            event => event,
        })))
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
