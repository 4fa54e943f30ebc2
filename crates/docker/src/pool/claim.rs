//! Giving a workspace a container that waits.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stigmer_api::client::RemoteExecutor;
use stigmer_core::manager::{Listener, Progress, Site};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};

use super::entry::{Entry, Pool, made_like, run};
use super::{Claim, fits, talk};
use crate::engine::{Found, Kind, State};
use crate::executor::ContainerExecutor;
use crate::make::{Made, START};
use crate::manager::DockerManager;
use crate::names::CREATED;
use crate::prove::prove;
use crate::record::{Files, Record, Way};
use crate::root::Root;
use crate::shared::Place;
use crate::transport::Reach;

/// Between looks for the server of a container that has just got its workspace: it is there within
/// milliseconds.
const LOOK: Duration = Duration::from_micros(500);

/// A container that is this workspace's from now on, and whoever is needed to make it so.
struct Taken {
    entry: Entry,
    container: UnixStream,
    keeper: UnixStream,
}

impl DockerManager {
    /// Takes a container out of the pool, if there is one that fits. What fails costs that container:
    /// it is removed, and another one is made.
    pub(crate) async fn claim(
        &self,
        site: &Site,
        root: &Root,
        place: &Place,
        listener: Listener<'_>,
    ) -> Result<Claim> {
        if self.options.pool == 0 || !fits(&self.options, site.root.as_path()) {
            return Ok(Claim::None);
        }
        self.clear_claim(place).await?;
        let no_container = |why: &dyn std::fmt::Display| {
            let note = format!("no container of the pool can be used, and one is made: {why}");
            listener(Progress::Note(note));
            Ok(Claim::None)
        };
        let pool = Pool::new(&self.options);
        let wanted = made_like(&self.options);
        for id in pool.waiting() {
            let taken = match self.take(&pool, &id, &wanted, place).await {
                Ok(Some(taken)) => taken,
                Ok(None) => {
                    // Dead ones are cleared away, whosever they would have been.
                    self.clear_claim(place).await?;
                    continue;
                }
                Err(error) => return no_container(&error),
            };
            listener(Progress::Step("taking a container from the pool".to_owned()));
            match self.give(site, root, place, taken).await {
                Ok(Given::Ready(executor)) => return Ok(Claim::Made(Made::Ready(executor))),
                Ok(Given::NameTaken) => {
                    self.clear_claim(place).await?;
                    return Ok(Claim::Made(Made::NameTaken));
                }
                Ok(Given::Gone) => self.clear_claim(place).await?,
                Ok(Given::OtherImage) => {
                    self.clear_claim(place).await?;
                    return no_container(&"the image has changed since");
                }
                Err(error) => {
                    Record::forget(place.path())?;
                    self.clear_claim(place).await?;
                    return no_container(&error);
                }
            }
        }
        Ok(Claim::None)
    }

    /// Takes one, and nobody else can. Nothing if it is not to be had, or of no use; what is in the
    /// workspace's place then is to be cleared away.
    async fn take(
        &self,
        pool: &Pool,
        id: &str,
        wanted: &str,
        place: &Place,
    ) -> io::Result<Option<Taken>> {
        match Entry::read(&pool.directory(id)) {
            Some(entry) if entry.made_like == wanted => {}
            _ => return Ok(None),
        }
        let unkept =
            |error| io::Error::other(format!("the pool's keeper does not answer: {error}"));
        let keeper = talk::keeper(&pool.keeper()).await.map_err(unkept)?;
        let claimed = place.claimed();
        if !pool.take(id, &claimed)? {
            return Ok(None);
        }
        let Some(entry) = Entry::read(&claimed) else { return Ok(None) };
        let Ok(container) = talk::container(&run(&claimed)).await else { return Ok(None) };
        Ok(Some(Taken { entry, container, keeper }))
    }

    /// Gives it the workspace and the workspace's name, and proves that it has both.
    async fn give(
        &self,
        site: &Site,
        directory: &Root,
        place: &Place,
        taken: Taken,
    ) -> Result<Given> {
        let Taken { entry, container, keeper } = taken;
        let name = self.home.container(&site.workspace);
        place.clear_socket()?;
        let (root, shared) = (site.root.as_path().to_owned(), place.shared());
        let handing =
            tokio::task::spawn_blocking(move || talk::hand_over(container, keeper, &root, &shared));
        let serve = async {
            match handing.await {
                Ok(Ok(())) => {}
                Ok(Err(refused)) => {
                    return Err(ToolError::new(ErrorCode::Io, refused.to_string()));
                }
                Err(error) => return Err(ToolError::new(ErrorCode::Io, error.to_string())),
            }
            let reach = self.reach(place, &entry.container, &name, &entry.user);
            let remote = appear(&reach).await?;
            let executor = ContainerExecutor::new(remote, Arc::clone(&reach.warden));
            prove(directory, &executor).await?;
            Ok(executor)
        };
        let (renamed, image, executor) = tokio::join!(
            self.engine.rename(&entry.container, &name),
            self.engine.image(&self.options.image),
            serve,
        );
        match renamed {
            Ok(()) => {}
            Err(failed) if failed.kind == Kind::NameTaken => return Ok(Given::NameTaken),
            Err(failed) if failed.kind == Kind::ContainerGone => return Ok(Given::Gone),
            Err(failed) => return Err(failed.into()),
        }
        if image?.as_deref() != Some(entry.image_id.as_str()) {
            return Ok(Given::OtherImage);
        }
        let executor = executor?;
        let found = Found {
            id: entry.container.clone(),
            name,
            state: State::Running,
            labels: [(CREATED.to_owned(), entry.created_ms.to_string())].into(),
            image: self.options.image.clone(),
            image_id: entry.image_id,
            written: None,
        };
        let (way, files) = (Way::Socket, Files::Mounted);
        let record = self.record(site, directory, &found, way, files, &entry.user, entry.notes);
        record.write(place.path())?;
        // It is the workspace's now. Whoever dies before this is done leaves a directory, no more.
        self.clear_claim(place).await?;
        Ok(Given::Ready(self.keep(site, &record, executor)))
    }

    /// Ends a claim: what was not given to the workspace whole is removed. Whoever calls this has the
    /// workspace's lock.
    pub(crate) async fn clear_claim(&self, place: &Place) -> Result<()> {
        let claimed = place.claimed();
        if !claimed.exists() {
            return Ok(());
        }
        if let Some(entry) = Entry::read(&claimed) {
            let record = Record::read(place.path())?;
            if record.is_none_or(|record| record.container != entry.container) {
                self.engine.remove(&entry.container).await?;
            }
        }
        remove(&claimed)
    }
}

/// What came of giving a container away.
enum Given {
    Ready(Arc<ContainerExecutor>),
    /// Somebody else makes the workspace's container at this moment.
    NameTaken,
    /// It has ended.
    Gone,
    /// It was made of another image than there is now.
    OtherImage,
}

/// Removes a directory of the pool's. What root made in it lies in directories of the owner's.
pub(super) fn remove(directory: &Path) -> Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ToolError::from_io("remove", &ByteString::from(directory), &error))
        }
        _ => Ok(()),
    }
}

/// Waits for the server, which process 1 starts now.
async fn appear(reach: &Reach) -> Result<RemoteExecutor> {
    let began = Instant::now();
    loop {
        let error = match reach.place.connect().await {
            Ok(_) => match reach.open(Way::Socket).await {
                Ok(remote) => return Ok(remote),
                Err(error) => error,
            },
            Err(error) => error,
        };
        if error.code == ErrorCode::PermissionDenied
            || reach.warden.is_gone()
            || began.elapsed() > START
        {
            return Err(error);
        }
        tokio::time::sleep(LOOK).await;
    }
}
