//! The backend: containers of one user and home.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use stigmer_core::manager::{Listener, PlaceFate, PlaceStatus, Site};
use stigmer_core::{Result, ToolError, ToolExecutor, WorkspaceId, WorkspaceManager};

use crate::engine::{self, DEADLINE, Engine};
use crate::executor::ContainerExecutor;
use crate::image::is_asked_for;
use crate::names::{Home, fingerprint};
use crate::options::DockerOptions;
use crate::pull;
use crate::record::Record;
use crate::root;
use crate::shared::Place;
use crate::transport::Reach;
use crate::warden::Warden;

/// What tells this machine from others that use the same engine.
const MACHINE_ID: &str = "/etc/machine-id";

/// Executors by workspace, each with the container that it is of.
type InUse = HashMap<WorkspaceId, (String, Arc<ContainerExecutor>)>;

/// Workspaces in containers of a Docker engine, one container for each.
///
/// Nothing is asked of the engine until a container is needed, and nothing while it answers. All
/// state is in files and in the containers' labels, so managers come and go, and there may be any
/// number of them.
pub struct DockerManager {
    pub(crate) options: DockerOptions,
    pub(crate) engine: Arc<Engine>,
    pub(crate) home: Home,
    /// Executors in use.
    open: Arc<Mutex<InUse>>,
}

impl DockerManager {
    /// A manager of the containers of one user and home. The engine is not asked.
    ///
    /// # Errors
    /// `bad_configuration` or `unsupported` for an address that cannot be used; what
    /// [`DockerOptions::check`] says.
    pub fn new(options: DockerOptions) -> Result<Self> {
        options.check()?;
        let address = engine::address(options.engine.as_deref(), options.owner.uid)?;
        let machine = std::fs::read_to_string(MACHINE_ID).unwrap_or_default();
        let home = Home::new(&options, machine.trim());
        let engine = Arc::new(Engine::new(address, DEADLINE));
        Ok(Self { options, engine, home, open: Arc::default() })
    }

    /// Pulls the image anew, whether it is there or not.
    ///
    /// # Errors
    /// What the engine and the registry say.
    pub async fn pull_image(&self, listener: Listener<'_>) -> Result<()> {
        pull::pull(&self.engine, &self.options, listener).await
    }

    /// The same, for containers of the image that is here in place of the one that was asked for and
    /// is not; nothing if that is, or neither.
    pub(crate) async fn with_local_image(&self) -> Result<Option<Self>> {
        let options = &self.options;
        let Some(local) = &options.local_image else { return Ok(None) };
        let is_here =
            async |image: &str| Ok::<_, ToolError>(self.engine.image(image).await?.is_some());
        if is_here(&options.image).await? || !is_here(local).await? {
            return Ok(None);
        }
        let options = DockerOptions {
            image: local.clone(),
            local_image: None,
            instead_of: Some(options.image.clone()),
            ..options.clone()
        };
        let (engine, open) = (Arc::clone(&self.engine), Arc::clone(&self.open));
        Ok(Some(Self { options, engine, home: self.home.clone(), open }))
    }

    pub(crate) fn place(&self, workspace: &WorkspaceId) -> Place {
        Place::new(&self.options.state, workspace, self.options.owner)
    }

    pub(crate) fn fingerprint(&self, site: &Site) -> String {
        fingerprint(&self.options, &site.root)
    }

    /// What reaches a container.
    pub(crate) fn reach(&self, place: &Place, container: &str, name: &str, user: &str) -> Reach {
        let engine = Arc::clone(&self.engine);
        let warden = Warden::new(Arc::clone(&engine), container, name, self.options.memory);
        Reach { engine, place: place.clone(), user: user.to_owned(), warden: Arc::new(warden) }
    }

    /// The executor of a container that is as it should be and answers; nothing if that takes more
    /// than asking it. The engine is not asked.
    pub(crate) async fn warm(&self, site: &Site) -> Option<Arc<ContainerExecutor>> {
        let place = self.place(&site.workspace);
        let record = Record::read(place.path()).ok()??;
        if record.stopped || record.root != site.root || record.options != self.fingerprint(site) {
            return None;
        }
        // The engine may be away, and not another one.
        let same_engine = record.engine == self.engine.name();
        if !same_engine || !is_asked_for(&self.options, &record.image, &record.asked) {
            return None;
        }
        // Somebody may have moved it, and made another one of its name.
        if record.directory.is_some_and(|known| root::check(site.root.as_path(), known).is_err()) {
            return None;
        }
        if let Some(executor) = self.kept(&site.workspace, &record) {
            let answers = match record.way {
                crate::record::Way::Socket => place.connect().await.is_ok(),
                crate::record::Way::Exec => true,
            };
            return answers.then_some(executor);
        }
        let reach = self.reach(&place, &record.container, &record.name, &record.user);
        let remote = reach.open_warm(record.way).await.ok()?;
        Some(self.keep(site, &record, ContainerExecutor::new(remote, reach.warden)))
    }

    fn kept(&self, workspace: &WorkspaceId, record: &Record) -> Option<Arc<ContainerExecutor>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let (container, executor) = open.get(workspace)?;
        (*container == record.container && !executor.is_gone()).then(|| Arc::clone(executor))
    }

    pub(crate) fn keep(
        &self,
        site: &Site,
        record: &Record,
        executor: ContainerExecutor,
    ) -> Arc<ContainerExecutor> {
        let executor = executor.bound_to(site.root.as_path(), record.directory);
        let executor = Arc::new(executor.watched(&self.engine, self.options.disk));
        let kept = (record.container.clone(), Arc::clone(&executor));
        let workspace = site.workspace.clone();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(workspace, kept);
        executor
    }

    pub(crate) fn let_go(&self, workspace: &WorkspaceId) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(workspace);
    }
}

impl fmt::Debug for DockerManager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DockerManager")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl WorkspaceManager for DockerManager {
    async fn open(&self, site: &Site, listener: Listener<'_>) -> Result<Arc<dyn ToolExecutor>> {
        if let Some(executor) = self.warm(site).await {
            return Ok(executor);
        }
        Ok(self.ready(site, listener).await?)
    }

    async fn attach(&self, site: &Site) -> Result<Option<Arc<dyn ToolExecutor>>> {
        let executor = self.attached(&site.workspace).await?;
        Ok(executor.map(|executor| Arc::new(executor) as Arc<dyn ToolExecutor>))
    }

    async fn fate(&self, site: &Site) -> Option<PlaceFate> {
        self.lost(&site.workspace).await
    }

    fn identity(&self, site: &Site) -> Option<String> {
        Some(Record::read(self.place(&site.workspace).path()).ok()??.container)
    }

    async fn status(&self, site: &Site) -> Result<PlaceStatus> {
        self.look(&site.workspace, &site.root).await
    }

    async fn list(&self) -> Result<Vec<PlaceStatus>> {
        self.look_at_all().await
    }

    async fn stop(&self, site: &Site) -> Result<PlaceStatus> {
        self.pause(site).await?;
        self.status(site).await
    }

    async fn start(&self, site: &Site, listener: Listener<'_>) -> Result<PlaceStatus> {
        self.open(site, listener).await?;
        self.status(site).await
    }

    async fn remove(&self, site: &Site) -> Result<()> {
        self.destroy(&site.workspace).await
    }

    async fn recover(&self, site: &Site, listener: Listener<'_>) -> Result<PlaceStatus> {
        self.renew(site, listener).await?;
        self.status(site).await
    }

    async fn reap(
        &self,
        is_known: &(dyn for<'a> Fn(&'a WorkspaceId) -> bool + Send + Sync),
    ) -> Result<usize> {
        self.clear_away(is_known).await
    }

    async fn refill(&self) -> Result<usize> {
        self.fill_pool().await
    }
}
