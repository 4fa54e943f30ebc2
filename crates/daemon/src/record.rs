//! What a daemon says of itself on disk, and finding it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use stigmer_core::{ErrorCode, FilePath, Result, ToolError};

use crate::lock;
use crate::place::DaemonPlace;

/// The most bytes of a record that are read: two paths and a few words.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// What a daemon says of itself, in `daemon.json`. It is believed only if the process that it names
/// holds the lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// When it was started, milliseconds since 1970.
    pub started_ms: u64,
    /// The unix socket that it serves.
    pub socket: PathBuf,
    /// The socket that takes descriptors.
    pub descriptors: PathBuf,
    /// The TCP address that it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<SocketAddr>,
    /// Why it serves no TCP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_tcp: Option<String>,
    /// What its environment has set: names of settings and their values, without secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<(String, String)>,
}

impl Record {
    /// Where it listens, for people.
    pub fn places(&self) -> String {
        let socket = self.socket.display();
        match (&self.tcp, &self.no_tcp) {
            (Some(address), _) => format!("{socket} and {address}"),
            (None, Some(reason)) => format!("{socket}, and not on TCP: {reason}"),
            (None, None) => format!("{socket}"),
        }
    }

    /// Puts the record in its place, whole or not at all.
    pub(crate) fn write(&self, place: &DaemonPlace) -> Result<()> {
        let text = serde_json::to_vec(self).map_err(io::Error::from);
        text.and_then(|text| write_private(&place.record(), &text))
            .map_err(|error| ToolError::from_io("write", &place.record().as_path().into(), &error))
    }
}

/// Writes a file for its owner only and gives it its name when it is whole.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let unfinished = PathBuf::from(name);
    // What a daemon that was killed left behind has perhaps another mode.
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
    file.write_all(content)?;
    std::fs::rename(&unfinished, path)
}

/// A daemon that runs.
#[derive(Clone, Debug)]
pub struct Running {
    /// Its process id; `None` if it lives in a PID namespace that we do not see.
    pub pid: Option<u32>,
    /// What it says of itself; `None` while it starts.
    pub record: Option<Record>,
}

impl Running {
    /// Who it is, for people.
    pub fn describe(&self) -> String {
        match self.pid {
            Some(pid) => format!("process {pid}"),
            None => "a process of another container".to_owned(),
        }
    }

    /// What who starts a second one is told.
    pub fn refuse_second(&self) -> ToolError {
        let who = self.describe();
        let message = match &self.record {
            Some(record) => {
                let since = since(record.started_ms);
                format!(
                    "a daemon runs already: {who}, for {since}, listening on {}",
                    record.places()
                )
            }
            None => format!("a daemon is being started already: {who}"),
        };
        ToolError::new(ErrorCode::Exists, message)
            .with_detail("pid", self.pid)
            .with_hint("`stigmer server stop` ends it; `stigmer server status` says more")
    }
}

/// How long ago a moment was, for people.
pub fn since(started_ms: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = now.saturating_sub(Duration::from_millis(started_ms)).as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// The daemon of this place, if one runs. The lock says so, and nothing else.
///
/// # Errors
/// What looking at the lock says.
pub fn find(place: &DaemonPlace) -> Result<Option<Running>> {
    if !lock::is_held(&place.lock())? {
        return Ok(None);
    }
    let Some(record) = read(&place.record()) else {
        return Ok(Some(Running { pid: None, record: None }));
    };
    let number = |pid: Pid| Pid::as_raw_nonzero(pid).get().unsigned_abs();
    match lock::listener(&record.socket).map(number) {
        Some(pid) if pid == record.pid => {
            Ok(Some(Running { pid: Some(pid), record: Some(record) }))
        }
        // It listens no longer, or not yet: then this is what a dead daemon left behind.
        None if !is_ours(record.pid) => Ok(Some(Running { pid: None, record: None })),
        None => Ok(Some(Running { pid: Some(record.pid), record: None })),
        // It lives in another PID namespace, where it has another number.
        Some(_) => Ok(Some(Running { pid: None, record: Some(record) })),
    }
}

/// What a daemon said of itself that died without a word; one that ended in order leaves nothing.
/// Only for who has found that none runs.
pub fn left_behind(place: &DaemonPlace) -> Option<Record> {
    read(&place.record())
}

/// Whether a process is one of stigmer's: the daemon that is just ending, if it wrote the record.
fn is_ours(pid: u32) -> bool {
    let name = |process: &str| std::fs::read_link(format!("/proc/{process}/exe")).ok();
    name(&pid.to_string()).is_some_and(|name_of| Some(name_of) == name("self"))
}

/// A record; one that cannot be understood is none.
fn read(path: &Path) -> Option<Record> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_RECORD_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The path as errors name it.
pub(crate) fn shown(path: &Path) -> FilePath {
    FilePath::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_private_file_replaces_whatever_an_earlier_try_left() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("f");
        std::fs::write(scratch.path().join("f.new"), "half").unwrap();
        for content in ["one", "two"] {
            write_private(&path, content.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        }
    }

    #[test]
    fn what_is_no_record_is_none() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("daemon.json");
        assert_eq!(read(&path), None);
        for text in ["", "{", "[]", r#"{"pid": -1}"#] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(read(&path), None, "{text}");
        }
    }
}
