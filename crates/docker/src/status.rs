//! How far containers are.

use std::time::Duration;

use stigmer_core::manager::{PlaceState, PlaceStatus};
use stigmer_core::process::{ProcessInfo, ProcessState};
use stigmer_core::{ErrorCode, FilePath, Result, WorkspaceId};

use crate::engine::{Found, State};
use crate::lock::Lock;
use crate::manager::DockerManager;
use crate::names::{CREATED, FILES, ROOT};
use crate::record::{Files, Record, Way};

const RECOVER: &str = "`stigmer workspace recover` makes a new container";

/// Whether a command runs still, or something that it left behind.
pub(crate) fn runs(info: &ProcessInfo) -> bool {
    info.state == ProcessState::Running || info.background > 0
}

impl DockerManager {
    /// How far a workspace's container is.
    pub(crate) async fn look(
        &self,
        workspace: &WorkspaceId,
        root: &FilePath,
    ) -> Result<PlaceStatus> {
        let name = self.home.container(workspace);
        let found = match self.options.disk {
            Some(_) => self.engine.container_and_size(&name).await?,
            None => self.engine.container(&name).await?,
        };
        match found {
            Some(found) => Ok(self.of(workspace, root, &found).await),
            None => {
                let state = match self.is_changing(workspace).await {
                    true => PlaceState::Creating,
                    false => PlaceState::Gone,
                };
                Ok(PlaceStatus {
                    workspace: workspace.clone(),
                    root: root.clone(),
                    state,
                    reason: None,
                    name: None,
                    image: None,
                    created_ms: None,
                    notes: Vec::new(),
                    affinity: Vec::new(),
                })
            }
        }
    }

    /// All containers of this home.
    pub(crate) async fn look_at_all(&self) -> Result<Vec<PlaceStatus>> {
        let mut all = Vec::new();
        for found in self.engine.labelled(&self.home.filter()).await? {
            let Some(workspace) = self.home.workspace(&found) else { continue };
            let root = match found.labels.get(ROOT) {
                Some(root) => FilePath::from(root.as_str()),
                // One from the pool was made before it was anybody's.
                None => Record::read(self.place(&workspace).path())
                    .ok()
                    .flatten()
                    .map(|record| record.root)
                    .unwrap_or_default(),
            };
            all.push(self.of(&workspace, &root, &found).await);
        }
        all.sort_by(|one, other| one.root.cmp(&other.root));
        Ok(all)
    }

    async fn of(&self, workspace: &WorkspaceId, root: &FilePath, found: &Found) -> PlaceStatus {
        let place = self.place(workspace);
        let mut reason = None;
        // One that cannot be read is a fault of this place, and hides no other.
        let record = Record::read(place.path()).unwrap_or_else(|error| {
            reason = Some(error.with_hint(RECOVER));
            None
        });
        let record = record.filter(|record| record.container == found.id);
        let state = match found.state {
            State::Running if reason.is_some() => PlaceState::Failed,
            State::Paused => PlaceState::Stopped,
            State::Ended => PlaceState::Deleting,
            State::Created => PlaceState::Creating,
            State::Running => match &record {
                Some(Record { way: Way::Socket, .. }) => match place.connect().await {
                    Ok(_) => PlaceState::Ready,
                    Err(error) => {
                        reason = Some(error.with_hint(RECOVER));
                        PlaceState::Failed
                    }
                },
                Some(_) => PlaceState::Ready,
                // Whoever makes it has not said yet that it is done, or never will: the next use
                // adopts it.
                None if self.is_changing(workspace).await => PlaceState::Creating,
                None => PlaceState::Ready,
            },
        };
        let created = found.labels.get(CREATED).and_then(|text| text.parse().ok());
        let mut notes = record.map(|record| record.notes).unwrap_or_default();
        notes.extend(crate::disk::over(self.options.disk, found.written));
        let copied =
            found.labels.get(FILES).and_then(|name| Files::of_name(name)) == Some(Files::Copied);
        if copied {
            notes.push("its files are a copy in a volume of the engine's".to_owned());
        }
        notes.dedup();
        PlaceStatus {
            workspace: workspace.clone(),
            root: root.clone(),
            state,
            reason,
            name: Some(found.name.clone()),
            image: Some(found.image.clone()),
            created_ms: created,
            notes,
            affinity: Vec::new(),
        }
    }

    /// Whether somebody changes the container at this moment.
    async fn is_changing(&self, workspace: &WorkspaceId) -> bool {
        let place = self.place(workspace);
        let taken = place.path().is_dir().then(|| Lock::take(place.path(), Duration::ZERO));
        match taken {
            Some(taking) => taking.await.is_err_and(|error| error.code == ErrorCode::Busy),
            None => false,
        }
    }
}
