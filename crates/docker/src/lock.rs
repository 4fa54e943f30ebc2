//! Who may change a workspace's container: whoever holds its lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError};

/// How long one waits for another program that changes the container. Pulling an image may take
/// longer; who waits is told.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Between tries: the kernel wakes nobody whose patience has an end.
const SHORTEST: Duration = Duration::from_millis(2);
const LONGEST: Duration = Duration::from_millis(50);

/// The right to change a workspace's container, until it is dropped or its holder dies.
#[derive(Debug)]
pub(crate) struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Waits for the lock in a directory, which must be there.
    ///
    /// # Errors
    /// `busy` when the patience is over; what the operating system says.
    pub(crate) async fn take(directory: &Path, patience: Duration) -> Result<Self> {
        let path = directory.join("lock");
        let began = Instant::now();
        let mut wait = SHORTEST;
        loop {
            match attempt(&path) {
                Ok(Some(file)) => return Ok(Self { path, _file: file }),
                Ok(None) => {}
                Err(error) => {
                    return Err(ToolError::from_io("lock", &ByteString::from(path), &error));
                }
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                let seconds = patience.as_secs();
                let message = format!(
                    "another program has been changing this workspace's container for {seconds} s"
                );
                return Err(ToolError::new(ErrorCode::Busy, message)
                    .with_detail("path", ByteString::from(path))
                    .with_hint("wait for it; `fuser` names who holds the file"));
            }
            tokio::time::sleep(wait.min(left)).await;
            wait = (wait * 2).min(LONGEST);
        }
    }

    /// Takes the file away with the right to it. Who waits makes another one.
    pub(crate) fn remove(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }
}

/// The locked file; nothing if somebody else has it, or it is no longer the one of this name.
fn attempt(path: &Path) -> io::Result<Option<File>> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc_nofollow())
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let held = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) if (named.dev(), named.ino()) == (held.dev(), held.ino()) => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn libc_nofollow() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);

    #[tokio::test]
    async fn one_has_it_and_the_next_gets_it() {
        let home = tempfile::tempdir().unwrap();
        let first = Lock::take(home.path(), SHORT).await.unwrap();
        let error = Lock::take(home.path(), SHORT).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Busy);
        let path = home.path().to_owned();
        let waiting = tokio::spawn(async move { Lock::take(&path, PATIENCE).await });
        tokio::task::yield_now().await;
        drop(first);
        waiting.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_was_removed_is_nobodys() {
        let home = tempfile::tempdir().unwrap();
        let first = Lock::take(home.path(), SHORT).await.unwrap();
        let path = home.path().to_owned();
        let waiting = tokio::spawn(async move { Lock::take(&path, PATIENCE).await });
        tokio::task::yield_now().await;
        first.remove().unwrap();
        let second = waiting.await.unwrap().unwrap();
        assert_eq!(Lock::take(home.path(), SHORT).await.unwrap_err().code, ErrorCode::Busy);
        drop(second);
    }

    #[tokio::test]
    async fn a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/nowhere/lock", home.path().join("lock")).unwrap();
        Lock::take(home.path(), SHORT).await.unwrap_err();
    }
}
