//! What an executor changes is told to the journal.

use std::sync::Arc;

use async_trait::async_trait;
use stigmer_api::RequestContext;
use stigmer_core::event::{Event, EventKind};
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::process::{
    Execute, Executed, ExitStatus, ProcessInfo, ReadOutput, SignalRequest, StartProcess,
    StartedProcess, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, UploadSummary, Watch};
use stigmer_core::{
    ByteStream, ByteString, Capabilities, ChangeStream, FilePath, OutputStream, ProcessId, Result,
    ToolExecutor, is_traceparent,
};
use stigmer_host::journal::{self, Journal};

/// An executor for one request. Of commands their supervisors tell themselves.
pub(crate) struct Audited {
    pub(crate) inner: Arc<dyn ToolExecutor>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) workspace: FilePath,
    pub(crate) context: RequestContext,
}

/// Appends an event. What was done is done: a journal that cannot be written fails no request.
pub(crate) fn tell(
    journal: &Journal,
    workspace: FilePath,
    context: &RequestContext,
    kind: EventKind,
) {
    let request_id = Some(context.request_id.clone()).filter(|id| !id.is_empty());
    let _ = journal.append(&Event { request_id, ..journal::event(workspace, kind) });
}

impl Audited {
    fn changed(&self, operation: &str, path: FilePath) {
        let kind = EventKind::FilesChanged { operation: operation.to_owned(), path };
        tell(&self.journal, self.workspace.clone(), &self.context, kind);
    }

    /// A command belongs to the trace of the request that starts it, if it names no other.
    fn traced(&self, mut request: StartProcess) -> StartProcess {
        if request.traceparent.is_none() {
            let own = self.context.traceparent.clone();
            request.traceparent = own.filter(|text| is_traceparent(text));
        }
        request
    }
}

#[async_trait]
impl ToolExecutor for Audited {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
    }

    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        let path = request.path.clone();
        let done = self.inner.write_file(request).await?;
        self.changed("write_file", path);
        Ok(done)
    }
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        let path = request.path.clone();
        let done = self.inner.edit_file(request).await?;
        self.changed("edit_file", path);
        Ok(done)
    }
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        let path = request.path.clone();
        let done = self.inner.delete_file(request).await?;
        if !done.was_already_deleted {
            self.changed("delete_file", path);
        }
        Ok(done)
    }
    async fn move_path(&self, request: MovePath) -> Result<()> {
        let (from, to) = (request.from.clone(), request.to.clone());
        self.inner.move_path(request).await?;
        self.changed("move_path", from);
        self.changed("move_path", to);
        Ok(())
    }
    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        let path = request.path.clone();
        self.inner.make_directory(request).await?;
        self.changed("make_directory", path);
        Ok(())
    }
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        let path = request.path.clone();
        let done = self.inner.upload(request, content).await?;
        self.changed("upload", path);
        Ok(done)
    }
    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        self.inner.start_process(self.traced(request)).await
    }
    async fn execute(&self, request: Execute) -> Result<Executed> {
        let start = self.traced(request.start);
        self.inner.execute(Execute { start, ..request }).await
    }

    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        self.inner.read_file(request).await
    }
    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        self.inner.stat_file(path).await
    }
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        self.inner.list_directory(request).await
    }
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        self.inner.search_files(request).await
    }
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        self.inner.grep_search(request).await
    }
    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        self.inner.watch(request).await
    }
    async fn download(&self, request: Download) -> Result<ByteStream> {
        self.inner.download(request).await
    }
    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        self.inner.process_output(id, request).await
    }
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        self.inner.write_stdin(id, bytes).await
    }
    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        self.inner.close_stdin(id).await
    }
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        self.inner.signal(id, request).await
    }
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        self.inner.resize(id, size).await
    }
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        self.inner.wait(id).await
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        self.inner.process(id).await
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        self.inner.list_processes().await
    }
}
