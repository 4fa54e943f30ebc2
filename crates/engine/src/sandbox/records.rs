//! What is on disk of the commands of a sandbox whose container is gone.
//!
//! The files were written inside, by commands that are shut in: they may be anything.

use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, statat};
use std::os::fd::OwnedFd;
use stigmer_core::process::ProcessInfo;
use stigmer_core::{ErrorCode, ProcessId, Result, ToolError, ToolExecutor as _};
use stigmer_host::{HostExecutor, HostOptions, ProcessOptions, ProcessScope};
use tokio::runtime::Handle;

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

    /// All of them. What was planted takes its time, so it is read where nobody else has to wait.
    pub(crate) async fn list(&self) -> Result<Vec<ProcessInfo>> {
        let (executor, runtime) = (self.executor(), Handle::current());
        let listing = move || runtime.block_on(executor.list_processes());
        tokio::task::spawn_blocking(listing).await.unwrap_or_else(|error| {
            let message = format!("reading the records of a sandbox broke off: {error}");
            Err(ToolError::new(ErrorCode::Io, message))
        })
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
    use futures_util::StreamExt as _;
    use std::os::unix::fs::symlink;
    use stigmer_core::process::{ExitStatus, OutputEvent, ProcessState, ReadOutput, SignalRequest};

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
        let list = records.list().await.unwrap();
        assert_eq!(list.len(), 1, "{list:?}");
        assert_eq!(list[0].id, ours);
        assert_eq!(list[0].state, ProcessState::Lost);
        assert!(records.executor().process(&theirs).await.is_err());
    }

    /// The first bytes of a log: one frame of standard output, which is longer than any.
    const ENDLESS: [u8; 8] = [1, 0, 0, 0, 255, 255, 255, 255];

    #[tokio::test]
    async fn records_that_are_damaged_or_endless_hide_no_others() {
        let home = tempfile::tempdir().unwrap();
        let processes = home.path().join("shared/state/processes");
        let id = ProcessId::from_random;
        let of = |number, name: &str| {
            write(&processes, &id(number));
            processes.join(id(number).as_str()).join(name)
        };
        let endless = |path: &Path, begin: &[u8]| {
            std::fs::write(path, begin).unwrap();
            std::fs::File::options().write(true).open(path).unwrap().set_len(8 << 40).unwrap();
        };
        // These are listed: what is wrong with them is not what they are.
        endless(&of(1, "output.0000000000000000"), &ENDLESS);
        std::fs::write(of(2, "output.0000000000000000"), "no log").unwrap();
        endless(&of(4, "output.ffffffffffffffff"), &[4, 0, 0, 0, 8, 0, 0, 0, 255, 255]);
        let fifo = of(5, "output.0000000000000000");
        rustix::fs::mknodat(CWD, fifo, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        std::fs::write(of(6, "control"), "no socket").unwrap();
        of(7, "");
        // These are not: nothing can be said of them.
        endless(&of(3, "exit.json"), b" ");
        endless(&of(8, "process.json"), b" ");
        std::fs::write(of(9, "process.json"), "{}").unwrap();
        std::fs::remove_file(of(10, "process.json")).unwrap();
        // One that answers nonsense is there.
        let control = of(11, "control");
        let listener = tokio::net::UnixListener::bind(&control).unwrap();
        let answering = tokio::spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.write_all(&[0xff; 64]).await;
            }
        });
        let list = Records::open(home.path()).unwrap().list().await.unwrap();
        answering.abort();
        let mut found: Vec<(ProcessId, ProcessState)> =
            list.into_iter().map(|info| (info.id, info.state)).collect();
        let lost = [1, 2, 4, 5, 6, 7].map(|number| (id(number), ProcessState::Lost));
        let mut expected = [&lost[..], &[(id(11), ProcessState::Running)]].concat();
        expected.sort_by(|one, other| one.0.cmp(&other.0));
        found.sort_by(|one, other| one.0.cmp(&other.0));
        assert_eq!(found, expected);
    }

    #[tokio::test]
    async fn what_one_listing_reads_and_holds_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        let processes = home.path().join("shared/state/processes");
        let long = "x".repeat(8 << 20);
        for number in 0..20 {
            let id = ProcessId::from_random(number);
            write(&processes, &id);
            let record = RECORD.replace("ID", id.as_str()).replace("secret", &long);
            std::fs::write(processes.join(id.as_str()).join("process.json"), record).unwrap();
        }
        let list = Records::open(home.path()).unwrap().list().await.unwrap();
        // Seven of them fit into 64 MiB; on a slow machine the time is over before.
        assert!((1..=7).contains(&list.len()), "{}", list.len());
    }

    #[tokio::test]
    async fn what_is_in_a_container_does_not_say_that_it_was_in_a_lane_of_the_host() {
        let home = tempfile::tempdir().unwrap();
        let processes = home.path().join("shared/state/processes");
        let id = ProcessId::from_random(1);
        write(&processes, &id);
        let routing =
            r#""routing":{"lane":"host_read_only","rule":"ls","token":"ls","reason":"r"}"#;
        let record = RECORD.replace("ID", id.as_str()).replacen('{', &format!("{{{routing},"), 1);
        std::fs::write(processes.join(id.as_str()).join("process.json"), record).unwrap();
        let exit = r#"{"code":1,"reason":"exited","ended_ms":2,"duration_ms":1,"output_bytes":0,
            "denied":{"denials":[{"call":"open","errno":13}]}}"#;
        let read: ExitStatus = serde_json::from_str(exit).unwrap();
        assert!(read.denied.is_some(), "it is a claim that would be understood");
        std::fs::write(processes.join(id.as_str()).join("exit.json"), exit).unwrap();

        let records = Records::open(home.path()).unwrap();
        let mut list = records.list().await.unwrap();
        let executor = records.executor();
        let info = executor.process(&id).await.unwrap();
        assert_eq!(list.pop(), Some(info.clone()));
        assert_eq!(info.routing, None);
        let exit = executor.wait(&id).await.unwrap();
        assert_eq!((exit.code, exit.denied.as_ref()), (1, None));
        assert_eq!(info.exit.as_ref(), Some(&exit));
        let cancelled = executor.signal(&id, SignalRequest::Cancel).await.unwrap();
        assert_eq!(cancelled.as_ref(), Some(&exit));
        let events = executor.process_output(&id, ReadOutput::default()).await.unwrap();
        let events: Vec<_> = events.collect().await;
        assert_eq!(events, [Ok(OutputEvent::Exit(exit))]);
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
