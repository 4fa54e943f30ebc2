//! The proof that what a container has at the workspace's path is the workspace.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use stigmer_core::file::ReadFile;
use stigmer_core::{ByteString, ErrorCode, Result, ToolError, ToolExecutor};

use crate::executor::ContainerExecutor;
use crate::manager::DockerManager;
use crate::record::Files;
use crate::root::Root;

/// What the file begins with; hidden, and known to be ours if we die before it is removed.
const PREFIX: &str = ".stigmer-proof-";

/// How old a proof is that nobody will remove.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// Why no file can be made in a directory that is well otherwise.
const UNWRITABLE: [i32; 5] = [
    Errno::ACCESS.raw_os_error(),
    Errno::PERM.raw_os_error(),
    Errno::ROFS.raw_os_error(),
    Errno::NOSPC.raw_os_error(),
    Errno::DQUOT.raw_os_error(),
];

/// The times that are chosen from: milliseconds from 1970 on that every file system can keep.
const PAST: u64 = 1 << 40;

/// A file that goes when it has served.
struct Proof<'a> {
    directory: &'a OwnedFd,
    name: &'a str,
}

impl Drop for Proof<'_> {
    fn drop(&mut self) {
        let _ = rustix::fs::unlinkat(self.directory, self.name, AtFlags::empty());
    }
}

/// Writes a number into the workspace and reads it back through the container. It is written into the
/// directory that was opened, whatever has its path by now.
///
/// # Errors
/// `not_found` if the container has something else there.
pub(crate) async fn prove(root: &Root, executor: &dyn ToolExecutor) -> Result<()> {
    let random = || {
        getrandom::u64().map_err(|error| {
            ToolError::new(ErrorCode::Io, format!("the system gives no random numbers: {error}"))
        })
    };
    tidy(root);
    let (name, secret) = (format!("{PREFIX}{:016x}", random()?), format!("{:016x}", random()?));
    let directory = root.descriptor();
    let path = ByteString::from(root.path().join(&name));
    let write = || -> io::Result<Proof<'_>> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
        let file = rustix::fs::openat(directory, &name, flags, mode)?;
        let proof = Proof { directory, name: &name };
        File::from(file).write_all(secret.as_bytes())?;
        Ok(proof)
    };
    let _proof = match write() {
        Ok(proof) => proof,
        Err(error) if UNWRITABLE.iter().any(|errno| error.raw_os_error() == Some(*errno)) => {
            let written = ToolError::from_io("write", &path, &error);
            return prove_by_time(root, executor, written).await;
        }
        Err(error) => return Err(ToolError::from_io("write", &path, &error)),
    };
    let request = ReadFile { path: name.as_str().into(), first_line: None, last_line: None };
    let read = executor.read_file(request).await?;
    if read.content.as_bytes() == secret.as_bytes() {
        return Ok(());
    }
    Err(ToolError::not_found(&path))
}

/// Removes what others left that died before they did. A proof takes milliseconds.
fn tidy(root: &Root) {
    for entry in std::fs::read_dir(root.own_path()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_proof =
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).is_some_and(|rest| {
                rest.len() == 16 && rest.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
        if !is_proof {
            continue;
        }
        let old = entry.metadata().ok().filter(std::fs::Metadata::is_file).is_some_and(|about| {
            about.len() <= 16
                && about
                    .modified()
                    .ok()
                    .and_then(|when| when.elapsed().ok())
                    .is_some_and(|age| age > LEFT_BEHIND)
        });
        if old {
            let _ = rustix::fs::unlinkat(root.descriptor(), name, AtFlags::empty());
        }
    }
}

/// The same where no file can be made: the number is the directory's time, which is put back. Its
/// owner may set it, and a disk that is full has room for it. `failed` is why no file could be made.
///
/// # Errors
/// As above, and `failed` if the time cannot be set either.
async fn prove_by_time(root: &Root, executor: &dyn ToolExecutor, failed: ToolError) -> Result<()> {
    let Ok(past) = Past::set(root) else {
        return Err(failed.with_hint(
            "the workspace is read-only, so nothing proves that a container has the right one",
        ));
    };
    let seen = executor.stat_file(".".into()).await?;
    if seen.modified_ms == past.milliseconds {
        return Ok(());
    }
    Err(ToolError::not_found(&ByteString::from(root.path())))
}

/// A directory's time is another one, until this is dropped.
struct Past<'a> {
    root: &'a Root,
    was: Timestamps,
    milliseconds: i64,
}

impl<'a> Past<'a> {
    fn set(root: &'a Root) -> io::Result<Self> {
        let about = rustix::fs::stat(root.own_path())?;
        let time = |seconds: i64, nanoseconds: u64| Timespec {
            tv_sec: seconds,
            tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
        };
        let was = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: time(about.st_mtime, about.st_mtime_nsec),
        };
        let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
        let milliseconds = i64::try_from(number % PAST).unwrap_or_default();
        let nanoseconds = u64::try_from(milliseconds % 1000).unwrap_or_default() * 1_000_000;
        let last_modification = time(milliseconds / 1000, nanoseconds);
        set_times(root, &Timestamps { last_modification, ..was.clone() })?;
        Ok(Self { root, was, milliseconds })
    }
}

impl Drop for Past<'_> {
    fn drop(&mut self) {
        let _ = set_times(self.root, &self.was);
    }
}

fn set_times(root: &Root, times: &Timestamps) -> io::Result<()> {
    Ok(rustix::fs::utimensat(rustix::fs::CWD, root.own_path(), times, AtFlags::empty())?)
}

impl DockerManager {
    /// Makes sure of the workspace's files in a container; returns what is to be noted of them.
    ///
    /// # Errors
    /// `not_found` if they should be mounted and are not.
    pub(crate) async fn prove_or_fill(
        &self,
        root: &Root,
        executor: &ContainerExecutor,
        container: &str,
        files: Files,
    ) -> Result<Vec<String>> {
        match files {
            Files::Mounted => prove(root, executor).await.map(|()| Vec::new()),
            Files::Copied => self.fill(root, container).await,
        }
    }
}
