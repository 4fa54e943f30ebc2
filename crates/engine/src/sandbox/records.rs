//! What is on disk of the commands of a sandbox whose container is gone.
//!
//! The files were written inside, by commands that are shut in: they may be anything.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use std::os::fd::OwnedFd;
use stigmer_core::{ProcessId, Result};
use stigmer_host::{HostExecutor, HostOptions, ProcessOptions, ProcessScope};

/// The records of one sandbox.
pub(crate) struct Records {
    /// The directory of the records, held open.
    processes: Arc<OwnedFd>,
    executor: Arc<HostExecutor>,
}

impl Records {
    /// The records in a sandbox's directory, if there are any. No link below it is followed.
    pub(crate) fn open(place: &Path) -> Option<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mut directory = openat(CWD, place, flags, Mode::empty()).ok()?;
        for name in ["shared", "state", "processes"] {
            directory = openat(&directory, name, flags, Mode::empty()).ok()?;
        }
        let processes = Arc::new(directory);
        let executor = executor(place, &processes).ok()?;
        Some(Self { processes, executor: Arc::new(executor) })
    }

    /// Whether there is a record of a command.
    pub(crate) fn has(&self, id: &ProcessId) -> bool {
        statat(&self.processes, id.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// What looks after these commands, as far as one can from outside.
    pub(crate) fn executor(&self) -> Arc<HostExecutor> {
        Arc::clone(&self.executor)
    }
}

/// It starts nothing, and its files are the place's own, which nobody is let to.
fn executor(place: &Path, processes: &Arc<OwnedFd>) -> Result<HostExecutor> {
    HostExecutor::open(HostOptions {
        root: place.to_owned(),
        state: place.to_owned(),
        resolver: None,
        processes: ProcessOptions {
            launcher: None,
            scope: ProcessScope::All,
            records: Some(Arc::clone(processes)),
            ..ProcessOptions::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use stigmer_core::ToolExecutor;

    const RECORD: &str = r#"{"stigmer":"0","id":"ID","command":{"shell":"secret"},
        "workspace":"/w","cwd":"/w","started_ms":1,"terminal":false,"detached":true}"#;

    fn write(processes: &Path, id: &ProcessId) {
        std::fs::create_dir_all(processes.join(id.as_str())).unwrap();
        let record = RECORD.replace("ID", id.as_str());
        std::fs::write(processes.join(id.as_str()).join("process.json"), record).unwrap();
    }

    #[tokio::test]
    async fn what_has_no_end_and_no_supervisor_is_lost_and_nothing_outside_is_read() {
        let home = tempfile::tempdir().unwrap();
        let (place, outside) = (home.path().join("place"), home.path().join("outside"));
        let processes = place.join("shared/state/processes");
        let (ours, theirs) = (ProcessId::from_random(1), ProcessId::from_random(2));
        write(&processes, &ours);
        write(&outside, &theirs);
        // A command that calls itself as another, one that is a link, one that is a file.
        symlink(outside.join(theirs.as_str()), processes.join(theirs.as_str())).unwrap();
        let liar = ProcessId::from_random(3);
        write(&processes, &liar);
        let lie = RECORD.replace("ID", theirs.as_str());
        std::fs::write(processes.join(liar.as_str()).join("process.json"), lie).unwrap();
        std::fs::write(processes.join(ProcessId::from_random(4).as_str()), "").unwrap();
        let records = Records::open(&place).unwrap();
        let list = records.executor().list_processes().await.unwrap();
        assert_eq!(list.len(), 1, "{list:?}");
        assert_eq!(list[0].id, ours);
        assert_eq!(list[0].state, stigmer_core::process::ProcessState::Lost);
        assert!(records.executor().process(&theirs).await.is_err());
    }

    #[test]
    fn a_directory_that_is_a_link_is_none() {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        write(&outside.join("state/processes"), &ProcessId::from_random(1));
        for (place, link, target) in [
            ("a", "a/shared", "../outside"),
            ("b/shared", "b/shared/state", "../../outside/state"),
            ("c/shared/state", "c/shared/state/processes", "../../../outside/state/processes"),
        ] {
            std::fs::create_dir_all(home.path().join(place)).unwrap();
            symlink(target, home.path().join(link)).unwrap();
            assert!(home.path().join(link).read_dir().is_ok(), "{link} leads there");
            assert!(Records::open(&home.path().join(&place[..1])).is_none(), "{link}");
        }
    }
}
