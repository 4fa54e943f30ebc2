//! Locks between writers, so that two of them never lose each other's change.

use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use stigmer_core::{ErrorCode, Result, ToolError};

use crate::root::Spot;

/// How long a writer waits for another one of the same file.
///
/// A writer holds its lock for milliseconds; who holds it for seconds is stopped or writes 64 MiB
/// to a slow disk.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest pause between two tries: a waiting writer is not noticed to wait.
const LONGEST_PAUSE: Duration = Duration::from_millis(4);

/// Lock files in the state directory, shared by all processes that use it.
///
/// A fixed number of files that are never removed: a lock file that comes and goes is itself a race.
/// Two files in one of the 256 buckets only wait for each other.
#[derive(Debug)]
pub(crate) struct WriteLocks {
    path: PathBuf,
    /// Opened by the first writer: whoever only reads needs no state directory.
    directory: OnceLock<OwnedFd>,
}

/// A lock that is held; dropping it lets go.
#[derive(Debug)]
pub(crate) struct WriteLock {
    file: OwnedFd,
}

impl WriteLocks {
    /// The locks in `<state>/locks`.
    pub(crate) fn new(state: &Path) -> Self {
        Self { path: state.join("locks"), directory: OnceLock::new() }
    }

    /// Opens, and makes if missing, their directory.
    fn directory(&self) -> Result<&OwnedFd> {
        if let Some(directory) = self.directory.get() {
            return Ok(directory);
        }
        crate::state::make_directory(&self.path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty()).map_err(|errno| {
            ToolError::from_io("open", &self.path.as_path().into(), &errno.into())
        })?;
        // Another writer may have been first; both opened the same directory.
        Ok(self.directory.get_or_init(|| directory))
    }

    /// Waits for the lock of a name.
    ///
    /// # Errors
    /// `busy` after five seconds.
    pub(crate) fn lock(&self, relative: &Path, spot: &Spot) -> Result<WriteLock> {
        self.lock_bucket(relative, bucket_of(relative, spot)?)
    }

    /// Waits for the locks of two names, always in the same order: two movers never wait for each
    /// other in a circle.
    ///
    /// # Errors
    /// `busy` after five seconds for one of them.
    pub(crate) fn lock_both(
        &self,
        one: (&Path, &Spot),
        other: (&Path, &Spot),
    ) -> Result<(WriteLock, Option<WriteLock>)> {
        let mut first = (bucket_of(one.0, one.1)?, one.0);
        let mut second = (bucket_of(other.0, other.1)?, other.0);
        if second.0 < first.0 {
            std::mem::swap(&mut first, &mut second);
        }
        let lock = self.lock_bucket(first.1, first.0)?;
        // A second descriptor of a file that is locked would wait for the first.
        let differ = second.0 != first.0;
        let another = differ.then(|| self.lock_bucket(second.1, second.0)).transpose()?;
        Ok((lock, another))
    }

    fn lock_bucket(&self, relative: &Path, bucket: u8) -> Result<WriteLock> {
        let fail = |errno: Errno| ToolError::from_io("lock", &relative.into(), &errno.into());
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(self.directory()?, format!("{bucket:02x}"), flags, mode)
            .map_err(fail)?;
        let start = Instant::now();
        let mut pause = Duration::from_micros(50);
        loop {
            match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(WriteLock { file }),
                Err(Errno::WOULDBLOCK | Errno::INTR) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(busy(relative)),
                Err(errno) => return Err(fail(errno)),
            }
        }
    }
}

impl Drop for WriteLock {
    fn drop(&mut self) {
        // Let go by name and not by closing: a child that was forked meanwhile and has not executed
        // yet holds a copy of the descriptor. It can only fail for a descriptor that is none.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

fn busy(relative: &Path) -> ToolError {
    let seconds = PATIENCE.as_secs();
    let path = relative.display();
    let message = format!("{path}: another writer has held it for {seconds} seconds");
    ToolError::new(ErrorCode::Busy, message)
        .with_detail("path", stigmer_core::ByteString::from(relative))
        .with_hint("repeat the request when the other writer is done")
}

fn bucket_of(relative: &Path, spot: &Spot) -> Result<u8> {
    let stat = rustix::fs::fstat(&spot.directory)
        .map_err(|errno| ToolError::from_io("lock", &relative.into(), &errno.into()))?;
    Ok(bucket(stat.st_dev, stat.st_ino, spot.name.as_bytes()))
}

/// FNV-1a, which will be the same in every version of this program that shares the directory.
fn bucket(device: u64, inode: u64, name: &[u8]) -> u8 {
    let (device, inode) = (device.to_le_bytes(), inode.to_le_bytes());
    let hash =
        device.iter().chain(&inode).chain(name).fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    hash.to_le_bytes().iter().fold(0, |folded, byte| folded ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;

    #[test]
    fn a_held_lock_is_waited_for_and_then_busy() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let state = folder.path().join("state");
        let (here, there) = (WriteLocks::new(&state), WriteLocks::new(&state));
        let path = Path::new("f");
        let spot = root.spot(path, false).unwrap().unwrap();
        let held = here.lock(path, &spot).unwrap();
        let start = Instant::now();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| there.lock(path, &spot).map(drop));
            assert_eq!(waiting.join().unwrap().unwrap_err().code, ErrorCode::Busy);
        });
        assert!(start.elapsed() >= PATIENCE);
        drop(held);
        assert!(there.lock(path, &spot).is_ok());
    }

    #[test]
    fn two_names_are_locked_in_any_order_and_one_name_twice() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        let locks = WriteLocks::new(&folder.path().join("state"));
        let spot = |name: &str| root.spot(Path::new(name), false).unwrap().unwrap();
        let (a, b) = (spot("a"), spot("b"));
        let (a, b) = ((Path::new("a"), &a), (Path::new("b"), &b));
        assert!(locks.lock_both(a, a).unwrap().1.is_none());
        std::thread::scope(|scope| {
            for (one, other) in [(a, b), (b, a)] {
                let locks = &locks;
                scope.spawn(move || (0..500).for_each(|_| drop(locks.lock_both(one, other))));
            }
        });
        drop(locks.lock_both(a, b).unwrap());
        assert!(locks.lock_both(b, a).is_ok());
    }

    #[test]
    fn buckets_are_spread() {
        let mut used = [false; 256];
        (0..4000_u32).for_each(|n| used[usize::from(bucket(1, 2, &n.to_le_bytes()))] = true);
        assert!(used.iter().filter(|used| **used).count() > 250);
        assert_eq!(bucket(1, 2, b"name"), 0xef, "it must never change");
    }
}
