//! Containers: found, made, started, paused and removed.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use bollard::models::{ContainerCreateBody, ContainerStateStatusEnum as Status};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptionsBuilder, KillContainerOptionsBuilder,
    ListContainersOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    RenameContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::Stream;
use stigmer_core::Result;

use super::errors::{EngineError, Kind, Said};
use super::{Engine, said};

/// How often a removal is looked after: an engine tells nobody when it is done.
const LOOK: Duration = Duration::from_millis(20);

/// How long copying a workspace may take: gigabytes over a slow line, and not for ever.
const FILL: Duration = Duration::from_secs(3600);

/// How far a container is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Created,
    Running,
    Paused,
    /// It has ended, or is being removed.
    Ended,
}

/// A container that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) state: State,
    pub(crate) labels: HashMap<String, String>,
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// Bytes that it has written, if they were asked for.
    pub(crate) written: Option<u64>,
}

impl Engine {
    /// A container by its id or name; nothing if there is none.
    pub(crate) async fn container(&self, name: &str) -> Result<Option<Found>, EngineError> {
        self.look(name, false).await
    }

    /// The same, with the bytes that it has written: the engine counts them, which takes a while.
    pub(crate) async fn container_and_size(
        &self,
        name: &str,
    ) -> Result<Option<Found>, EngineError> {
        self.look(name, true).await
    }

    async fn look(&self, name: &str, size: bool) -> Result<Option<Found>, EngineError> {
        let client = self.client().await?;
        let options = InspectContainerOptionsBuilder::new().size(size).build();
        let asked = self.asked("look at the container", None);
        let found = match self.limited(&asked, client.inspect_container(name, Some(options))).await
        {
            Ok(found) => found,
            Err(failed) if failed.kind == Kind::ContainerGone => return Ok(None),
            Err(failed) => return Err(failed),
        };
        let config = found.config.unwrap_or_default();
        let state = match found.state.and_then(|state| state.status) {
            Some(Status::CREATED) => State::Created,
            Some(Status::RUNNING | Status::RESTARTING | Status::STOPPING) => State::Running,
            Some(Status::PAUSED) => State::Paused,
            _ => State::Ended,
        };
        Ok(Some(Found {
            id: found.id.unwrap_or_default(),
            name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
            state,
            labels: config.labels.unwrap_or_default(),
            image: config.image.unwrap_or_default(),
            image_id: found.image.unwrap_or_default(),
            written: found.size_rw.and_then(|bytes| u64::try_from(bytes).ok()),
        }))
    }

    /// All containers with a label, whatever their state.
    pub(crate) async fn labelled(&self, label: &str) -> Result<Vec<Found>, EngineError> {
        let client = self.client().await?;
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let asked = self.asked("list containers", None);
        let all = self.limited(&asked, client.list_containers(Some(options))).await?;
        Ok(all
            .into_iter()
            .map(|one| Found {
                id: one.id.unwrap_or_default(),
                name: one
                    .names
                    .and_then(|names| names.into_iter().next())
                    .unwrap_or_default()
                    .trim_start_matches('/')
                    .to_owned(),
                state: match one.state.map(|state| state.to_string()).as_deref() {
                    Some("created") => State::Created,
                    Some("running" | "restarting" | "stopping") => State::Running,
                    Some("paused") => State::Paused,
                    _ => State::Ended,
                },
                labels: one.labels.unwrap_or_default(),
                image: one.image.unwrap_or_default(),
                image_id: one.image_id.unwrap_or_default(),
                written: None,
            })
            .collect())
    }

    /// Makes a container; returns its id and what the engine warns of.
    pub(crate) async fn create(
        &self,
        name: &str,
        image: &str,
        body: ContainerCreateBody,
    ) -> Result<(String, Vec<String>), EngineError> {
        let client = self.client().await?;
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let asked = self.asked("create the container", Some(image));
        let made = self.limited(&asked, client.create_container(Some(options), body)).await?;
        Ok((made.id, made.warnings))
    }

    pub(crate) async fn start(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("start the container", None);
        self.limited(&asked, client.start_container(id, None::<StartContainerOptions>)).await
    }

    /// Sends process 1 a signal; one that has ended gets none, which is a success.
    pub(crate) async fn signal(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("signal the container", None);
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.limited(&asked, client.kill_container(id, Some(options))).await {
            Err(failed)
                if matches!(failed.kind, Kind::ContainerGone | Kind::ContainerNotRunning) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    /// Gives it another name.
    pub(crate) async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("rename the container", None);
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        self.limited(&asked, client.rename_container(id, options)).await
    }

    /// Pauses it; one that is paused stays so.
    pub(crate) async fn pause(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("pause the container", None);
        match self.limited(&asked, client.pause_container(id)).await {
            Err(failed) if failed.kind == Kind::ContainerPaused => Ok(()),
            other => other,
        }
    }

    /// Lets it go on; one that is not paused stays so.
    pub(crate) async fn unpause(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("let the container go on", None);
        match self.limited(&asked, client.unpause_container(id)).await {
            Err(failed) if failed.kind == Kind::ContainerNotPaused => Ok(()),
            other => other,
        }
    }

    /// Kills and removes it with its nameless volumes, and returns when its name is free.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let began = Instant::now();
        let asked = self.asked("remove the container", None);
        loop {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            match self.limited(&asked, client.remove_container(name, Some(options))).await {
                Ok(()) => {}
                Err(failed) if failed.kind == Kind::ContainerGone => return Ok(()),
                Err(failed) if failed.kind == Kind::BeingRemoved => {}
                Err(failed) => return Err(failed),
            }
            if self.container(name).await?.is_none() {
                return Ok(());
            }
            if began.elapsed() > self.deadline {
                let late = Said::Late(self.deadline.as_millis());
                return Err(EngineError::of(&late, &asked));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Unpacks an archive beneath the container's root.
    pub(crate) async fn put(&self, id: &str, archive: Vec<u8>) -> Result<(), EngineError> {
        let client = self.client().await?;
        let options = UploadToContainerOptionsBuilder::new().path("/").build();
        let asked = self.asked("copy into the container", None);
        let body = bollard::body_full(Bytes::from(archive));
        self.limited(&asked, client.upload_to_container(id, Some(options), body)).await
    }

    /// Unpacks an archive at a path, while it is made. It takes as long as there is something to
    /// copy.
    pub(crate) async fn fill(
        &self,
        id: &str,
        path: &str,
        archive: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<(), EngineError> {
        let client = self.client().await?;
        let options = UploadToContainerOptionsBuilder::new().path(path).build();
        let body = bollard::body_try_stream(archive);
        let copying = client.upload_to_container(id, Some(options), body);
        let asked = self.asked("copy the workspace into the container", None);
        match tokio::time::timeout(FILL, copying).await {
            Ok(copied) => copied.map_err(|error| EngineError::of(&said(&error), &asked)),
            Err(_) => Err(EngineError::of(&Said::Late(FILL.as_millis()), &asked)),
        }
    }

    /// Whether something has this path in the container.
    pub(crate) async fn has_path(&self, id: &str, path: &str) -> Result<bool, EngineError> {
        use bollard::query_parameters::ContainerArchiveInfoOptionsBuilder;
        let client = self.client().await?;
        let options = ContainerArchiveInfoOptionsBuilder::new().path(path).build();
        let asking = client.get_container_archive_info(id, Some(options));
        let asked = self.asked("look into the container", None);
        match tokio::time::timeout(self.deadline, asking).await {
            Ok(Ok(_)) => Ok(true),
            // The answer has no body, so the status is all there is.
            Ok(Err(error)) => match said(&error) {
                Said::Status(404, _) => Ok(false),
                said => Err(EngineError::of(&said, &asked)),
            },
            Err(_) => Err(EngineError::of(&Said::Late(self.deadline.as_millis()), &asked)),
        }
    }

    /// Removes a volume; one that is not there is a success.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let asked = self.asked("remove the volume", None);
        let removing = client.remove_volume(name, None::<RemoveVolumeOptions>);
        match self.limited(&asked, removing).await {
            Err(failed) if failed.error.message.contains("no such volume") => Ok(()),
            other => other,
        }
    }
}
