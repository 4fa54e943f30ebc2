//! What a supervisor tells the journal.

use std::path::PathBuf;

use stigmer_core::Place;
use stigmer_core::event::EventKind;
use stigmer_core::process::ExitStatus;

use super::protocol::Launch;
use crate::journal::{self, Journal};

/// Tells of one command's beginning and end, each once. A journal that cannot be written stops no
/// command: `process.json` and `exit.json` are the truth.
#[derive(Debug)]
pub(super) struct News {
    /// Where it is. It is opened each time: a command may run for days, and a segment that is held
    /// open keeps its space when it is removed.
    journal: Option<PathBuf>,
    launch: Told,
}

/// What is told of a launch.
#[derive(Debug)]
struct Told {
    id: stigmer_core::ProcessId,
    workspace: stigmer_core::FilePath,
    detached: bool,
    traceparent: Option<String>,
}

impl News {
    pub(super) fn of(launch: &Launch) -> Self {
        let told = Told {
            id: launch.id.clone(),
            workspace: launch.workspace.clone(),
            detached: launch.client_grace.is_none(),
            traceparent: launch.traceparent.clone(),
        };
        Self { journal: launch.journal.clone(), launch: told }
    }

    /// The command runs.
    pub(super) fn started(&self) {
        let Told { id, detached, traceparent, .. } = &self.launch;
        self.tell(EventKind::ProcessStarted {
            id: id.clone(),
            place: Place::Host,
            detached: *detached,
            traceparent: traceparent.clone(),
        });
    }

    /// It has ended, if it has.
    pub(super) fn ended(&mut self, exit: Option<&ExitStatus>) {
        let (Some(exit), true) = (exit, self.journal.is_some()) else { return };
        let Told { id, traceparent, .. } = &self.launch;
        self.tell(EventKind::ProcessEnded {
            id: id.clone(),
            exit: exit.clone(),
            traceparent: traceparent.clone(),
        });
        self.journal = None;
    }

    fn tell(&self, kind: EventKind) {
        if let Some(journal) = &self.journal {
            let _ =
                Journal::new(journal).append(&journal::event(self.launch.workspace.clone(), kind));
        }
    }
}
