//! Whether a daemon runs.
//!
//! The daemon holds a lock on a file for its life, and the kernel lets go of it when the process
//! ends, however it ends. The lock is a process's own (`F_SETLK`), not that of a descriptor: the
//! kernel names its holder, and what the daemon forks or starts does not hold it. Such a lock is
//! lost when any descriptor of the file is closed by its holder, so that nothing else in the daemon
//! may open the file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid, fcntl_getlk};
use stigmer_core::{FilePath, Result, ToolError};

/// The lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Who holds the lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Its process id; `None` if it lives in a PID namespace that we do not see.
    pub(crate) pid: Option<Pid>,
}

impl Lock {
    /// Takes the lock; nothing if somebody holds it. The file is made if it is missing.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|error| failed("open", path, &error))?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(Errno::AGAIN | Errno::ACCESS) => Ok(None),
            Err(error) => Err(failed("lock", path, &error.into())),
        }
    }
}

/// Who holds the lock, if anybody does. Our own process does not count.
pub(crate) fn holder(path: &Path) -> Result<Option<Holder>> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path, &error)),
    };
    let found = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))
        .map_err(|error| failed("look at the lock on", path, &error.into()))?;
    Ok(found.map(|lock| Holder { pid: lock.pid }))
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> ToolError {
    let mut error = ToolError::from_io(operation, &FilePath::from(path), error);
    error.hint = None;
    error
}
