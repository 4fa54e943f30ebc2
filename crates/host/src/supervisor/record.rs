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
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{FileType, Mode, OFlags, openat, renameat};
use serde::{Deserialize, Serialize};
use stigmer_core::process::{Command, ExitStatus};
use stigmer_core::{FilePath, ProcessId, Routing};

/// The supervisor's socket.
pub const CONTROL: &str = "control";
const PROCESS: &str = "process.json";
const EXIT: &str = "exit.json";
const EXIT_PENDING: &str = "exit.pending";

/// Room that is kept for the exit record, so that a full disk cannot swallow it; without survivors
/// it needs half as much.
const EXIT_LENGTH: usize = 512;

/// The longest record that is read: the longest command line that Linux takes (`ARG_MAX` of 6 MiB
/// with the largest stack), each byte of it escaped.
const MAX_RECORD: u64 = 32 << 20;

/// The longest exit record that is read: it has a line for each process that could not be killed,
/// and those are few.
const MAX_EXIT: u64 = 1 << 20;

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
    /// What auto mode made of it, if it is in a lane on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing: Option<Box<Routing>>,
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
        let published = self.publish_whole(directory, exit);
        if published.is_err() && exit.denied.is_some() {
            // What was refused needs more room than was kept; how it ended must not be lost with it.
            let exit = ExitStatus { denied: None, ..exit.clone() };
            self.0.set_len(EXIT_LENGTH as u64)?;
            return self.publish_whole(directory, &exit);
        }
        published
    }

    fn publish_whole(&self, directory: &OwnedFd, exit: &ExitStatus) -> std::io::Result<()> {
        let mut json = serde_json::to_vec(exit)?;
        // Spaces before and behind JSON mean nothing.
        json.resize(json.len().max(EXIT_LENGTH), b' ');
        self.0.write_all_at(&json, 0)?;
        Ok(renameat(directory, EXIT_PENDING, directory, EXIT)?)
    }
}

/// Reads what was started; `None` if that is not written (yet).
pub fn read_process(directory: &OwnedFd) -> Option<ProcessRecord> {
    read(directory, PROCESS, MAX_RECORD)
}

/// How many bytes the records have; `None` if nothing says what was started.
pub fn length(directory: &OwnedFd) -> Option<u64> {
    let length = |name| Some(open_regular(directory, name).ok()?.metadata().ok()?.len());
    length(PROCESS)?.checked_add(length(EXIT).unwrap_or(0))
}

/// Reads how it ended; `None` if it has not.
pub fn read_exit(directory: &OwnedFd) -> Option<ExitStatus> {
    read(directory, EXIT, MAX_EXIT)
}

fn create(directory: &OwnedFd, name: &str) -> std::io::Result<File> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    Ok(openat(directory, name, flags, Mode::from_raw_mode(0o600))?.into())
}

/// A record, if there is one and it is whole. Whoever wrote it may be somebody whose commands are
/// shut in, and may have put anything in its place.
fn read<T: for<'de> Deserialize<'de>>(directory: &OwnedFd, name: &str, most: u64) -> Option<T> {
    let file = open_regular(directory, name).ok()?;
    serde_json::from_reader(std::io::BufReader::new(file.take(most))).ok()
}

/// Opens a file to be read: no link is followed, nothing is waited for, and nothing but a regular
/// file is taken.
///
/// # Errors
/// `ELOOP` for a link, `EINVAL` for what is no regular file, and what the file system says.
pub(super) fn open_regular(
    directory: impl std::os::fd::AsFd,
    name: impl rustix::path::Arg,
) -> Result<File, rustix::io::Errno> {
    // Without NONBLOCK a FIFO makes whoever opens it wait for a writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = openat(directory, name, flags, Mode::empty())?;
    let found = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
        return Err(rustix::io::Errno::INVAL);
    }
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::CWD;

    /// A directory as somebody would fill it whose commands are shut in.
    fn planted(name: &str, plant: impl FnOnce(&std::path::Path)) -> Option<serde_json::Value> {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::write(scratch.path().join("outside"), "{\"secret\":1}").unwrap();
        let inside = scratch.path().join("inside");
        std::fs::create_dir(&inside).unwrap();
        plant(&inside.join(name));
        let directory =
            rustix::fs::open(&inside, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
        read(&directory, name, MAX_EXIT)
    }

    #[test]
    fn a_planted_link_fifo_or_directory_is_no_record() {
        let link = |path: &std::path::Path| std::os::unix::fs::symlink("../outside", path).unwrap();
        assert_eq!(planted(PROCESS, link), None);
        let fifo = |path: &std::path::Path| {
            rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
        };
        assert_eq!(planted(EXIT, fifo), None);
        assert_eq!(planted(EXIT, |path| std::fs::create_dir(path).unwrap()), None);
        let good = planted(EXIT, |path| std::fs::write(path, "{}").unwrap());
        assert_eq!(good, Some(serde_json::json!({})));
    }

    #[test]
    fn a_record_without_end_is_given_up() {
        let endless = planted(EXIT, |path| {
            let mut file = File::create(path).unwrap();
            file.write_all(b"{}").unwrap();
            file.set_len(1 << 40).unwrap();
        });
        assert_eq!(endless, None);
    }
}
