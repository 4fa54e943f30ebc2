//! Whether a daemon runs.
//!
//! The daemon holds a lock on a file for its life, and the kernel lets go of it when the process
//! ends, however it ends. The lock belongs to the open file (`F_OFD_SETLK`, `fcntl(2)`) and not to
//! the process: a process's own lock would be lost as soon as anything in the daemon closed another
//! descriptor of the file, and a daemon opens whatever its clients ask it to read.
//!
//! Such a lock does not tell who holds it. The daemon's socket does: the kernel names the process
//! that listens on it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Pid;
use stigmer_core::{FilePath, Result, ToolError};

/// The lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock; nothing if somebody holds it. The file is made if it is missing.
    pub(crate) fn take(path: &Path) -> Result<Option<Self>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(|error| failed("open", path, &error))?;
        match control(&file, libc::F_OFD_SETLK) {
            Ok(_) => Ok(Some(Self { _file: file })),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(None),
            Err(error) => Err(failed("lock", path, &error)),
        }
    }
}

/// Whether somebody holds the lock. Nothing is taken, so that whoever starts just now is not hindered.
pub(crate) fn is_held(path: &Path) -> Result<bool> {
    let file = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open", path, &error)),
    };
    let found = control(&file, libc::F_OFD_GETLK)
        .map_err(|error| failed("look at the lock on", path, &error))?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

/// The process that listens on a socket; nothing if nobody does, or somebody in a PID namespace that
/// we do not see.
pub(crate) fn listener(socket: &Path) -> Option<Pid> {
    let stream = UnixStream::connect(socket).ok()?;
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the descriptor is open, and the kernel writes at most `length` bytes into the structure.
    let read = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    // Zero stands for a process that we do not see.
    if read == 0 { Pid::from_raw(peer.pid) } else { None }
}

/// One operation with a lock on the whole file.
fn control(file: &File, operation: libc::c_int) -> io::Result<libc::flock> {
    // SAFETY: the structure is numbers only, for which zero is a value.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    // SAFETY: the descriptor is open, and the kernel reads and writes the structure during the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), operation, &raw mut lock) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(lock),
    }
}

fn failed(operation: &str, path: &Path, error: &io::Error) -> ToolError {
    let mut error = ToolError::from_io(operation, &FilePath::from(path), error);
    error.hint = None;
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_outlives_whoever_reads_its_file() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("lock");
        assert!(!is_held(&path).unwrap());
        let lock = Lock::take(&path).unwrap().unwrap();
        drop(std::fs::read(&path).unwrap());
        drop(File::options().write(true).open(&path).unwrap());
        assert!(is_held(&path).unwrap() && Lock::take(&path).unwrap().is_none());
        drop(lock);
        assert!(!is_held(&path).unwrap() && Lock::take(&path).unwrap().is_some());
    }
}
