//! Reaching the container that is there, for whoever looks after its commands. Its settings do not
//! matter, and nothing about it is changed.

use std::time::Duration;

use stigmer_core::manager::PlaceFate;
use stigmer_core::{ErrorCode, Result, ToolError, WorkspaceId};

use crate::create::user;
use crate::engine::{Found, State};
use crate::executor::ContainerExecutor;
use crate::judge::{Verdict, judge};
use crate::manager::DockerManager;
use crate::record::{Record, Way};
use crate::shared::Place;
use crate::warden::{GONE, paused};

/// How long an engine may take to say whether a container is there. An engine that is well answers
/// in milliseconds, and nobody waits longer to look at a command.
const ASKED: Duration = Duration::from_secs(2);

impl DockerManager {
    /// The operations of the workspace's container as it is; nothing if there is none, or it was
    /// stopped.
    pub(crate) async fn attached(
        &self,
        workspace: &WorkspaceId,
    ) -> Result<Option<ContainerExecutor>> {
        let place = self.place(workspace);
        let record = Record::read(place.path())?;
        let mut failed = None;
        if let Some(record) = &record {
            if record.stopped {
                return Ok(None);
            }
            let reach = self.reach(&place, &record.container, &record.name, &record.user);
            match reach.open_warm(record.way).await {
                Ok(remote) => return Ok(Some(ContainerExecutor::new(remote, reach.warden))),
                Err(error) => failed = Some(error),
            }
        }
        let looking = tokio::time::timeout(ASKED, self.own_container(workspace));
        let Some(found) = looking.await.unwrap_or_else(|_| Err(slow()))? else { return Ok(None) };
        match found.state {
            State::Created | State::Ended => Ok(None),
            State::Paused => Err(paused(&found.name)),
            State::Running => match (record, failed) {
                // It is the one that was tried.
                (Some(record), Some(error)) if record.container == found.id => Err(error),
                _ => self.reached(&place, &found).await.map(Some),
            },
        }
    }

    /// What became of the workspace's container, if it is gone and was not removed by us.
    pub(crate) async fn lost(&self, workspace: &WorkspaceId) -> Option<PlaceFate> {
        let place = self.place(workspace);
        let record = Record::read(place.path()).ok()??;
        let reach = self.reach(&place, &record.container, &record.name, &record.user);
        let reason = tokio::time::timeout(ASKED, reach.warden.why_gone()).await.ok()??;
        let is_gone = reason.details.get("cause") == Some(&GONE.into());
        is_gone.then_some(PlaceFate { created_ms: record.created_ms, reason })
    }

    async fn own_container(&self, workspace: &WorkspaceId) -> Result<Option<Found>> {
        let found = self.engine.container(&self.home.container(workspace)).await?;
        let ours =
            |found: &Found| judge(found, &self.home, workspace, "", None) != Verdict::Foreign;
        Ok(found.filter(ours))
    }

    /// One that runs, and of which there is no record.
    async fn reached(&self, place: &Place, found: &Found) -> Result<ContainerExecutor> {
        let user = user(self.options.owner, &self.engine.facts().await?);
        let reach = self.reach(place, &found.id, &found.name, &user);
        let way = if place.connect().await.is_ok() { Way::Socket } else { Way::Exec };
        let remote = reach.open_warm(way).await?;
        Ok(ContainerExecutor::new(remote, reach.warden))
    }
}

fn slow() -> ToolError {
    let message = format!("the engine does not say within {} s what runs", ASKED.as_secs());
    ToolError::new(ErrorCode::DeadlineExceeded, message).with_hint("look at it with `docker info`")
}
