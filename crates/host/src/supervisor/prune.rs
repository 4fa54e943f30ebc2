//! Clearing away old processes.
//!
//! The supervisor does it when its own command is over and nobody waits for it, so that no command
//! is slower for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

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

/// Never waits: a supervisor that is stopped accepts nobody, and is there.
fn is_supervised(path: &Path) -> bool {
    let control = path.join(CONTROL);
    if !control.exists() {
        return false;
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let connected = SocketAddrUnix::new(&control).and_then(|address| {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)
    });
    // A path that is too long for a socket's address is left alone rather than taken for ended.
    connected != Err(Errno::CONNREFUSED)
}

/// Removes a process: first its name, so that nobody finds half of it.
pub(super) fn remove(processes: &Path, path: &Path) {
    let Some(name) = path.file_name() else { return };
    let hidden = processes.join(format!(".removed-{}", name.display()));
    if fs::rename(path, &hidden).is_ok() {
        let _ = fs::remove_dir_all(&hidden);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_supervisor_that_accepts_nobody_is_there() {
        let home = tempfile::tempdir().unwrap();
        assert!(!is_supervised(home.path()), "nobody was ever there");
        let address = SocketAddrUnix::new(home.path().join(CONTROL)).unwrap();
        let socket = || {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap()
        };
        let listener = socket();
        rustix::net::bind(&listener, &address).unwrap();
        rustix::net::listen(&listener, 1).unwrap();
        let mut waiting = Vec::new();
        let full = loop {
            let client = socket();
            match rustix::net::connect(&client, &address) {
                Ok(()) => waiting.push(client),
                Err(error) => break error,
            }
        };
        assert_eq!(full, Errno::AGAIN);
        assert!(is_supervised(home.path()));
        drop(listener);
        assert!(!is_supervised(home.path()));
    }
}
