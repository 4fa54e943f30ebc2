//! The executor of no workspace: it knows the commands of all, and refuses what needs one.

use std::sync::Arc;
use std::time::Duration;

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
    ProcessId, Result, ToolError, ToolExecutor, WorkspaceId,
};

use crate::sandbox::{Recorded, Sandboxes};

/// Looks after commands wherever they were started.
pub(crate) struct Homeless {
    /// Knows all commands on the host.
    pub(crate) host: Arc<dyn ToolExecutor>,
    /// Those of sandboxes.
    pub(crate) sandboxes: Arc<Sandboxes>,
    /// The sandbox that is meant where several say that they know a command.
    pub(crate) named: Option<WorkspaceId>,
}

/// How long one sandbox may take to say what it knows. It is a millisecond where all is well, and one
/// that does not answer must not hold up what is asked of the others.
const ASKING: Duration = Duration::from_secs(3);

impl Homeless {
    /// Who knows a command. What is in a sandbox can say that it knows any: if several do, none is
    /// believed, unless it is the one that was named.
    async fn of(&self, id: &ProcessId) -> Result<Arc<dyn ToolExecutor>> {
        let on_host = self.host.process(id).await;
        if !on_host.is_err_and(|error| error.code == ErrorCode::UnknownProcess) {
            return Ok(Arc::clone(&self.host));
        }
        let asked = self.sandboxes.recorded().into_iter().map(|found| knows(found, id));
        let all = futures_util::future::join_all(asked).await;
        let mut all: Vec<_> = all.into_iter().flatten().collect();
        if all.len() > 1
            && let Some(named) = all.iter().position(|(id, _)| self.named.as_ref() == Some(id))
        {
            all.swap(0, named);
            all.truncate(1);
        }
        match all.pop() {
            None => Err(ToolError::unknown_process(id.as_str())),
            Some((_, executor)) if all.is_empty() => Ok(executor),
            Some((last, _)) => {
                let ids: Vec<String> =
                    all.iter().map(|(id, _)| id).chain([&last]).map(ToString::to_string).collect();
                let reason =
                    format!("several sandboxes say that {id} is theirs: {}", ids.join(", "));
                Err(ToolError::invalid_argument("process", reason)
                    .with_detail("workspaces", ids)
                    .with_hint(
                        "all but one of them lie; name the directory it was started in: `--workspace DIR`",
                    ))
            }
        }
    }
}

/// Whether a sandbox says that it knows a command. Where its records cannot be seen from here it is
/// asked itself.
async fn knows(
    Recorded { id, records, live }: Recorded,
    process: &ProcessId,
) -> Option<(WorkspaceId, Arc<dyn ToolExecutor>)> {
    let executor = match (records, live) {
        (Some(records), live) => {
            if !records.has(process) {
                return None;
            }
            live.map_or_else(|| records.executor() as Arc<dyn ToolExecutor>, |live| live as _)
        }
        (None, Some(live)) => {
            tokio::time::timeout(ASKING, live.process(process)).await.ok()?.ok()?;
            live
        }
        (None, None) => return None,
    };
    Some((id, executor))
}

/// What a sandbox knows of its commands.
pub(crate) async fn list(Recorded { records, live, .. }: Recorded) -> Vec<ProcessInfo> {
    let on_disk = match &records {
        Some(records) => records.list().await.unwrap_or_default(),
        None => Vec::new(),
    };
    // What seems to be lost may run where its supervisor cannot be seen from here, and what has ended
    // may have left something running there. One sandbox that cannot be asked must not hide the
    // others.
    let unsure = records.is_none() || !on_disk.is_empty();
    let Some(live) = live.filter(|_| unsure) else { return on_disk };
    let asked = live.list(async || Ok(on_disk.clone()));
    match tokio::time::timeout(ASKING, asked).await {
        Ok(answer) => answer.unwrap_or(on_disk),
        Err(_) => on_disk.into_iter().map(not_lost).collect(),
    }
}

/// What is known of a command in a place that is there and does not answer: it may run still.
pub(crate) fn not_lost(mut info: ProcessInfo) -> ProcessInfo {
    if info.state == ProcessState::Lost {
        info.state = ProcessState::Running;
    }
    info
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
        let asked = self.sandboxes.recorded().into_iter().map(list);
        all.extend(futures_util::future::join_all(asked).await.into_iter().flatten());
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
