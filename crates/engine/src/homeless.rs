//! The executor of no workspace: it knows the commands of all, and refuses what needs one.

use std::sync::Arc;

use async_trait::async_trait;
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
    ToolError, ToolExecutor,
};

/// Looks after commands wherever they were started. `inner` knows them all.
pub(crate) struct Homeless {
    pub(crate) inner: Arc<dyn ToolExecutor>,
}

fn refused<T>() -> Result<T> {
    Err(ToolError::invalid_argument("workspace", "name a workspace")
        .with_hint("an absolute path, or the id that opening one returned"))
}

#[async_trait]
impl ToolExecutor for Homeless {
    fn capabilities(&self) -> &Capabilities {
        self.inner.capabilities()
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

    async fn read_file(&self, _: ReadFile) -> Result<FileContent> {
        refused()
    }
    async fn stat_file(&self, _: FilePath) -> Result<FileStat> {
        refused()
    }
    async fn write_file(&self, _: WriteFile) -> Result<WriteSummary> {
        refused()
    }
    async fn edit_file(&self, _: EditFile) -> Result<EditSummary> {
        refused()
    }
    async fn delete_file(&self, _: DeleteFile) -> Result<DeleteSummary> {
        refused()
    }
    async fn move_path(&self, _: MovePath) -> Result<()> {
        refused()
    }
    async fn make_directory(&self, _: MakeDirectory) -> Result<()> {
        refused()
    }
    async fn list_directory(&self, _: ListDirectory) -> Result<Listing> {
        refused()
    }
    async fn search_files(&self, _: SearchFiles) -> Result<FoundFiles> {
        refused()
    }
    async fn grep_search(&self, _: GrepSearch) -> Result<GrepMatches> {
        refused()
    }
    async fn watch(&self, _: Watch) -> Result<ChangeStream> {
        refused()
    }
    async fn upload(&self, _: Upload, _: ByteStream) -> Result<UploadSummary> {
        refused()
    }
    async fn download(&self, _: Download) -> Result<ByteStream> {
        refused()
    }
    async fn start_process(&self, _: StartProcess) -> Result<StartedProcess> {
        refused()
    }
    async fn execute(&self, _: Execute) -> Result<Executed> {
        refused()
    }
}
