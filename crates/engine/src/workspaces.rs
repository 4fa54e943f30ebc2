//! Workspaces by name, and what happens in them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use stigmer_api::{EventStream, RequestContext};
use stigmer_core::event::EventKind;
use stigmer_core::manager::{Listener, PlaceState, PlaceStatus, Progress};
use stigmer_core::workspace::{OpenWorkspace, Preparation, WorkspaceInfo};
use stigmer_core::{
    Capabilities, ErrorCode, ExecutionMode, FilePath, Result, ToolError, ToolExecutor, WorkspaceId,
};
use stigmer_host::HostExecutor;
use stigmer_host::journal::{self, JournalReader};

use crate::auto::{self, Affinities};
use crate::cache::{Kept, Opened};
use crate::homeless::Homeless;
use crate::sandbox::{self, Sandboxed, no_place};
use crate::store::{Record, id_of};
use crate::{Engine, ProcessScope, Workspace, audit};

/// What a name leads to.
enum Named {
    Kept(Kept),
    /// Nothing is opened yet.
    Sandbox(Arc<Sandboxed>),
}

/// Where the place of a workspace is recorded.
enum Site {
    Recorded(Record),
    /// There was none yet: its id and its directory.
    Never(WorkspaceId, FilePath),
}

/// What names a workspace.
enum Name {
    Id(WorkspaceId),
    Path(PathBuf),
}

impl Name {
    fn parse(name: &str) -> Result<Self> {
        if Path::new(name).is_absolute() {
            return Ok(Self::Path(name.into()));
        }
        name.parse().map(Self::Id).map_err(|_| {
            let reason = format!("\"{name}\" is neither an id nor an absolute path");
            ToolError::invalid_argument("workspace", reason)
                .with_hint("an id is what opening a workspace returned: ws- and sixteen digits")
        })
    }
}

impl Engine {
    /// Opens a workspace; the same directory and mode give the same one.
    ///
    /// # Errors
    /// `invalid_argument` for a path that is not absolute; `not_found`, `not_a_directory`,
    /// `permission_denied`; `bad_configuration`, and `not_available` for a mode that this build does
    /// not have: it is never opened in another.
    pub fn open_workspace(
        &self,
        request: OpenWorkspace,
        context: &RequestContext,
    ) -> Result<WorkspaceInfo> {
        let path = request.path.as_path();
        if !path.is_absolute() {
            let reason = format!("\"{}\" is not absolute", request.path);
            return Err(ToolError::invalid_argument("path", reason)
                .with_hint("a server does not know the directory that its client is in"));
        }
        let mode = self.mode(request.mode)?;
        if mode == ExecutionMode::Sandbox {
            let workspace = Workspace::choose(Some(path), path)?;
            let record = self.record_sandbox(&workspace, &request.settings, context)?;
            self.sandboxes.say(&record.id, &request.settings);
            return Ok(self.describe(record));
        }
        if mode == ExecutionMode::Auto {
            // They are of its sandbox, which its first use opens.
            self.configuration.with_workspace(&request.settings)?;
            let workspace = Workspace::choose(Some(path), path)?;
            let sandbox = id_of(workspace.root(), ExecutionMode::Sandbox);
            self.sandboxes.say(&sandbox, &request.settings);
        } else if let Some((name, _)) = request.settings.first() {
            let reason = format!("{name} is of sandboxes, and the mode is {mode}");
            return Err(ToolError::invalid_argument("settings", reason)
                .with_hint("open it in sandbox mode, or leave the setting out"));
        }
        let (record, _) = self.open_recorded(path, request.mode, context)?;
        Ok(self.describe(record))
    }

    /// Makes sure that a sandbox has a record, and that what was said of its place is valid. Nothing is
    /// made yet.
    pub(crate) fn record_sandbox(
        &self,
        workspace: &Workspace,
        said: &[(String, String)],
        context: &RequestContext,
    ) -> Result<Record> {
        let (record, new) = self.sandboxes.record(workspace, said)?;
        if new {
            let kind = EventKind::WorkspaceOpened { id: record.id.clone() };
            self.tell(record.root.clone(), context, kind);
        }
        Ok(record)
    }

    /// Opens a workspace and makes its place ready: in auto mode the sandbox of its directory. `listener`
    /// is told what is going on.
    ///
    /// # Errors
    /// As [`Engine::open_workspace`]; `invalid_argument` for a mode without places; what making the
    /// place says.
    pub async fn prepare(
        &self,
        request: OpenWorkspace,
        preparation: Preparation,
        context: &RequestContext,
        listener: Listener<'_>,
    ) -> Result<PlaceStatus> {
        // What is said is this request's alone until the place was opened with it.
        let said = request.settings.clone();
        let mut request = request;
        let has_place = [ExecutionMode::Sandbox, ExecutionMode::Auto];
        if has_place.contains(&self.mode(request.mode)?) {
            self.configuration.with_workspace(&said)?;
            request.settings.clear();
        }
        let info = self.open_workspace(request, context)?;
        if !has_place.contains(&info.mode) {
            return Err(no_place(&info.root.to_string(), info.mode));
        }
        let root = info.root.as_path();
        let record = self.record_sandbox(&Workspace::choose(Some(root), root)?, &said, context)?;
        let sandbox = self.sandboxes.with(&record, said)?;
        let told = AtomicBool::new(false);
        let tell = |event: Progress| {
            told.store(true, Ordering::Relaxed);
            listener(event);
        };
        sandbox.prepare(preparation, &tell).await?;
        if preparation == Preparation::Open && !told.into_inner() {
            // It was there, and whoever asked goes on: the engine need not be asked about it.
            return Ok(PlaceStatus { state: PlaceState::Ready, ..no_more(record.id, record.root) });
        }
        // What is kept with it may be new.
        self.place_status(record.id.as_str()).await
    }

    /// How far the place of a workspace is, named by its id or its path. That of one in auto mode is the
    /// sandbox of its directory.
    ///
    /// # Errors
    /// `unknown_workspace`; `invalid_argument` for one without a place; what the backend says.
    pub async fn place_status(&self, name: &str) -> Result<PlaceStatus> {
        match self.find_place(name)? {
            Site::Recorded(record) => {
                let affinity = self.affinity(&record)?;
                Ok(PlaceStatus { affinity, ..self.sandboxes.status(&record).await? })
            }
            Site::Never(id, root) => Ok(no_more(id, root)),
        }
    }

    /// All places, also those of workspaces that were forgotten, sorted by root.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn places(&self) -> Result<Vec<PlaceStatus>> {
        let mut all = self.sandboxes.list().await?;
        // A workspace whose place is not there has one all the same: its next use makes it.
        for record in self.store()?.list()? {
            if record.mode != ExecutionMode::Sandbox {
                continue;
            }
            let affinity = self.affinity(&record)?;
            match all.iter_mut().find(|status| status.workspace == record.id) {
                Some(status) => status.affinity = affinity,
                None => all.push(no_more(record.id, record.root)),
            }
        }
        all.sort_by(|a, b| (&a.root, &a.workspace).cmp(&(&b.root, &b.workspace)));
        Ok(all)
    }

    /// The toolchains whose state lives in a sandbox.
    fn affinity(&self, record: &Record) -> Result<Vec<String>> {
        let state = self.affinities()?.of(&record.id, || self.sandboxes.identity(record));
        Ok(state.toolchains.into_iter().collect())
    }

    fn affinities(&self) -> Result<Affinities> {
        self.auto.affinities()
    }

    /// Lets no toolchain's state live in the sandbox of a workspace any more, so that auto mode sends
    /// commands where their rules say. Nothing in the sandbox is touched.
    ///
    /// # Errors
    /// As [`Engine::place_status`].
    pub async fn reset_affinity(&self, name: &str) -> Result<PlaceStatus> {
        if let Site::Recorded(record) = self.find_place(name)? {
            self.affinities()?.reset(&record.id, record.root.as_path())?;
        }
        self.place_status(name).await
    }

    /// Ends the commands of a workspace and keeps its place as it is.
    ///
    /// # Errors
    /// As [`Engine::place_status`].
    pub async fn stop_place(&self, name: &str) -> Result<PlaceStatus> {
        match self.find_place(name)? {
            Site::Recorded(record) => self.sandboxes.stop(&record).await,
            Site::Never(id, root) => Ok(no_more(id, root)),
        }
    }

    /// Ends the commands of a workspace and removes its place.
    ///
    /// # Errors
    /// As [`Engine::place_status`].
    pub async fn remove_place(&self, name: &str) -> Result<PlaceStatus> {
        match self.find_place(name)? {
            Site::Recorded(record) => {
                let status = self.sandboxes.remove(&record).await?;
                self.affinities()?.reset(&record.id, record.root.as_path())?;
                Ok(status)
            }
            Site::Never(id, root) => {
                let notes = vec![sandbox::NOTHING_TO_REMOVE.to_owned()];
                Ok(PlaceStatus { notes, ..no_more(id, root) })
            }
        }
    }

    /// Pulls the image that the settings name, whether it is there or not.
    ///
    /// # Errors
    /// What the engine and the registry say.
    pub async fn pull_image(&self, listener: Listener<'_>) -> Result<()> {
        self.sandboxes.pull_image(listener).await
    }

    /// Removes places that nobody needs any more; returns how many.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn reap(&self) -> Result<usize> {
        self.sandboxes.reap().await
    }

    /// Whether the settings say that sandboxes shall wait for workspaces.
    pub fn has_pool(&self) -> bool {
        use crate::configuration::{parse::Value, variables::Key};
        let pool = self.configuration.get(Key::SandboxPool).map(|found| &found.value);
        pool.is_some_and(|value| !matches!(value, Value::Count(0)))
    }

    /// Makes as many sandboxes wait as the settings say; returns how many were made.
    ///
    /// # Errors
    /// `bad_configuration`; what the backend says.
    pub async fn fill_pool(&self) -> Result<usize> {
        self.sandboxes.fill_pool().await
    }

    /// The same as a workspace's settings say, named by its id or its path.
    ///
    /// # Errors
    /// As [`Engine::place_status`].
    pub async fn fill_pool_of(&self, name: &str) -> Result<usize> {
        match self.find_place(name)? {
            Site::Recorded(record) => self.sandboxes.fill_pool_of(&record).await,
            Site::Never(..) => self.sandboxes.fill_pool().await,
        }
    }

    /// Whether a sandbox was made by this engine, so that fewer may wait than should.
    pub fn pool_is_low(&self) -> bool {
        self.sandboxes.pool_is_low()
    }

    /// Waits until a sandbox was made, and makes others wait in its stead.
    ///
    /// # Errors
    /// What the backend says.
    pub async fn refill_pool(&self) -> Result<usize> {
        self.sandboxes.refill_pool().await
    }

    /// What can be done in every sandbox.
    pub fn sandbox_capabilities() -> Capabilities {
        sandbox::capabilities()
    }

    /// Whether there ever was a sandbox in this home.
    pub fn has_sandboxes(&self) -> bool {
        let state = self.configuration().state_directory();
        state.is_ok_and(|state| state.join(sandbox::DIRECTORY).is_dir())
    }

    fn find_place(&self, name: &str) -> Result<Site> {
        let store = self.store()?;
        let sandbox_of = |root: &FilePath| {
            let id = id_of(root.as_path(), ExecutionMode::Sandbox);
            let found = store.get(&id)?.map(Site::Recorded);
            Ok(found.unwrap_or_else(|| Site::Never(id, root.clone())))
        };
        match Name::parse(name)? {
            Name::Id(id) => {
                let record = store.get(&id)?.ok_or_else(|| unknown(name))?;
                match record.mode {
                    ExecutionMode::Sandbox => Ok(Site::Recorded(record)),
                    ExecutionMode::Auto => sandbox_of(&record.root),
                    mode => Err(no_place(name, mode)),
                }
            }
            Name::Path(path) => {
                let path = path.canonicalize().unwrap_or(path);
                let found = sandbox_of(&path.as_path().into())?;
                // Embedded, auto mode makes no record of a workspace, and its sandbox has one once it
                // is used.
                let auto = || {
                    store.has(&id_of(&path, ExecutionMode::Auto))
                        || (path.is_dir() && self.mode(None) == Ok(ExecutionMode::Auto))
                };
                match found {
                    Site::Never(..) if !auto() => Err(unknown(name)),
                    found => Ok(found),
                }
            }
        }
    }

    /// What is known of a workspace, named by its id or its path. By its path it is the one in the
    /// mode that the settings say, or the only one.
    ///
    /// # Errors
    /// `unknown_workspace`; `invalid_argument` for what is no name, and for a path of several
    /// workspaces, none in that mode.
    pub fn workspace(&self, name: &str) -> Result<WorkspaceInfo> {
        let found = self.find(&Name::parse(name)?)?;
        found.map(|record| self.describe(record)).ok_or_else(|| unknown(name))
    }

    /// The workspaces that were opened and not forgotten, sorted by root.
    ///
    /// # Errors
    /// `io` if they cannot be read.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceInfo>> {
        let records = self.store()?.list()?;
        Ok(records.into_iter().map(|record| self.describe(record)).collect())
    }

    /// Forgets a workspace, named as for [`Engine::workspace`]; returns whether there was one.
    /// Nothing in its directory is touched, and its commands go on.
    ///
    /// # Errors
    /// `invalid_argument` as for [`Engine::workspace`]; `io` if it cannot be removed.
    pub fn forget_workspace(&self, name: &str, context: &RequestContext) -> Result<bool> {
        let Some(record) = self.find(&Name::parse(name)?)? else { return Ok(false) };
        // What it has of a place is nobody's then, and goes with the next reaping.
        let forgotten = self.store()?.remove(&record.id)?;
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).remove(&record.id);
        self.sandboxes.unsay(&record.id);
        self.affinities()?.forget(&record.id);
        if forgotten {
            self.tell(record.root, context, EventKind::WorkspaceForgotten { id: record.id });
        }
        Ok(forgotten)
    }

    /// The operations in a workspace, for one request. A workspace is named by its id or by an
    /// absolute path; a path that was not opened yet is, in the mode that the settings say. Without
    /// a name it is an executor that knows the commands of all workspaces and refuses whatever needs
    /// one.
    ///
    /// Reads a few directory entries and blocks for nothing else; what is opened is kept.
    ///
    /// # Errors
    /// `unknown_workspace` for an id; those of [`Engine::open_workspace`] for a path.
    pub fn executor_of(
        &self,
        name: &str,
        context: &RequestContext,
    ) -> Result<Arc<dyn ToolExecutor>> {
        if name.is_empty() {
            return self.homeless(None);
        }
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).get(name);
        // It may have been forgotten by another program, and its directory be another one.
        let usable = |opened: &Opened| {
            opened.executor.is_at(&opened.given)
                && self.store().is_ok_and(|store| store.has(&opened.id))
        };
        let kept = match cached.filter(usable) {
            Some(opened) => opened.executor,
            None => match self.open_named(name, context)? {
                Named::Kept(kept) => kept,
                Named::Sandbox(sandbox) => {
                    let root = sandbox.root().clone();
                    return Ok(self.audited(sandbox, root, context.clone()));
                }
            },
        };
        Ok(self.executor_in(kept, context.clone()))
    }

    /// What happens from an offset on (`None`: from now), for ever if `follow`.
    ///
    /// # Errors
    /// `invalid_argument` for an offset past the end; what the file system says.
    pub fn events(&self, since: Option<u64>, follow: bool) -> Result<EventStream> {
        let directory = journal::directory(&self.configuration().state_directory()?);
        let reader = JournalReader::open(directory, since)?;
        Ok(Box::pin(journal::follow(reader, follow)))
    }

    fn open_named(&self, name: &str, context: &RequestContext) -> Result<Named> {
        let opened = match Name::parse(name)? {
            Name::Path(path) if self.mode(None)? == ExecutionMode::Sandbox => {
                let workspace = Workspace::choose(Some(&path), &path)?;
                let record = self.record_sandbox(&workspace, &[], context)?;
                return Ok(Named::Sandbox(self.sandboxes.of(&record)?));
            }
            Name::Path(path) => {
                let (record, executor) = self.open_recorded(&path, None, context)?;
                Opened { executor, id: record.id, given: path }
            }
            Name::Id(id) => {
                let record = self.store()?.get(&id)?.ok_or_else(|| unknown(name))?;
                let root = record.root.as_path();
                let workspace = Workspace::choose(Some(root), root)?;
                if workspace.root() != root {
                    return Err(ToolError::not_found(&record.root).with_hint(
                        "a link to another directory is there now: open it by its path",
                    ));
                }
                if record.mode == ExecutionMode::Sandbox {
                    self.sandboxes.check(root)?;
                    return Ok(Named::Sandbox(self.sandboxes.of(&record)?));
                }
                let executor = self.kept_in(record.mode, Some(record.mode), &workspace, || None)?;
                Opened { executor, id, given: root.to_owned() }
            }
        };
        let kept = opened.executor.clone();
        self.cache.lock().unwrap_or_else(PoisonError::into_inner).put(name, opened);
        Ok(Named::Kept(kept))
    }

    /// Opens a directory and makes sure that it has a record.
    fn open_recorded(
        &self,
        path: &Path,
        mode: Option<ExecutionMode>,
        context: &RequestContext,
    ) -> Result<(Record, Kept)> {
        let wanted = self.mode(mode)?;
        let workspace = Workspace::choose(Some(path), path)?;
        let executor = self.kept_in(wanted, mode, &workspace, || None)?;
        let (record, new) = self.store()?.register(workspace.root(), wanted, now_ms())?;
        if new {
            let kind = EventKind::WorkspaceOpened { id: record.id.clone() };
            self.tell(record.root.clone(), context, kind);
        }
        Ok((record, executor))
    }

    fn find(&self, name: &Name) -> Result<Option<Record>> {
        let store = self.store()?;
        let path = match name {
            Name::Id(id) => return store.get(id),
            // One whose directory is gone can still be looked at and forgotten.
            Name::Path(path) => path.canonicalize().unwrap_or_else(|_| path.clone()),
        };
        // The one in the mode that the settings say, else the only one.
        if let Ok(mode) = self.mode(None)
            && let Some(record) = store.get(&id_of(&path, mode))?
        {
            return Ok(Some(record));
        }
        let root = FilePath::from(path);
        let mut records: Vec<_> =
            store.list()?.into_iter().filter(|record| record.root == root).collect();
        if records.len() > 1 {
            return Err(ambiguous(&root, &records));
        }
        Ok(records.pop())
    }

    fn describe(&self, record: Record) -> WorkspaceInfo {
        let capabilities = match record.mode {
            ExecutionMode::Local => HostExecutor::can(),
            ExecutionMode::Sandbox => sandbox::capabilities(),
            ExecutionMode::Auto => auto::capabilities(),
            // Opened by a version that has the mode.
            mode => Capabilities { backend: mode.name().to_owned(), has: Vec::new() },
        };
        WorkspaceInfo {
            id: record.id,
            root: record.root,
            mode: record.mode,
            capabilities,
            opened_ms: record.opened_ms,
            server_settings: self.settings_of_environment(),
        }
    }

    /// The executor of no workspace: it knows the commands of all, and refuses what needs one. A
    /// sandbox can say that it knows a command which is another's; `named` is the directory of the one
    /// to believe then.
    ///
    /// # Errors
    /// `bad_configuration` if there is no place for records.
    pub fn homeless(&self, named: Option<&Path>) -> Result<Arc<dyn ToolExecutor>> {
        // Every directory lies beneath it, and no operation on files is let through.
        let root = Workspace::choose(Some(Path::new("/")), Path::new("/"))?;
        let host = Arc::new(self.host(&root, ProcessScope::All, None)?);
        let named = named.map(|root| id_of(root, ExecutionMode::Sandbox));
        Ok(Arc::new(Homeless { host, sandboxes: Arc::clone(&self.sandboxes), named }))
    }

    fn tell(&self, workspace: FilePath, context: &RequestContext, kind: EventKind) {
        if let Some(journal) = &self.journal {
            audit::tell(journal, workspace, context, kind);
        }
    }
}

/// What is known of a place that is not there.
fn no_more(workspace: WorkspaceId, root: FilePath) -> PlaceStatus {
    PlaceStatus {
        workspace,
        root,
        state: PlaceState::Gone,
        reason: None,
        name: None,
        image: None,
        created_ms: None,
        notes: Vec::new(),
        affinity: Vec::new(),
    }
}

/// No workspace has this id or path.
fn unknown(name: &str) -> ToolError {
    ToolError::new(ErrorCode::UnknownWorkspace, format!("no workspace is called {name}"))
        .with_detail("workspace", name)
        .with_hint("it was never opened, or it was forgotten: open it by its absolute path")
}

/// A path is that of several workspaces, none in the mode that the settings say.
fn ambiguous(root: &FilePath, records: &[Record]) -> ToolError {
    let ids: Vec<&str> = records.iter().map(|record| record.id.as_str()).collect();
    let named: Vec<String> =
        records.iter().map(|record| format!("{} ({})", record.id, record.mode)).collect();
    let reason = format!("{root} is the root of several: {}", named.join(", "));
    ToolError::invalid_argument("workspace", reason)
        .with_detail("workspaces", ids)
        .with_hint("name one by its id")
}

pub(crate) fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(now).unwrap_or(u64::MAX)
}
