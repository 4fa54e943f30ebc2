//! The executor of no workspace: it knows the commands of all, and refuses what needs one.

use std::sync::Arc;

use async_trait::async_trait;
use stigmer_core::file::{
    DeleteFile, DeleteSummary, EditFile, EditSummary, FileContent, FileStat, ListDirectory,
    Listing, MakeDirectory, MovePath, ReadFile, WriteFile, WriteSummary,
};
use stigmer_core::process::{
    Execute, Executed, ExitStatus, ProcessInfo, ProcessState, ReadOutput, SignalRequest,
    StartProcess, StartedProcess, TerminalSize,
};
use stigmer_core::search::{FoundFiles, GrepMatches, GrepSearch, SearchFiles};
use stigmer_core::transfer::{Download, Upload, UploadSummary, Watch};
use stigmer_core::{
    ByteStream, ByteString, Capabilities, ChangeStream, ErrorCode, FilePath, OutputStream,
    ProcessId, Result, ToolError, ToolExecutor,
};

use crate::sandbox::{Recorded, Sandboxes};

/// Looks after commands wherever they were started.
pub(crate) struct Homeless {
    /// Knows all commands on the host.
    pub(crate) host: Arc<dyn ToolExecutor>,
    /// Those of sandboxes.
    pub(crate) sandboxes: Arc<Sandboxes>,
}

impl Homeless {
    /// Who knows a command.
    async fn of(&self, id: &ProcessId) -> Result<Arc<dyn ToolExecutor>> {
        let on_host = self.host.process(id).await;
        if !on_host.is_err_and(|error| error.code == ErrorCode::UnknownProcess) {
            return Ok(Arc::clone(&self.host));
        }
        // Where the records cannot be seen from here the sandbox itself is asked, behind the others.
        let (seen, unseen): (Vec<Recorded>, Vec<Recorded>) =
            self.sandboxes.recorded().into_iter().partition(|found| found.records.is_some());
        for Recorded { records, live } in seen {
            let Some(records) = records.filter(|records| records.has(id)) else { continue };
            return Ok(match live {
                Some(live) => live,
                None => records.executor(),
            });
        }
        for live in unseen.into_iter().filter_map(|found| found.live) {
            if live.process(id).await.is_ok() {
                return Ok(live);
            }
        }
        Err(ToolError::unknown_process(id.as_str()))
    }
}

fn refused<T>() -> Result<T> {
    Err(ToolError::invalid_argument("workspace", "name a workspace")
        .with_hint("an absolute path, or the id that opening one returned"))
}

#[async_trait]
impl ToolExecutor for Homeless {
    fn capabilities(&self) -> &Capabilities {
        self.host.capabilities()
    }

    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        self.of(id).await?.process_output(id, request).await
    }
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        self.of(id).await?.write_stdin(id, bytes).await
    }
    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        self.of(id).await?.close_stdin(id).await
    }
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        self.of(id).await?.signal(id, request).await
    }
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        self.of(id).await?.resize(id, size).await
    }
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        self.of(id).await?.wait(id).await
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        self.of(id).await?.process(id).await
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        let mut all = self.host.list_processes().await?;
        for Recorded { records, live } in self.sandboxes.recorded() {
            let on_disk = match &records {
                Some(records) => records.list().await.unwrap_or_default(),
                None => Vec::new(),
            };
            // What seems to be lost may run where its supervisor cannot be seen from here. One
            // sandbox that cannot be asked must not hide the others.
            let unsure =
                records.is_none() || on_disk.iter().any(|found| found.state == ProcessState::Lost);
            let asked = match live.filter(|_| unsure) {
                Some(live) => live.list_processes().await.ok(),
                None => None,
            };
            all.extend(asked.unwrap_or(on_disk));
        }
        all.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        Ok(all)
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
