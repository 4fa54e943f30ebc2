//! The places of sandboxed workspaces: who opens them, and who holds them open.

mod executor;
mod options;
mod records;
mod sidecar;
mod site;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use stigmer_core::manager::{Listener, PlaceState, PlaceStatus, Progress, Site};
use stigmer_core::workspace::Preparation;
use stigmer_core::{
    ErrorCode, ExecutionMode, FilePath, Result, ToolError, ToolExecutor, WorkspaceId,
    WorkspaceManager,
};
use stigmer_docker::{DockerOptions, Owner};
use tokio::sync::{Notify, broadcast};

use crate::configuration::{kept_note, merged};
use crate::store::{Record, Store};
use crate::workspaces::now_ms;
use crate::{Configuration, Workspace};

pub(crate) use executor::{Sandboxed, capabilities};
pub use options::LOCAL_IMAGE;
pub(crate) use options::PROXY_VARIABLES;
pub(crate) use records::Records;
pub(crate) use sidecar::find as find_sidecar;
pub(crate) use site::check as check_site;

/// Where what belongs to sandboxes is, in the state directory.
pub(crate) const DIRECTORY: &str = "sandboxes";

/// How many words of progress wait for a listener who is slow; older ones are then left out.
const MOST_PROGRESS: usize = 256;

/// How many managers are kept: one for each way in which containers are made.
const MOST_MANAGERS: usize = 32;

/// What is said to whoever removes a place that is not there.
pub(crate) const NOTHING_TO_REMOVE: &str = "there was nothing to remove";

/// Makes what gets places, made like this.
pub type Factory = Box<dyn Fn(DockerOptions) -> Result<Arc<dyn WorkspaceManager>> + Send + Sync>;

/// All sandboxes of one home.
pub(crate) struct Sandboxes {
    configuration: Configuration,
    make: Factory,
    managers: Mutex<Vec<(DockerOptions, Arc<dyn WorkspaceManager>)>>,
    slots: Mutex<HashMap<WorkspaceId, Arc<Slot>>>,
    low: Low,
}

/// Whose pools may have fewer places waiting than they should.
#[derive(Default)]
struct Low {
    managers: Mutex<Vec<Arc<dyn WorkspaceManager>>>,
    told: Notify,
    /// Others are being made.
    filling: AtomicBool,
}

impl Low {
    fn add(&self, manager: &Arc<dyn WorkspaceManager>) {
        let mut managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        if !managers.iter().any(|other| Arc::ptr_eq(other, manager)) {
            managers.push(Arc::clone(manager));
        }
        self.told.notify_one();
    }

    fn take(&self) -> Vec<Arc<dyn WorkspaceManager>> {
        std::mem::take(&mut *self.managers.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Sandboxes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sandboxes").finish_non_exhaustive()
    }
}

/// One workspace's place, as far as this program holds it.
pub(crate) struct Slot {
    /// Held by whoever opens it: one at a time.
    turn: tokio::sync::Mutex<()>,
    held: Mutex<Option<Held>>,
    /// Who was attached to last to look after commands.
    attached: Mutex<Option<Arc<dyn ToolExecutor>>>,
    said: Mutex<Said>,
    /// What its listeners are told.
    progress: broadcast::Sender<Progress>,
}

/// How somebody wants a place: what it is made like, and what of that they said themselves.
#[derive(Clone)]
pub(crate) struct Wanted {
    options: DockerOptions,
    said: Vec<(String, String)>,
}

#[derive(Clone)]
struct Held {
    executor: Arc<dyn ToolExecutor>,
    options: DockerOptions,
}

/// What was said of a place by those who use it through this program, and is not kept with its
/// workspace.
#[derive(Default)]
struct Said {
    /// With this it was opened last: whoever names it and says nothing has it so.
    opened: Vec<(String, String)>,
    /// What its next use shall open it with. If that fails it was never said.
    next: Option<Vec<(String, String)>>,
}

impl Slot {
    fn held(&self) -> Option<Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What those who say nothing of it have it opened with.
    fn said(&self) -> Vec<(String, String)> {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.next.as_ref().unwrap_or(&said.opened).clone()
    }

    /// It was opened so, or could not be.
    fn tried(&self, with: &[(String, String)], opened: bool) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if opened {
            said.opened = with.to_vec();
        }
        if said.next.as_deref() == Some(with) {
            said.next = None;
        }
    }

    /// Who knows the commands of the place, if it is known who that is.
    fn attached(&self) -> Option<Arc<dyn ToolExecutor>> {
        let held = self.held().map(|held| held.executor);
        held.or_else(|| self.attached.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn attach(&self, executor: &Arc<dyn ToolExecutor>) {
        let executor = Some(Arc::clone(executor));
        *self.attached.lock().unwrap_or_else(PoisonError::into_inner) = executor;
    }

    fn hold(&self, held: Option<Held>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        *self.attached.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets go of an executor that answers no more, unless another was opened meanwhile.
    pub(crate) fn drop_dead(&self, dead: &Arc<dyn ToolExecutor>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.as_ref().is_some_and(|held| Arc::ptr_eq(&held.executor, dead)) {
            *held = None;
        }
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        if attached.as_ref().is_some_and(|executor| Arc::ptr_eq(executor, dead)) {
            *attached = None;
        }
    }
}

impl Sandboxes {
    pub(crate) fn new(configuration: Configuration, make: Factory) -> Arc<Self> {
        let (managers, slots, low) = Default::default();
        Arc::new(Self { configuration, make, managers, slots, low })
    }

    /// Refuses a directory that may be no sandbox's workspace.
    pub(crate) fn check(&self, root: &std::path::Path) -> Result<()> {
        let user = self.configuration.around().user_home.as_deref();
        let engine = options::engine(&self.configuration)?;
        let sockets = site::sockets(engine.as_deref(), rustix::process::geteuid().as_raw());
        check_site(root, user, self.configuration.home().ok(), &sockets)
    }

    /// Makes sure that the sandbox of a directory has a record, and that what was said of its place is
    /// valid. Says whether the record is new; nothing is made yet.
    ///
    /// # Errors
    /// `invalid_argument` for a directory that may be no sandbox's workspace; `bad_configuration`.
    pub(crate) fn record(
        &self,
        workspace: &Workspace,
        said: &[(String, String)],
    ) -> Result<(Record, bool)> {
        self.check(workspace.root())?;
        self.configuration.with_workspace(said)?;
        self.store()?.register(workspace.root(), ExecutionMode::Sandbox, now_ms())
    }

    /// What tells the place of a workspace from those that it had before; nobody is asked.
    pub(crate) fn identity(&self, record: &Record) -> Option<String> {
        self.manager_of(record).ok()?.identity(&site(record))
    }

    /// The sandbox of a workspace, made as its settings and what was said last say. Nothing is opened.
    ///
    /// # Errors
    /// `bad_configuration`; `not_available` without a sidecar.
    pub(crate) fn of(self: &Arc<Self>, record: &Record) -> Result<Arc<Sandboxed>> {
        self.with(record, self.slot(&record.id).said())
    }

    /// The same, made as its settings say and as whoever asks says.
    ///
    /// # Errors
    /// As [`Sandboxes::of`].
    pub(crate) fn with(
        self: &Arc<Self>,
        record: &Record,
        said: Vec<(String, String)>,
    ) -> Result<Arc<Sandboxed>> {
        let settings = self.configuration.with_workspace(&record.settings)?;
        let settings = settings.with_workspace(&said)?;
        let options = options(&settings, find_sidecar(named_sidecar(&settings))?)?;
        let wanted = Wanted { options, said };
        Ok(Arc::new(Sandboxed::new(Arc::clone(self), self.slot(&record.id), site(record), wanted)))
    }

    /// Remembers what was said of a place for its next use. To say nothing is to leave it.
    pub(crate) fn say(&self, id: &WorkspaceId, said: &[(String, String)]) {
        if !said.is_empty() {
            let slot = self.slot(id);
            slot.said.lock().unwrap_or_else(PoisonError::into_inner).next = Some(said.to_vec());
        }
    }

    /// Forgets what was said of a place.
    pub(crate) fn unsay(&self, id: &WorkspaceId) {
        *self.slot(id).said.lock().unwrap_or_else(PoisonError::into_inner) = Said::default();
    }

    /// Keeps with a workspace what was said of its place, which was made so.
    fn keep(&self, id: &WorkspaceId, said: &[(String, String)]) -> Result<()> {
        self.change(id, |settings| merged(settings, said))
    }

    /// Changes what is kept with a workspace.
    fn change(
        &self,
        id: &WorkspaceId,
        new: impl FnOnce(&[(String, String)]) -> Vec<(String, String)>,
    ) -> Result<()> {
        let store = self.store()?;
        let Some(mut record) = store.get(id)? else { return Ok(()) };
        let settings = new(&record.settings);
        if settings != record.settings {
            record.settings = settings;
            store.replace(&record)?;
        }
        Ok(())
    }

    fn slot(&self, id: &WorkspaceId) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || {
            let (progress, _) = broadcast::channel(MOST_PROGRESS);
            let (turn, held, attached, said) = Default::default();
            Arc::new(Slot { turn, held, attached, said, progress })
        };
        Arc::clone(slots.entry(id.clone()).or_insert_with(new))
    }

    /// What looks after places that are made like this.
    fn manager(&self, options: &DockerOptions) -> Result<Arc<dyn WorkspaceManager>> {
        let mut managers = self.managers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, manager)) = managers.iter().find(|(other, _)| other == options) {
            return Ok(Arc::clone(manager));
        }
        let manager = (self.make)(options.clone())?;
        if managers.len() >= MOST_MANAGERS {
            managers.remove(0);
        }
        managers.push((options.clone(), Arc::clone(&manager)));
        Ok(manager)
    }

    /// What looks after all places, whatever they are made like.
    fn any_manager(&self) -> Result<Arc<dyn WorkspaceManager>> {
        // Looking and removing need no sidecar.
        let sidecar = find_sidecar(named_sidecar(&self.configuration)).unwrap_or_default();
        self.manager(&options(&self.configuration, sidecar)?)
    }

    fn manager_of(&self, record: &Record) -> Result<Arc<dyn WorkspaceManager>> {
        let slot = self.slot(&record.id);
        if let Some(held) = slot.held() {
            return self.manager(&held.options);
        }
        let settings = self.configuration.with_workspace(&record.settings)?;
        let settings = settings.with_workspace(&slot.said())?;
        let sidecar = find_sidecar(named_sidecar(&settings)).unwrap_or_default();
        self.manager(&options(&settings, sidecar)?)
    }

    /// Opens a place; whoever asks for the same at the same time waits for the one who came first.
    /// It goes on when whoever asked does not wait any longer.
    pub(crate) async fn open(
        self: &Arc<Self>,
        slot: &Arc<Slot>,
        site: &Site,
        wanted: &Wanted,
        preparation: Preparation,
        listener: Listener<'_>,
    ) -> Result<Arc<dyn ToolExecutor>> {
        if preparation == Preparation::Open
            && let Some(held) = slot.held().filter(|held| held.options == wanted.options)
        {
            slot.tried(&wanted.said, true);
            return Ok(held.executor);
        }
        let mut progress = slot.progress.subscribe();
        let (sandboxes, slot) = (Arc::clone(self), Arc::clone(slot));
        let (site, wanted) = (site.clone(), wanted.clone());
        let mut opening = tokio::spawn(async move {
            let _turn = slot.turn.lock().await;
            let opened = sandboxes.open_now(&slot, &site, &wanted, preparation).await;
            slot.tried(&wanted.said, opened.is_ok());
            opened
        });
        loop {
            tokio::select! {
                biased;
                event = progress.recv() => match event {
                    Ok(event) => listener(event),
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => break,
                },
                opened = &mut opening => return opened.unwrap_or_else(|error| Err(broken(&error))),
            }
        }
        opening.await.unwrap_or_else(|error| Err(broken(&error)))
    }

    /// Opens a place, by whoever's turn it is.
    async fn open_now(
        &self,
        slot: &Slot,
        site: &Site,
        Wanted { options, said }: &Wanted,
        preparation: Preparation,
    ) -> Result<Arc<dyn ToolExecutor>> {
        if preparation == Preparation::Open
            && let Some(held) = slot.held().filter(|held| held.options == *options)
        {
            return Ok(held.executor);
        }
        let manager = self.manager(options)?;
        let made = AtomicBool::new(false);
        let tell = |event: Progress| {
            made.fetch_or(matches!(event, Progress::Step(_)), Ordering::Relaxed);
            drop(slot.progress.send(event));
        };
        match preparation {
            Preparation::Open | Preparation::Create => {}
            Preparation::Start => drop(manager.start(site, &tell).await?),
            Preparation::Recover => drop(manager.recover(site, &tell).await?),
        }
        let opened = manager.open(site, &tell).await;
        if options.pool > 0 && made.into_inner() {
            self.low.add(&manager);
        }
        let executor = opened?;
        if preparation == Preparation::Create {
            self.keep(&site.workspace, said)?;
        }
        let (executor, options) = (executor, options.clone());
        slot.hold(Some(Held { executor: Arc::clone(&executor), options }));
        Ok(executor)
    }

    /// How far the place of a workspace is.
    pub(crate) async fn status(&self, record: &Record) -> Result<PlaceStatus> {
        let mut status = self.manager_of(record)?.status(&site(record)).await?;
        status.notes.extend(kept_note(&record.settings));
        Ok(status)
    }

    /// Ends the commands and keeps the place.
    pub(crate) async fn stop(&self, record: &Record) -> Result<PlaceStatus> {
        let slot = self.slot(&record.id);
        let _turn = slot.turn.lock().await;
        let manager = self.manager_of(record)?;
        slot.hold(None);
        manager.stop(&site(record)).await
    }

    /// Ends the commands and removes the place.
    pub(crate) async fn remove(&self, record: &Record) -> Result<PlaceStatus> {
        let slot = self.slot(&record.id);
        let _turn = slot.turn.lock().await;
        let manager = self.manager_of(record)?;
        slot.hold(None);
        // Of a container that somebody else removed there are records of its commands still.
        let nothing = manager.status(&site(record)).await?.state == PlaceState::Gone
            && self.records(&record.id).is_none();
        manager.remove(&site(record)).await?;
        // What the next use makes is made as whoever uses it says.
        self.change(&record.id, |_| Vec::new())?;
        self.unsay(&record.id);
        Ok(PlaceStatus {
            workspace: record.id.clone(),
            root: record.root.clone(),
            state: PlaceState::Gone,
            reason: None,
            name: None,
            image: None,
            created_ms: None,
            notes: nothing.then(|| NOTHING_TO_REMOVE.to_owned()).into_iter().collect(),
            affinity: Vec::new(),
        })
    }

    /// All places, also those of workspaces that were forgotten.
    pub(crate) async fn list(&self) -> Result<Vec<PlaceStatus>> {
        self.any_manager()?.list().await
    }

    /// Pulls the image that the settings name, whether it is there or not.
    pub(crate) async fn pull_image(&self, listener: Listener<'_>) -> Result<()> {
        let sidecar = find_sidecar(named_sidecar(&self.configuration)).unwrap_or_default();
        let options = options(&self.configuration, sidecar)?;
        stigmer_docker::DockerManager::new(options)?.pull_image(listener).await
    }

    /// Removes what nobody needs any more.
    pub(crate) async fn reap(&self) -> Result<usize> {
        let store = self.store()?;
        self.any_manager()?.reap(&|id: &WorkspaceId| store.has(id)).await
    }

    /// Makes as many places wait as the settings say.
    pub(crate) async fn fill_pool(&self) -> Result<usize> {
        let sidecar = find_sidecar(named_sidecar(&self.configuration))?;
        self.manager(&options(&self.configuration, sidecar)?)?.refill().await
    }

    /// The same for a workspace's settings.
    pub(crate) async fn fill_pool_of(self: &Arc<Self>, record: &Record) -> Result<usize> {
        self.manager_of(record)?.refill().await
    }

    /// Whether a place was made, so that fewer may wait than should.
    pub(crate) fn pool_is_low(&self) -> bool {
        self.low.filling.load(Ordering::Acquire)
            || !self.low.managers.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Waits until that is so, and makes others wait.
    pub(crate) async fn refill_pool(&self) -> Result<usize> {
        self.low.told.notified().await;
        self.low.filling.store(true, Ordering::Release);
        let mut made = Ok(0);
        for manager in self.low.take() {
            made = match (made, manager.refill().await) {
                (Ok(before), Ok(now)) => Ok(before + now),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        self.low.filling.store(false, Ordering::Release);
        made
    }

    /// The sandboxes of which there are records of commands on disk, and whose workspace they are.
    pub(crate) fn recorded(self: &Arc<Self>) -> Vec<Recorded> {
        let Ok(directory) = self.directory() else { return Vec::new() };
        let Ok(entries) = std::fs::read_dir(&directory) else { return Vec::new() };
        let store = self.store();
        let of = |entry: std::fs::DirEntry| {
            let id: WorkspaceId = entry.file_name().to_str()?.parse().ok()?;
            let record = store.as_ref().ok().and_then(|store| store.get(&id).ok().flatten());
            let live = record.and_then(|record| self.of(&record).ok());
            Some(Recorded { id, records: Records::open(&entry.path()), live })
        };
        entries.flatten().filter_map(of).collect()
    }

    pub(crate) fn records(&self, id: &WorkspaceId) -> Option<Records> {
        Records::open(&self.directory().ok()?.join(id.as_str()))
    }

    fn directory(&self) -> Result<PathBuf> {
        Ok(self.configuration.state_directory()?.join(DIRECTORY))
    }

    fn store(&self) -> Result<Store> {
        Ok(Store::new(&self.configuration.state_directory()?))
    }
}

/// A sandbox of which there may be records of commands.
pub(crate) struct Recorded {
    pub(crate) id: WorkspaceId,
    pub(crate) records: Option<Records>,
    /// How to ask it, if its workspace was not forgotten.
    pub(crate) live: Option<Arc<Sandboxed>>,
}

fn site(record: &Record) -> Site {
    Site { workspace: record.id.clone(), root: FilePath::clone(&record.root) }
}

fn named_sidecar(settings: &Configuration) -> Option<&std::path::Path> {
    use crate::configuration::{parse::Value, variables::Key};
    match settings.get(Key::Sidecar).map(|found| &found.value) {
        Some(Value::Path(path)) => Some(path),
        _ => None,
    }
}

fn options(settings: &Configuration, sidecar: PathBuf) -> Result<DockerOptions> {
    let owner = Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    options::docker_options(settings, sidecar, owner)
}

fn broken(error: &tokio::task::JoinError) -> ToolError {
    ToolError::new(ErrorCode::Io, format!("opening the sandbox broke off: {error}"))
}

/// What is asked of a workspace that has no place of its own.
pub(crate) fn no_place(name: &str, mode: ExecutionMode) -> ToolError {
    let reason =
        format!("the commands of {name} run in {mode} mode, which has no place of its own");
    ToolError::invalid_argument("workspace", reason)
        .with_hint("`stigmer workspace create` opens a sandbox for the same directory")
}

#[cfg(test)]
mod tests;
