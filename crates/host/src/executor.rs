//! The operations, each handed to the module that does it.

use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use async_trait::async_trait;
use futures_util::StreamExt as _;
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
    ByteStream, ByteString, Capabilities, Capability, ChangeStream, ErrorCode, FilePath,
    OutputStream, ProcessId, Result, ToolError, ToolExecutor, WithoutLanes,
};
use tokio::sync::Semaphore;

use crate::files::WriteLocks;
use crate::process::{Confined, Confinement, ProcessOptions, Processes};
use crate::search::{Stop, StopOnDrop};
use crate::{Held, Resolver, Root, files, search, transfer, watch};

/// How many searches run at once however few processors there are, so that a short one need not wait
/// for a few long ones.
const MIN_SEARCHES: usize = 4;

/// How many searches run at once for each processor: each has a thread per processor already, and
/// more of them would only make all of them slower.
const SEARCHES_PER_PROCESSOR: usize = 2;

/// As many permits as searches may run at once, in all workspaces of this process.
static SEARCHES: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(max_searches())));

fn max_searches() -> usize {
    let processors = available_parallelism().map_or(1, usize::from);
    MIN_SEARCHES.max(processors * SEARCHES_PER_PROCESSOR)
}

/// What a [`HostExecutor`] needs to know.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// The workspace's root.
    pub root: PathBuf,
    /// Where processes, their output and locks are kept; made with mode 0700 if missing.
    pub state: PathBuf,
    /// How paths are followed; `None` takes the best that the kernel has.
    pub resolver: Option<Resolver>,
    /// For the commands it starts.
    pub processes: ProcessOptions,
}

impl HostOptions {
    /// Everything but the two directories at its default.
    pub fn new(root: impl Into<PathBuf>, state: impl Into<PathBuf>) -> Self {
        let processes = ProcessOptions::default();
        Self { root: root.into(), state: state.into(), resolver: None, processes }
    }
}

/// The tool operations in one workspace on this machine.
#[derive(Debug)]
pub struct HostExecutor {
    root: Arc<Root>,
    processes: Processes,
    locks: Arc<WriteLocks>,
    capabilities: Capabilities,
    /// Whether its records were written by what is shut in.
    planted: bool,
}

impl HostExecutor {
    /// Opens a workspace.
    ///
    /// # Errors
    /// `not_found`, `not_a_directory` or `permission_denied` for the root or the state directory.
    pub fn open(options: HostOptions) -> Result<Self> {
        let root = Root::open(&options.root, options.resolver)?;
        Ok(Self::with(root, options))
    }

    /// Opens a workspace of which no operation on files changes what is held.
    ///
    /// # Errors
    /// As [`HostExecutor::open`].
    pub fn open_holding(options: HostOptions, held: Held) -> Result<Self> {
        let root = Root::open(&options.root, options.resolver)?.holding(held);
        Ok(Self::with(root, options))
    }

    fn with(root: Root, options: HostOptions) -> Self {
        let root = Arc::new(root);
        let capabilities = Self::can();
        let locks = Arc::new(WriteLocks::new(&options.state));
        let workspace = FilePath::from(root.path());
        let planted = options.processes.records.is_some();
        let processes = Processes::new(&options.state, workspace, options.processes);
        Self { root, locks, processes, capabilities, planted }
    }

    /// What every one of these can do.
    pub fn can() -> Capabilities {
        Capabilities {
            backend: "local".to_owned(),
            has: vec![
                Capability::Terminal,
                Capability::InheritStdin,
                Capability::CallerEnvironment,
                Capability::ResourceLimits,
                Capability::Watch,
            ],
        }
    }

    /// The workspace's root.
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// Whether a path still leads to the root that is held open, and the root still has its name:
    /// it may have been deleted and made anew, or moved.
    pub fn is_at(&self, path: &Path) -> bool {
        self.root.is_at(path)
    }

    /// The directory that a path beneath the root leads to, without links.
    ///
    /// # Errors
    /// What every operation says of a path: that it is none, leads out or to nothing, or to no directory.
    pub fn directory(&self, path: &FilePath) -> Result<PathBuf> {
        let relative = self.root.relative(path)?;
        let opened = self.root.open_directory(&relative)?;
        let name = format!("/proc/self/fd/{}", opened.as_raw_fd());
        std::fs::read_link(name).map_err(|error| ToolError::from_io("name", path, &error))
    }

    /// Whether there is a record of a command, of this workspace if that is the scope. Nobody is asked.
    pub fn knows(&self, id: &ProcessId) -> bool {
        self.processes.knows(id)
    }

    /// What records tell, without what they may not tell.
    fn believed<T: WithoutLanes>(&self, told: T) -> T {
        if self.planted { told.without_lanes() } else { told }
    }

    /// Runs blocking file work off the asynchronous threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let root = Arc::clone(&self.root);
        tokio::task::spawn_blocking(move || work(&root)).await.unwrap_or_else(|error| {
            Err(ToolError::new(ErrorCode::Io, format!("a file operation broke off: {error}")))
        })
    }

    /// Runs a search off the asynchronous threads. It stops soon after nobody waits for it any more,
    /// and counts as one that runs until it has.
    async fn searching<T: Send + 'static>(
        &self,
        search: impl FnOnce(&Root, &Stop) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&SEARCHES).acquire_owned().await.map_err(|error| {
            ToolError::new(ErrorCode::Io, format!("no search can be started: {error}"))
        })?;
        let guard = StopOnDrop::default();
        let stop = guard.stop();
        self.blocking(move |root| {
            let _permit = permit;
            stop.check()?;
            search(root, &stop)
        })
        .await
    }
}

impl HostExecutor {
    /// Starts a command in a lane of auto mode. Does not return while it may yet be discarded.
    ///
    /// # Errors
    /// As `start_process`.
    pub async fn start_confined(
        &self,
        request: StartProcess,
        confinement: &Confinement,
    ) -> Result<Confined<StartedProcess>> {
        self.processes.start_confined(&self.root, request, confinement).await
    }

    /// Runs a command in a lane of auto mode to its end.
    ///
    /// # Errors
    /// As `execute`.
    pub async fn execute_confined(
        &self,
        request: Execute,
        confinement: &Confinement,
    ) -> Result<Confined<Executed>> {
        self.processes.execute_confined(&self.root, request, confinement).await
    }
}

#[async_trait]
impl ToolExecutor for HostExecutor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn read_file(&self, request: ReadFile) -> Result<FileContent> {
        self.blocking(|root| files::read_file(root, request)).await
    }
    async fn stat_file(&self, path: FilePath) -> Result<FileStat> {
        self.blocking(move |root| files::stat_file(root, &path)).await
    }
    async fn write_file(&self, request: WriteFile) -> Result<WriteSummary> {
        let locks = Arc::clone(&self.locks);
        self.blocking(move |root| files::write_file(root, &locks, request)).await
    }
    async fn edit_file(&self, request: EditFile) -> Result<EditSummary> {
        let locks = Arc::clone(&self.locks);
        self.blocking(move |root| files::edit_file(root, &locks, request)).await
    }
    async fn delete_file(&self, request: DeleteFile) -> Result<DeleteSummary> {
        let locks = Arc::clone(&self.locks);
        self.blocking(move |root| files::delete_file(root, &locks, request)).await
    }
    async fn move_path(&self, request: MovePath) -> Result<()> {
        let locks = Arc::clone(&self.locks);
        self.blocking(move |root| files::move_path(root, &locks, request)).await
    }
    async fn make_directory(&self, request: MakeDirectory) -> Result<()> {
        self.blocking(|root| files::make_directory(root, request)).await
    }
    async fn list_directory(&self, request: ListDirectory) -> Result<Listing> {
        self.searching(|root, stop| search::list_directory(root, request, stop)).await
    }
    async fn search_files(&self, request: SearchFiles) -> Result<FoundFiles> {
        self.searching(|root, stop| search::search_files(root, request, stop)).await
    }
    async fn grep_search(&self, request: GrepSearch) -> Result<GrepMatches> {
        self.searching(|root, stop| search::grep_search(root, request, stop)).await
    }
    async fn watch(&self, request: Watch) -> Result<ChangeStream> {
        watch::watch(Arc::clone(&self.root), request).await
    }
    async fn upload(&self, request: Upload, content: ByteStream) -> Result<UploadSummary> {
        let locks = Arc::clone(&self.locks);
        transfer::upload(Arc::clone(&self.root), locks, request, content).await
    }
    async fn download(&self, request: Download) -> Result<ByteStream> {
        transfer::download(Arc::clone(&self.root), request).await
    }

    async fn start_process(&self, request: StartProcess) -> Result<StartedProcess> {
        self.processes.start(&self.root, request).await
    }
    async fn process_output(&self, id: &ProcessId, request: ReadOutput) -> Result<OutputStream> {
        let stream = self.processes.output(id, request).await?;
        if !self.planted {
            return Ok(stream);
        }
        Ok(Box::pin(stream.map(|event| event.map(OutputEvent::without_lanes))))
    }
    async fn write_stdin(&self, id: &ProcessId, bytes: ByteString) -> Result<()> {
        self.processes.write_stdin(id, &bytes).await
    }
    async fn close_stdin(&self, id: &ProcessId) -> Result<()> {
        self.processes.close_stdin(id).await
    }
    async fn signal(&self, id: &ProcessId, request: SignalRequest) -> Result<Option<ExitStatus>> {
        self.processes.signal(id, request).await.map(|told| self.believed(told))
    }
    async fn resize(&self, id: &ProcessId, size: TerminalSize) -> Result<()> {
        self.processes.resize(id, size).await
    }
    async fn wait(&self, id: &ProcessId) -> Result<ExitStatus> {
        self.processes.wait(id).await.map(|told| self.believed(told))
    }
    async fn process(&self, id: &ProcessId) -> Result<ProcessInfo> {
        self.processes.info(id).await.map(|told| self.believed(told))
    }
    async fn list_processes(&self) -> Result<Vec<ProcessInfo>> {
        self.processes.list().await.map(|told| self.believed(told))
    }
    async fn execute(&self, request: Execute) -> Result<Executed> {
        self.processes.execute(&self.root, request).await
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    /// Long enough for a busy machine; the whole file would take longer.
    const SOON: Duration = Duration::from_secs(60);

    /// So many bytes that no search reads them all while a test waits; none of them is on the disk.
    const HUGE: u64 = 4 << 40;

    fn is_open(path: &Path) -> bool {
        let descriptors = fs::read_dir("/proc/self/fd").unwrap();
        descriptors.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == path))
    }

    #[tokio::test]
    async fn a_search_ends_when_nobody_waits_for_it_and_only_so_many_run_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let huge = root.join("huge");
        fs::File::create(&huge).unwrap().set_len(HUGE).unwrap();
        let state = tempfile::tempdir().unwrap();
        let host = HostExecutor::open(HostOptions::new(&root, state.path())).unwrap();
        let request = GrepSearch {
            pattern: "never".into(),
            paths: vec!["huge".into()],
            ..GrepSearch::default()
        };

        // One more than may run at once.
        let searches = (0..=max_searches()).map(|_| host.grep_search(request.clone()));
        let mut all = Box::pin(futures_util::future::join_all(searches));
        let begun = async {
            while !is_open(&huge) || SEARCHES.available_permits() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = &mut all => panic!("nobody reads so much in so little time"),
            begun = tokio::time::timeout(SOON, begun) => begun.unwrap(),
        }
        drop(all);

        // A permit comes back when its search has ended.
        let permits = u32::try_from(max_searches()).unwrap();
        let ended = tokio::time::timeout(SOON, SEARCHES.acquire_many(permits)).await;
        drop(ended.expect("the searches went on").unwrap());
        assert!(!is_open(&huge));
    }
}
