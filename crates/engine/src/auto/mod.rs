//! Execution mode `auto`: each command in a lane of its own, on the host or in the workspace's sandbox.
//!
//! The order is: the rules say where a command belongs, what was installed where may send it to the
//! sandbox, a lane on the host confines it or is refused, and then it is the sandbox or nowhere. There
//! is no way from here to the host without a lane: `host.rs` is all that is had of it.

mod affinity;
mod environments;
mod executor;
mod host;
mod messages;
mod run;
mod tally;
mod work;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use stigmer_api::RequestContext;
use stigmer_core::event::EventKind;
use stigmer_core::manager::Progress;
use stigmer_core::{
    Capabilities, Capability, ExecutionMode, FilePath, ProcessId, Result, Routing, WorkspaceId,
};
use stigmer_host::HostExecutor;
use stigmer_host::journal::Journal;

use crate::configuration::Configuration;
use crate::routing::Rules;
use crate::sandbox::{Sandboxed, Sandboxes};
use crate::store::{Record, Store, id_of};
use crate::{Workspace, audit};

pub(crate) use affinity::{Affinities, Judged, State};
pub(crate) use executor::Automatic;
pub(crate) use host::Confining;
pub(crate) use messages::{following, kept_apart, without};
pub use tally::RouteCount;
use tally::{FallOvers, Tally};

/// What can be done in auto mode: what the host can, but for a descriptor of the caller's, which cannot
/// be given to a second try.
pub(crate) fn capabilities() -> Capabilities {
    let mut has = HostExecutor::can().has;
    has.retain(|capability| *capability != Capability::InheritStdin);
    Capabilities { backend: ExecutionMode::Auto.name().to_owned(), has }
}

/// Where skills are put, in a workspace.
const SKILLS: &str = ".stigmer/skills";

/// What no operation on files changes in auto mode: what the workspace lane holds, and what leads to it, by
/// names alone. The workspace itself is left to each operation. Skills are put into a workspace by whoever
/// works in it; a command cannot change them.
pub(crate) fn is_held(path: &Path) -> bool {
    let skills = path.starts_with(SKILLS);
    !skills && !path.as_os_str().is_empty() && stigmer_guard::held(path).is_some()
}

static CAPABILITIES: LazyLock<Capabilities> = LazyLock::new(capabilities);

/// What all workspaces of one engine share.
pub(crate) struct Shared {
    configuration: Configuration,
    sandboxes: Arc<Sandboxes>,
    journal: Option<Arc<Journal>>,
    tally: Tally,
    listener: Mutex<Option<OwnedListener>>,
}

/// Is told how far the making of a sandbox is that a command waits for. It must not block.
pub type OwnedListener = Arc<dyn Fn(Progress) + Send + Sync>;

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        configuration: Configuration,
        sandboxes: Arc<Sandboxes>,
        journal: Option<Arc<Journal>>,
    ) -> Arc<Self> {
        let (tally, listener) = Default::default();
        Arc::new(Self { configuration, sandboxes, journal, tally, listener })
    }

    /// Has somebody told of sandboxes that are made while a command waits.
    pub(crate) fn listen(&self, listener: OwnedListener) {
        *self.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(listener);
    }

    fn listener(&self) -> Option<OwnedListener> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many commands each rule has sent to each lane.
    pub(crate) fn counts(&self) -> Vec<RouteCount> {
        self.tally.all()
    }

    /// What is known of toolchains in sandboxes.
    pub(crate) fn affinities(&self) -> Result<Affinities> {
        Ok(Affinities::new(&self.configuration.state_directory()?))
    }

    fn store(&self) -> Result<Store> {
        Ok(Store::new(&self.configuration.state_directory()?))
    }
}

/// A workspace in auto mode.
pub(crate) struct AutoWorkspace {
    shared: Arc<Shared>,
    host: Confining,
    root: FilePath,
    /// The sandbox of the same directory. There is a record of it once it was used.
    sandbox: WorkspaceId,
    /// What whoever uses it says of the sandbox; without it what was said last.
    said: Option<Vec<(String, String)>>,
    rules: Mutex<Option<Arc<Rules>>>,
}

impl fmt::Debug for AutoWorkspace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AutoWorkspace").field("root", &self.root).finish_non_exhaustive()
    }
}

impl AutoWorkspace {
    pub(crate) fn new(
        shared: Arc<Shared>,
        host: Confining,
        said: Option<Vec<(String, String)>>,
    ) -> Arc<Self> {
        let root = FilePath::from(host.root());
        let sandbox = id_of(host.root(), ExecutionMode::Sandbox);
        Arc::new(Self { shared, host, root, sandbox, said, rules: Mutex::default() })
    }

    /// The workspace's root.
    pub(crate) fn root(&self) -> &FilePath {
        &self.root
    }

    /// Whether a path still leads to the root.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        self.host.is_at(path)
    }

    /// The rules in force, read anew if their files have changed.
    fn rules(&self) -> Result<Arc<Rules>> {
        let mut kept = self.rules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rules) = kept.as_ref().filter(|rules| rules.are_current()) {
            return Ok(Arc::clone(rules));
        }
        // What cannot be read now must not leave older rules in force.
        *kept = None;
        let rules = Arc::new(Rules::read(&self.shared.configuration, self.root.as_path())?);
        *kept = Some(Arc::clone(&rules));
        Ok(rules)
    }

    /// The sandbox's record, if it was ever used.
    fn record(&self) -> Result<Option<Record>> {
        self.shared.store()?.get(&self.sandbox)
    }

    /// The sandbox as it is to be used. It has a record from now on, and nothing is opened yet.
    fn sandbox(&self, context: &RequestContext) -> Result<Arc<Sandboxed>> {
        let root = self.root.as_path();
        let workspace = Workspace::choose(Some(root), root)?;
        let said = self.said.as_deref().unwrap_or_default();
        let (record, new) = self.shared.sandboxes.record(&workspace, said)?;
        if new {
            self.tell(context, EventKind::WorkspaceOpened { id: record.id.clone() });
        }
        self.sandbox_of(&record)
    }

    fn sandbox_of(&self, record: &Record) -> Result<Arc<Sandboxed>> {
        match &self.said {
            Some(said) => self.shared.sandboxes.with(record, said.clone()),
            None => self.shared.sandboxes.of(record),
        }
    }

    /// The sandbox, if it was ever used.
    fn sandbox_if_any(&self) -> Result<Option<Arc<Sandboxed>>> {
        self.record()?.map(|record| self.sandbox_of(&record)).transpose()
    }

    /// What tells the sandbox's place from others before.
    fn place(&self) -> Option<String> {
        let record = self.record().ok()??;
        self.shared.sandboxes.identity(&record)
    }

    /// A command runs where it was decided: this is told, counted, and written down if it fell over.
    fn decided(&self, context: &RequestContext, id: &ProcessId, routing: &Routing) {
        let fell_over = routing.fell_over.as_ref().map(messages::kinds).unwrap_or_default();
        self.tell(
            context,
            EventKind::CommandRouted {
                id: id.clone(),
                lane: routing.lane,
                rule: routing.rule.clone(),
                reason: routing.reason.clone(),
                fell_over,
            },
        );
        self.shared.tally.count(routing);
        if let Ok(state) = self.shared.configuration.state_directory() {
            FallOvers::new(&state).note(&self.root, id, routing);
        }
    }

    fn tell(&self, context: &RequestContext, kind: EventKind) {
        if let Some(journal) = &self.shared.journal {
            audit::tell(journal, self.root.clone(), context, kind);
        }
    }
}
