//! Clearing away old processes.
//!
//! The supervisor does it when its own command is over and nobody waits for it, so that no command
//! is slower for it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use super::record::CONTROL;

/// How often. Looking at each kept process costs about as much as starting one.
const INTERVAL: Duration = Duration::from_secs(60);

/// The most bytes of output of ended processes that are kept in all: sixteen logs at the usual cap.
const MAX_KEPT_BYTES: u64 = 4 << 30;

/// Removes ended processes that are older than `retention`, and the oldest of those that take too
/// much space together.
pub(crate) fn prune(processes: &Path, retention: Option<Duration>) {
    let stamp = processes.join(".pruned");
    let now = SystemTime::now();
    let age =
        |path: &Path| now.duration_since(fs::symlink_metadata(path).ok()?.modified().ok()?).ok();
    if age(&stamp).is_some_and(|age| age < INTERVAL) || touch(&stamp, now).is_err() {
        return;
    }
    let mut ended: Vec<(Duration, u64, PathBuf)> = Vec::new();
    for entry in fs::read_dir(processes).into_iter().flatten().flatten() {
        let path = entry.path();
        // A name that is being removed already, by somebody who did not finish.
        if entry.file_name().to_string_lossy().starts_with(".removed-") {
            let _ = fs::remove_dir_all(&path);
        } else if let Some(age) = age(&path).filter(|_| path.is_dir() && !is_supervised(&path)) {
            let sizes = fs::read_dir(&path).into_iter().flatten().flatten();
            let size = sizes.filter_map(|file| Some(file.metadata().ok()?.len())).sum();
            ended.push((age, size, path));
        }
    }
    ended.sort();
    let mut kept = 0;
    for (age, size, path) in ended {
        kept += size;
        // One that is this young may not have a supervisor yet.
        let settled = age > INTERVAL;
        let old = retention.is_some_and(|retention| age > retention);
        if settled && (old || kept > MAX_KEPT_BYTES) {
            remove(processes, &path);
        }
    }
}

/// Notes the time. What is a link there is nothing of ours.
fn touch(stamp: &Path, now: SystemTime) -> std::io::Result<()> {
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::open(stamp, flags, Mode::RUSR | Mode::WUSR)?;
    fs::File::from(file).set_modified(now)
}

fn is_supervised(path: &Path) -> bool {
    // A path that is too long for a socket's address is left alone rather than taken for ended.
    let control = path.join(CONTROL);
    control.exists()
        && !matches!(
            UnixStream::connect(&control),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused
        )
}

/// Removes a process: first its name, so that nobody finds half of it.
pub(super) fn remove(processes: &Path, path: &Path) {
    let Some(name) = path.file_name() else { return };
    let hidden = processes.join(format!(".removed-{}", name.display()));
    if fs::rename(path, &hidden).is_ok() {
        let _ = fs::remove_dir_all(&hidden);
    }
}
