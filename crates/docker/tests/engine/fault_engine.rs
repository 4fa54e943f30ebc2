//! An engine that may be killed and hung, which `scripts/fault-engine` runs as root for the tests:
//! only root may send an engine signals. The tests stay who they are. The command line's tests have this
//! file, too.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Where it is.
pub(crate) const DIRECTORY: &str = "STIGMER_FAULT_ENGINE";

/// The engine, for one test at a time.
pub(crate) struct FaultEngine {
    directory: PathBuf,
    _lock: File,
}

impl FaultEngine {
    /// Nothing if there is none.
    pub(crate) fn find() -> Option<Self> {
        let directory = PathBuf::from(std::env::var_os(DIRECTORY)?);
        let lock = File::options().write(true).open(directory.join("lock")).unwrap();
        flock(&lock, FlockOperation::LockExclusive).unwrap();
        Some(Self { directory, _lock: lock })
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.directory.join("sock").display())
    }

    /// Has something done to it, and waits until it is done.
    pub(crate) fn ask(&self, word: &str) {
        let answer = self.try_ask(word);
        assert_eq!(answer, "done", "{word}");
    }

    fn try_ask(&self, word: &str) -> String {
        let open = |name: &str| {
            let path: &Path = &self.directory.join(name);
            File::options().read(true).write(true).open(path).unwrap()
        };
        let answers = BufReader::new(open("answer"));
        writeln!(open("control"), "{word}").unwrap();
        answers.lines().next().unwrap().unwrap()
    }
}

impl Drop for FaultEngine {
    /// The next test finds one that answers.
    fn drop(&mut self) {
        for word in ["wake", "start"] {
            let _ = self.try_ask(word);
        }
    }
}
