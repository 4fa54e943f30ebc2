//! The tool operations of a workspace that a server has.

mod execute;
mod output;
mod processes;
mod transfers;

use std::fmt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::future::try_join;
use prost::{Message, Name};
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
use stigmer_core::workspace::{OpenWorkspace, WorkspaceInfo};
use stigmer_core::{
    ByteStream, ByteString, Capabilities, Capability, ChangeStream, FilePath, OutputStream,
    ProcessId, Result, ToolExecutor, WithoutLanes,
};

use super::methods::{self, Method};
use super::{Client, Endpoint};
use crate::convert::{self, Fault, InWorkspace};
use crate::wire;

/// The tool operations of a workspace that a server has.
///
/// What a broken connection means is said with each operation's kind: what only reads is repeated;
/// a stream of output goes on where it was; a command is started and executed once, under an id of
/// ours; what changes files fails with `completion_unknown` if it was sent, and with `unavailable`
/// if it was not.
pub struct RemoteExecutor {
    client: Client,
    /// As requests name it; empty for the commands of all workspaces.
    workspace: String,
    info: Option<WorkspaceInfo>,
    capabilities: Capabilities,
    /// Takes descriptors, if the server is on this machine.
    descriptors: Option<PathBuf>,
}

impl RemoteExecutor {
    /// Opens a workspace of the server's.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory`, `bad_configuration`, `not_available`, `unavailable`,
    /// `unauthenticated`, `permission_denied`.
    pub async fn open(client: Client, request: OpenWorkspace) -> Result<Self> {
        let (info, server) = try_join(client.open_workspace(request), client.info()).await?;
        let descriptors = match client.endpoint() {
            Endpoint::Unix(_) => server.descriptor_socket,
            _ => None,
        };
        let mut capabilities = info.capabilities.clone();
        if descriptors.is_none() {
            capabilities.has.retain(|capability| *capability != Capability::InheritStdin);
        }
        let workspace = info.id.as_str().to_owned();
        Ok(Self { client, workspace, info: Some(info), capabilities, descriptors })
    }

    /// The commands of all workspaces of a daemon's. What needs a workspace, the daemon refuses
    /// (`invalid_argument`). Nothing is asked of the server yet.
    pub fn of_all_workspaces(client: Client) -> Self {
        let capabilities = Capabilities { backend: "remote".to_owned(), has: Vec::new() };
        let workspace = String::new();
        Self { client, workspace, info: None, capabilities, descriptors: None }
    }

    /// The client that it speaks through.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The workspace, if it is one.
    pub fn workspace(&self) -> Option<&WorkspaceInfo> {
        self.info.as_ref()
    }

    /// What a server tells, without what it may not tell.
    fn believed<T: WithoutLanes>(&self, told: T) -> T {
        match self.client.endpoint().may_tell_of_lanes() {
            true => told,
            false => told.without_lanes(),
        }
    }

    fn descriptors(&self) -> Option<&Path> {
        self.descriptors.as_deref()
    }

    /// A request about this workspace.
    fn about<Q: InWorkspace>(&self, request: impl Into<Q>) -> Q {
        request.into().in_workspace(&self.workspace)
    }

    /// Sends a request and understands its answer.
    async fn ask<Q, R, C>(&self, method: Method<Q, R>, request: impl Into<Q>) -> Result<C>
    where
        Q: InWorkspace + Message,
        R: Message + Name + Default + Send + Sync + 'static,
        C: TryFrom<R, Error: Into<Fault>>,
    {
        let request = self.about(request);
        convert::reply(self.client.call(method)?.send(&request).await?)
    }
}

impl fmt::Debug for RemoteExecutor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RemoteExecutor")
            .field("client", &self.client)
            .field("workspace", &self.workspace)
            .finish()
    }
}

#[async_trait]
impl ToolExecutor for RemoteExecutor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        self.ask(methods::READ, request).await
    }

    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        self.ask(methods::STAT, path).await
    }

    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        self.ask(methods::WRITE, request).await
    }

    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        self.ask(methods::EDIT, request).await
    }

    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        self.ask(methods::DELETE, request).await
    }

    async fn move_path(&self, request: MovePath) -> Result<()> {
        let _: wire::MovePathResponse = self.ask(methods::MOVE, request).await?;
        Ok(())
    }

    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        let _: wire::MakeDirectoryResponse = self.ask(methods::MAKE_DIRECTORY, request).await?;
        Ok(())
    }

    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        self.ask(methods::LIST_DIRECTORY, request).await
    }

    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        self.ask(methods::FIND, request).await
    }

    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        self.ask(methods::GREP, request).await
    }

    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        self.watch_changes(request).await
    }

    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        self.upload_content(request, content).await
    }

    async fn download(&self, request: Download) -> Result<ByteStream> {
        self.download_content(request).await
    }

    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        self.start(request).await.map(|started| self.believed(started))
    }

    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let stream = self.output(id, request).await?;
        if self.client.endpoint().may_tell_of_lanes() {
            return Ok(stream);
        }
        Ok(Box::pin(stream.map(|event| event.map(OutputEvent::without_lanes))))
    }

    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        self.feed(id, bytes).await
    }

    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        self.close(id).await
    }

    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        self.send_signal(id, request).await.map(|exit| self.believed(exit))
    }

    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        self.set_size(id, size).await
    }

    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        self.wait_for(id).await.map(|exit| self.believed(exit))
    }

    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        self.get(id).await.map(|info| self.believed(info))
    }

    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        let request = wire::ListProcessesRequest::default();
        let all: Vec<ProcessInfo> = self.ask(methods::LIST_PROCESSES, request).await?;
        Ok(self.believed(all))
    }

    async fn execute(&self, request: Execute) -> Result<Executed> {
        self.run(request).await.map(|executed| self.believed(executed))
    }
}
