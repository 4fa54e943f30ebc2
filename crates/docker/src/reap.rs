//! Clearing away what nobody needs any more.

use std::collections::HashSet;
use std::time::Duration;

use stigmer_core::{ErrorCode, Result, WorkspaceId};

use crate::engine::{Found, State};
use crate::lock::Lock;
use crate::manager::DockerManager;
use crate::record::Record;
use crate::shared::Place;
use crate::transitions::now_ms;

impl DockerManager {
    /// Removes containers that ended or were half made, and all that is kept of workspaces that
    /// nobody knows. What somebody else changes at this moment is left to them, and one in which
    /// commands run to its end. A place that cannot be cleared away keeps no other: what is wrong
    /// with the first is told when all are done.
    pub(crate) async fn clear_away(
        &self,
        is_known: &(dyn Fn(&WorkspaceId) -> bool + Send + Sync),
    ) -> Result<usize> {
        let all = self.engine.labelled(&self.home.filter()).await?;
        let tidied = self.tidy_pool(&all).await;
        let (mut gone, mut failed) = (HashSet::new(), tidied.as_ref().err().cloned());
        let mut note = |workspace: &WorkspaceId, cleared: Result<bool>| match cleared {
            Ok(true) => drop(gone.insert(workspace.clone())),
            Ok(false) => {}
            Err(error) => drop(failed.get_or_insert(error)),
        };
        for found in &all {
            let Some(workspace) = self.home.workspace(found) else { continue };
            let ended = matches!(found.state, State::Created | State::Ended);
            // Of what nobody knows the rest follows.
            if ended || !is_known(&workspace) || self.is_forgotten(&workspace, found) {
                note(&workspace, self.container_cleared(&workspace, found).await);
            }
        }
        for workspace in self.places() {
            let cleared = if !is_known(&workspace) {
                self.destroyed(&workspace).await
            } else if self.place(&workspace).claimed().exists() {
                self.claim_cleared(&workspace).await
            } else {
                continue;
            };
            note(&workspace, cleared);
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(tidied.unwrap_or_default() + gone.len()),
        }
    }

    /// Removes a container in which nothing runs, and no more of it.
    async fn container_cleared(&self, workspace: &WorkspaceId, found: &Found) -> Result<bool> {
        let place = self.place(workspace);
        place.make()?;
        let Some(_lock) = self.at_once(&place).await? else { return Ok(false) };
        if !self.is_idle(&place, found).await? {
            return Ok(false);
        }
        self.engine.remove(&found.id).await?;
        Ok(true)
    }

    /// Whether a container was stopped for so long that it would have ended by itself, had it been
    /// left running and not used: one that is paused counts no time.
    fn is_forgotten(&self, workspace: &WorkspaceId, found: &Found) -> bool {
        let record = Record::read(self.place(workspace).path()).ok().flatten();
        found.state == State::Paused
            && record.is_some_and(|record| {
                let over = record.kept_until_ms.is_some_and(|until| until <= now_ms());
                record.container == found.id && record.stopped && over
            })
    }

    /// Makes sure that no command runs in a container, and that none begins. One that does not answer
    /// may have some.
    async fn is_idle(&self, place: &Place, found: &Found) -> Result<bool> {
        match found.state {
            State::Created | State::Ended => return Ok(true),
            State::Paused => {
                let record = Record::read(place.path())?;
                return Ok(
                    record.is_some_and(|record| record.container == found.id && record.stopped)
                );
            }
            State::Running => {}
        }
        let ended =
            self.end_if_unused(place, found, "nobody knows the workspace", async { Ok(()) });
        Ok(ended.await.is_ok())
    }

    /// Removes what is kept of a workspace that has no container; false if it has.
    async fn destroyed(&self, workspace: &WorkspaceId) -> Result<bool> {
        let place = self.place(workspace);
        match self.at_once(&place).await? {
            Some(lock) => drop(lock),
            None => return Ok(false),
        }
        if self.ours(&self.home.container(workspace), workspace).await?.is_some() {
            return Ok(false);
        }
        self.destroy(workspace).await?;
        Ok(true)
    }

    /// Ends a claim whose maker died; false if it lives.
    async fn claim_cleared(&self, workspace: &WorkspaceId) -> Result<bool> {
        let place = self.place(workspace);
        match self.at_once(&place).await? {
            Some(_lock) => self.clear_claim(&place).await.map(|()| true),
            None => Ok(false),
        }
    }

    /// The right to change a workspace's container, if nobody has it.
    async fn at_once(&self, place: &Place) -> Result<Option<Lock>> {
        match Lock::take(place.path(), Duration::ZERO).await {
            Ok(lock) => Ok(Some(lock)),
            Err(error) if error.code == ErrorCode::Busy => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Workspaces that something is kept of on this machine.
    pub(crate) fn places(&self) -> Vec<WorkspaceId> {
        let entries = std::fs::read_dir(&self.options.state).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter_map(|name| name.parse().ok()).collect()
    }
}
