//! Clearing away what nobody needs any more.

use std::time::Duration;

use stigmer_core::{ErrorCode, Result, WorkspaceId};

use crate::engine::State;
use crate::lock::Lock;
use crate::manager::DockerManager;

impl DockerManager {
    /// Removes containers that ended or were half made, and all that is kept of workspaces that
    /// nobody knows. What somebody else changes at this moment is left to them.
    pub(crate) async fn clear_away(
        &self,
        is_known: &(dyn Fn(&WorkspaceId) -> bool + Send + Sync),
    ) -> Result<usize> {
        let all = self.engine.labelled(&self.home.filter()).await?;
        let mut gone = self.tidy_pool(&all).await?;
        for found in all {
            let Some(workspace) = self.home.workspace(&found) else { continue };
            if !is_known(&workspace) {
                gone += usize::from(self.destroyed(&workspace).await?);
            } else if matches!(found.state, State::Created | State::Ended) {
                let place = self.place(&workspace);
                place.make()?;
                match Lock::take(place.path(), Duration::ZERO).await {
                    Ok(_lock) => {
                        self.engine.remove(&found.id).await?;
                        gone += 1;
                    }
                    Err(error) if error.code == ErrorCode::Busy => {}
                    Err(error) => return Err(error),
                }
            }
        }
        for workspace in self.places() {
            if !is_known(&workspace) {
                gone += usize::from(self.destroyed(&workspace).await?);
            } else if self.place(&workspace).claimed().exists() {
                gone += usize::from(self.claim_cleared(&workspace).await?);
            }
        }
        Ok(gone)
    }

    async fn destroyed(&self, workspace: &WorkspaceId) -> Result<bool> {
        let place = self.place(workspace);
        place.make()?;
        match Lock::take(place.path(), Duration::ZERO).await {
            Ok(lock) => drop(lock),
            Err(error) if error.code == ErrorCode::Busy => return Ok(false),
            Err(error) => return Err(error),
        }
        self.destroy(workspace).await?;
        Ok(true)
    }

    /// Ends a claim whose maker died; false if it lives.
    async fn claim_cleared(&self, workspace: &WorkspaceId) -> Result<bool> {
        let place = self.place(workspace);
        match Lock::take(place.path(), Duration::ZERO).await {
            Ok(_lock) => self.clear_claim(&place).await.map(|()| true),
            Err(error) if error.code == ErrorCode::Busy => Ok(false),
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
