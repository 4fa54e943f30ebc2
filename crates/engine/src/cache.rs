//! Executors that were opened and may be used again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stigmer_core::WorkspaceId;
use stigmer_host::HostExecutor;

use crate::auto::AutoWorkspace;

/// How many are kept. Each holds a descriptor; the one that was not used for longest goes first, and
/// whoever works with it keeps it.
const MOST_KEPT: usize = 256;

/// What is kept of an executor from one request to the next.
#[derive(Clone, Debug)]
pub(crate) enum Kept {
    /// In local mode: all of it.
    Host(Arc<HostExecutor>),
    /// In auto mode.
    Auto(Arc<AutoWorkspace>),
}

impl Kept {
    /// Whether a path still leads to the root.
    pub(crate) fn is_at(&self, path: &Path) -> bool {
        match self {
            Self::Host(executor) => executor.is_at(path),
            Self::Auto(workspace) => workspace.is_at(path),
        }
    }
}

/// An executor and what it was opened for.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) executor: Kept,
    pub(crate) id: WorkspaceId,
    /// The path that it was opened by.
    pub(crate) given: PathBuf,
}

/// The executors, by the name that was asked for: an id or a path.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: HashMap<String, (u64, Opened)>,
    uses: u64,
}

impl Cache {
    pub(crate) fn get(&mut self, name: &str) -> Option<Opened> {
        self.uses += 1;
        let (used, opened) = self.entries.get_mut(name)?;
        *used = self.uses;
        Some(opened.clone())
    }

    pub(crate) fn put(&mut self, name: &str, opened: Opened) {
        self.uses += 1;
        self.entries.insert(name.to_owned(), (self.uses, opened));
        while self.entries.len() > MOST_KEPT {
            let oldest = self.entries.iter().min_by_key(|(_, (used, _))| *used);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { return };
            self.entries.remove(&name);
        }
    }

    /// Lets go of a workspace under all of its names.
    pub(crate) fn remove(&mut self, id: &WorkspaceId) {
        self.entries.retain(|_, (_, opened)| opened.id != *id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stigmer_host::HostOptions;

    #[test]
    fn the_one_that_was_not_used_for_longest_goes() {
        let home = tempfile::tempdir().unwrap();
        let options = HostOptions::new(home.path(), home.path().join("state"));
        let opened = Opened {
            executor: Kept::Host(Arc::new(HostExecutor::open(options).unwrap())),
            id: WorkspaceId::from_number(1),
            given: home.path().to_owned(),
        };
        let mut cache = Cache::default();
        for number in 0..MOST_KEPT {
            cache.put(&number.to_string(), opened.clone());
        }
        assert!(cache.get("0").is_some());
        cache.put("new", opened.clone());
        assert!(cache.get("0").is_some() && cache.get("new").is_some());
        assert!(cache.get("1").is_none());
        assert_eq!(cache.entries.len(), MOST_KEPT);
        cache.remove(&opened.id);
        assert_eq!(cache.entries.len(), 0);
    }
}
