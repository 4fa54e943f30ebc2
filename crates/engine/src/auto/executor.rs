//! The operations of a workspace in auto mode, for one request.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt as _;
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
    ByteStream, ByteString, Capabilities, ChangeStream, FilePath, OutputStream, ProcessId, Result,
    ToolError, ToolExecutor,
};

use super::{AutoWorkspace, CAPABILITIES};
use crate::homeless;
use crate::sandbox::Recorded;

/// A workspace in auto mode, as one request has it. Files are those on the host.
pub(crate) struct Automatic {
    pub(crate) workspace: Arc<AutoWorkspace>,
    pub(crate) context: RequestContext,
}

/// Asks whoever started a command: the host, or the sandbox.
macro_rules! ask_of {
    ($self:ident, $method:ident, $id:expr $(, $argument:expr)*) => {{
        let workspace = &$self.workspace;
        if workspace.host.knows($id) {
            return workspace.host.$method($id $(, $argument)*).await;
        }
        workspace.sandbox_of_command($id).await?.$method($id $(, $argument)*).await
    }};
}

impl AutoWorkspace {
    /// Who may know a command that the host does not.
    async fn sandbox_of_command(&self, id: &ProcessId) -> Result<Arc<dyn ToolExecutor>> {
        let unknown = || ToolError::unknown_process(id.as_str());
        let record = self.record()?.ok_or_else(unknown)?;
        let records = self.shared.sandboxes.records(&record.id);
        match (records, self.sandbox_of(&record)) {
            (Some(records), _) if !records.has(id) => Err(unknown()),
            (_, Ok(sandbox)) => Ok(sandbox),
            // Without what it takes to reach the sandbox, what is on disk can be told still.
            (Some(records), Err(_)) => Ok(records.executor()),
            (None, Err(error)) => Err(error),
        }
    }

    /// The commands in the sandbox. One that cannot be asked does not hide those of the host.
    async fn sandboxed_processes(&self) -> Result<Vec<ProcessInfo>> {
        let Some(record) = self.record()? else { return Ok(Vec::new()) };
        let records = self.shared.sandboxes.records(&record.id);
        let live = self.sandbox_of(&record).ok();
        Ok(homeless::list(Recorded { id: record.id, records, live }).await)
    }

    /// Whether the end of a command in the sandbox decides where others go.
    fn awaits(&self, id: &ProcessId) -> bool {
        self.shared.affinities().is_ok_and(|all| all.awaits(&self.sandbox, id))
    }
}

#[async_trait]
impl ToolExecutor for Automatic {
    fn capabilities(&self) -> &Capabilities {
        &CAPABILITIES
    }

    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        self.workspace.host.read_file(request).await
    }
    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        self.workspace.host.stat_file(path).await
    }
    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        self.workspace.host.write_file(request).await
    }
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        self.workspace.host.edit_file(request).await
    }
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        self.workspace.host.delete_file(request).await
    }
    async fn move_path(&self, request: MovePath) -> Result<()> {
        self.workspace.host.move_path(request).await
    }
    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        self.workspace.host.make_directory(request).await
    }
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        self.workspace.host.list_directory(request).await
    }
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        self.workspace.host.search_files(request).await
    }
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        self.workspace.host.grep_search(request).await
    }
    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        self.workspace.host.watch(request).await
    }
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        self.workspace.host.upload(request, content).await
    }
    async fn download(&self, request: Download) -> Result<ByteStream> {
        self.workspace.host.download(request).await
    }

    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        self.workspace.run(&self.context, request).await
    }
    async fn execute(&self, request: Execute) -> Result<Executed> {
        self.workspace.run(&self.context, request).await
    }

    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let workspace = &self.workspace;
        if workspace.host.knows(id) {
            return workspace.host.process_output(id, request).await;
        }
        let sandbox = workspace.sandbox_of_command(id).await?;
        let stream = sandbox.process_output(id, request).await?;
        if !workspace.awaits(id) {
            return Ok(stream);
        }
        let (workspace, id) = (Arc::clone(workspace), id.clone());
        Ok(Box::pin(stream.then(move |event| {
            let (workspace, id) = (Arc::clone(&workspace), id.clone());
            async move {
                if let Ok(OutputEvent::Exit(exit)) = &event {
                    workspace.settle(&id, Some(exit)).await;
                }
                event
            }
        })))
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
        let workspace = &self.workspace;
        if workspace.host.knows(id) {
            return workspace.host.wait(id).await;
        }
        let exit = workspace.sandbox_of_command(id).await?.wait(id).await?;
        if workspace.awaits(id) {
            workspace.settle(id, Some(&exit)).await;
        }
        Ok(exit)
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        ask_of!(self, process, id)
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        let mut all = self.workspace.host.list_processes().await?;
        let inside = self.workspace.sandboxed_processes().await?;
        if !inside.is_empty() {
            // What a sandbox says is its may be a command of the host's: that one is believed.
            all.extend(inside.into_iter().filter(|info| !self.workspace.host.knows(&info.id)));
            all.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        }
        Ok(all)
    }
}
