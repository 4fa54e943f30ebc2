//! The operations in a container: those of its sidecar, which say where they ran and, when they
//! fail, whether the container is to blame.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use stigmer_api::client::RemoteExecutor;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::process::{
    Execute, Executed, ExitStatus, OutputEvent, ProcessInfo, ReadOutput, ResourceLimits,
    SignalRequest, StartProcess, StartedProcess, Stdin, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, UploadSummary, Watch};
use stigmer_core::{
    ByteStream, ByteString, Capabilities, Capability, ChangeStream, ErrorCode, FilePath,
    OutputStream, Place, ProcessId, Result, ToolError, ToolExecutor,
};

use crate::disk::DiskWatch;
use crate::engine::Engine;
use crate::root::{self, Directory};
use crate::warden::{Warden, because};

/// The backend's name.
pub(crate) const BACKEND: &str = "docker";

/// What a command in a container cannot have: descriptors and the environment of a caller outside.
const OUTSIDE: [Capability; 2] = [Capability::InheritStdin, Capability::CallerEnvironment];

/// A workspace's operations in its container.
#[derive(Debug)]
pub(crate) struct ContainerExecutor {
    inner: Arc<RemoteExecutor>,
    capabilities: Capabilities,
    warden: Arc<Warden>,
    /// If there is a limit to what it may write.
    disk: Option<Arc<DiskWatch>>,
    /// What its container has mounted, and where that should be.
    mounted: Option<(PathBuf, Directory)>,
}

impl ContainerExecutor {
    pub(crate) fn new(inner: RemoteExecutor, warden: Arc<Warden>) -> Self {
        let mut capabilities = inner.capabilities().clone();
        capabilities.backend = BACKEND.to_owned();
        capabilities.has.retain(|capability| !OUTSIDE.contains(capability));
        Self { inner: Arc::new(inner), capabilities, warden, disk: None, mounted: None }
    }

    /// Watches what it writes, as long as this lives.
    pub(crate) fn watched(mut self, engine: &Arc<Engine>, limit: Option<u64>) -> Self {
        let watch = |limit| {
            let (engine, commands) = (Arc::clone(engine), Arc::clone(&self.inner));
            Arc::new(DiskWatch::new(engine, self.warden.container(), limit, commands))
        };
        self.disk = limit.map(watch);
        self
    }

    /// A command that was ended for what it wrote is told so.
    fn ended(&self, id: &ProcessId, exit: &ExitStatus) -> Result<()> {
        let why = self.disk.as_ref().and_then(|disk| disk.why_ended(id, exit));
        why.map_or(Ok(()), Err)
    }

    /// One that does nothing once the workspace's path is that of another directory.
    pub(crate) fn bound_to(self, root: &Path, directory: Option<Directory>) -> Self {
        Self { mounted: directory.map(|directory| (root.to_owned(), directory)), ..self }
    }

    /// Makes sure that the container has the workspace's directory still. Commands that run already
    /// are looked after all the same.
    fn in_place(&self) -> Result<()> {
        match &self.mounted {
            Some((path, directory)) => root::check(path, *directory),
            None => Ok(()),
        }
    }

    /// Whether its container is known to be gone.
    pub(crate) fn is_gone(&self) -> bool {
        self.warden.is_gone()
    }

    async fn told<T>(&self, result: Result<T>) -> Result<T> {
        match result {
            Ok(done) => Ok(done),
            Err(error) => Err(explained(&self.warden, error).await),
        }
    }

    /// Refuses what no container can give, before the sidecar does it in its own name.
    fn check(&self, request: &StartProcess) -> Result<()> {
        let asked = [
            (Capability::CallerEnvironment, request.caller.is_some()),
            (Capability::User, request.user.is_some()),
            (Capability::Terminal, request.terminal.is_some()),
            (Capability::InheritStdin, matches!(request.stdin, Stdin::Inherit(_))),
            (Capability::ResourceLimits, request.limits != ResourceLimits::default()),
        ];
        let asked = asked.into_iter().filter(|(_, is_asked)| *is_asked);
        asked.map(|(capability, _)| capability).try_for_each(|one| self.capabilities.require(one))
    }
}

/// A failure of the connection, with its reason if that is the container.
async fn explained(warden: &Warden, error: ToolError) -> ToolError {
    let may_be_gone = matches!(
        error.code,
        ErrorCode::Unavailable
            | ErrorCode::CompletionUnknown
            | ErrorCode::DeadlineExceeded
            | ErrorCode::SupervisorUnreachable
    );
    if !may_be_gone {
        return error;
    }
    match warden.why_gone().await {
        Some(gone) => because(error, &gone),
        None => error,
    }
}

/// A stream whose failures are explained.
fn explaining<T: Send + 'static>(
    warden: &Arc<Warden>,
    stream: std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<T>> + Send>>,
) -> std::pin::Pin<Box<dyn futures_util::Stream<Item = Result<T>> + Send>> {
    let warden = Arc::clone(warden);
    Box::pin(stream.then(move |item| {
        let warden = Arc::clone(&warden);
        async move {
            match item {
                Ok(item) => Ok(item),
                Err(error) => Err(explained(&warden, error).await),
            }
        }
    }))
}

#[async_trait]
impl ToolExecutor for ContainerExecutor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        self.check(&request)?;
        self.in_place()?;
        let started = self.told(self.inner.start_process(request).await).await?;
        Ok(StartedProcess { place: Place::Container, ..started })
    }
    async fn execute(&self, request: Execute) -> Result<Executed> {
        self.check(&request.start)?;
        self.in_place()?;
        let executed = self.told(self.inner.execute(request).await).await?;
        self.ended(&executed.id, &executed.exit)?;
        Ok(Executed { place: Place::Container, ..executed })
    }
    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        self.in_place()?;
        let stream = self.told(self.inner.watch(request).await).await?;
        Ok(explaining(&self.warden, stream))
    }
    async fn download(&self, request: Download) -> Result<ByteStream> {
        self.in_place()?;
        let stream = self.told(self.inner.download(request).await).await?;
        Ok(explaining(&self.warden, stream))
    }
    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let stream = self.told(self.inner.process_output(id, request).await).await?;
        let Some(disk) = self.disk.clone() else { return Ok(explaining(&self.warden, stream)) };
        let id = id.clone();
        Ok(Box::pin(explaining(&self.warden, stream).map(move |event| match event {
            Ok(OutputEvent::Exit(exit)) => match disk.why_ended(&id, &exit) {
                Some(why) => Err(why),
                None => Ok(OutputEvent::Exit(exit)),
            },
            other => other,
        })))
    }

    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        self.in_place()?;
        self.told(self.inner.read_file(request).await).await
    }
    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        self.in_place()?;
        self.told(self.inner.stat_file(path).await).await
    }
    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        self.in_place()?;
        self.told(self.inner.write_file(request).await).await
    }
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        self.in_place()?;
        self.told(self.inner.edit_file(request).await).await
    }
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        self.in_place()?;
        self.told(self.inner.delete_file(request).await).await
    }
    async fn move_path(&self, request: MovePath) -> Result<()> {
        self.in_place()?;
        self.told(self.inner.move_path(request).await).await
    }
    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        self.in_place()?;
        self.told(self.inner.make_directory(request).await).await
    }
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        self.in_place()?;
        self.told(self.inner.list_directory(request).await).await
    }
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        self.in_place()?;
        self.told(self.inner.search_files(request).await).await
    }
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        self.in_place()?;
        self.told(self.inner.grep_search(request).await).await
    }
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        self.in_place()?;
        self.told(self.inner.upload(request, content).await).await
    }
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        self.told(self.inner.write_stdin(id, bytes).await).await
    }
    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        self.told(self.inner.close_stdin(id).await).await
    }
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        self.told(self.inner.signal(id, request).await).await
    }
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        self.told(self.inner.resize(id, size).await).await
    }
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        let exit = self.told(self.inner.wait(id).await).await?;
        self.ended(id, &exit)?;
        Ok(exit)
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        self.told(self.inner.process(id).await).await
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        self.told(self.inner.list_processes().await).await
    }
}
