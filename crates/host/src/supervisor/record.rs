//! What a process's directory says, beside its log.
//!
//! ```text
//! <state>/processes/<id>/
//!     process.json      what was started; written before the command runs
//!     output.<offset>   the log
//!     control           the supervisor's socket; gone when nobody can write any more
//!     exit.json         how it ended; appears by rename
//! ```
//!
//! `exit.json` missing and nobody listening on `control` means that the supervisor died: the
//! process is lost.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, Mode, OFlags, fstat, openat, renameat};
use rustix::io::Errno;
use rustix::path::Arg;
use serde::{Deserialize, Serialize};
use stigmer_core::process::{Command, ExitStatus};
use stigmer_core::{FilePath, ProcessId};

/// The supervisor's socket.
pub const CONTROL: &str = "control";
const PROCESS: &str = "process.json";
const EXIT: &str = "exit.json";
const EXIT_PENDING: &str = "exit.pending";

/// Room that is kept for the exit record, so that a full disk cannot swallow it; without survivors
/// it needs half as much.
const EXIT_LENGTH: usize = 512;

/// More than a command line takes that a program can be given, however it is escaped.
const MAX_RECORD: u64 = 16 << 20;

/// What was started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRecord {
    /// The version of stigmer that wrote it.
    pub stigmer: String,
    /// The process's id.
    pub id: ProcessId,
    /// What was run.
    pub command: Command,
    /// The workspace's root.
    pub workspace: FilePath,
    /// Where it was run.
    pub cwd: FilePath,
    /// When, milliseconds since 1970.
    pub started_ms: u64,
    /// Whether it has a terminal.
    pub terminal: bool,
    /// Whether it goes on without a client.
    pub detached: bool,
    /// The trace that it belongs to: a W3C `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
}

/// Writes what is started, and keeps room for how it ends.
///
/// # Errors
/// What the file system says.
pub fn write_process(directory: &OwnedFd, record: &ProcessRecord) -> std::io::Result<ExitRecord> {
    let mut file = create(directory, PROCESS)?;
    file.write_all(&serde_json::to_vec(record)?)?;
    let pending = create(directory, EXIT_PENDING)?;
    pending.write_all_at(&[b' '; EXIT_LENGTH], 0)?;
    Ok(ExitRecord(pending))
}

/// Room for how a process ends.
#[derive(Debug)]
pub struct ExitRecord(File);

impl ExitRecord {
    /// Writes how it ended. The record is there whole or not at all.
    ///
    /// # Errors
    /// What the file system says.
    pub fn publish(&self, directory: &OwnedFd, exit: &ExitStatus) -> std::io::Result<()> {
        let mut json = serde_json::to_vec(exit)?;
        // Spaces before and behind JSON mean nothing.
        json.resize(json.len().max(EXIT_LENGTH), b' ');
        self.0.write_all_at(&json, 0)?;
        Ok(renameat(directory, EXIT_PENDING, directory, EXIT)?)
    }
}

/// Reads what was started; `None` if that is not written (yet).
pub fn read_process(directory: &OwnedFd) -> Option<ProcessRecord> {
    read(directory, PROCESS)
}

/// Reads how it ended; `None` if it has not.
pub fn read_exit(directory: &OwnedFd) -> Option<ExitStatus> {
    read(directory, EXIT)
}

fn create(directory: &OwnedFd, name: &str) -> std::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::from_raw_mode(0o600))?.into())
}

/// Opens a file that somebody else may have put there, in a container for one: no link is followed,
/// and whatever is not a file is not waited for.
///
/// # Errors
/// What the file system says, and `ELOOP` of anything but a file.
pub(super) fn open_file(directory: impl AsFd, name: impl Arg) -> rustix::io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(directory, name, flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(Errno::LOOP),
    }
}

fn read<T: for<'de> Deserialize<'de>>(directory: &OwnedFd, name: &str) -> Option<T> {
    let file = open_file(directory, name).ok()?;
    serde_json::from_reader(std::io::BufReader::new(file.take(MAX_RECORD))).ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, mknodat};

    use super::*;

    #[test]
    fn what_is_no_file_of_ours_is_no_record_and_holds_nobody_up() {
        let home = tempfile::tempdir().unwrap();
        let elsewhere = home.path().join("elsewhere");
        std::fs::write(&elsewhere, "true").unwrap();
        let open = |path| openat(CWD, path, OFlags::DIRECTORY, Mode::empty()).unwrap();
        let directory = open(home.path());
        assert_eq!(read::<bool>(&directory, "elsewhere"), Some(true));
        symlink(&elsewhere, home.path().join("link")).unwrap();
        let fifo = home.path().join("fifo");
        mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let huge = File::create(home.path().join("huge")).unwrap();
        huge.write_all_at(&vec![b' '; usize::try_from(MAX_RECORD).unwrap()], 0).unwrap();
        huge.write_all_at(b"true", MAX_RECORD).unwrap();
        for name in ["link", "fifo", "huge", "."] {
            assert_eq!(read::<bool>(&directory, name), None, "{name}");
        }
    }
}
