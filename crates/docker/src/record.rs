//! What is known of a workspace's container without asking the engine.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use stigmer_core::{ByteString, Result, ToolError};

use crate::root::Directory;

/// The file's name.
const NAME: &str = "sandbox.json";

/// One that is being written. Whoever writes holds the workspace's lock, so there is one at most.
const PENDING: &str = "sandbox.json.pending";

/// The longest record that is read: it has a dozen short texts.
const LONGEST: u64 = 64 << 10;

/// How the sidecar is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// Its unix socket in a directory that is mounted.
    Socket,
    /// A program in the container that passes bytes on, through the engine.
    Exec,
}

/// Where the workspace's files are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Files {
    /// In the workspace's directory, mounted.
    Mounted,
    /// In a volume of the engine's, a copy.
    Copied,
}

impl Files {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mounted => "mounted",
            Self::Copied => "copied",
        }
    }

    pub(crate) fn of_name(name: &str) -> Option<Self> {
        [Self::Mounted, Self::Copied].into_iter().find(|files| files.name() == name)
    }
}

/// A workspace's container. It is believed only as far as the container answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) container: String,
    pub(crate) name: String,
    /// The fingerprint of what it was made like.
    pub(crate) options: String,
    pub(crate) root: ByteString,
    /// Which directory that is; nothing if its files are a copy.
    #[serde(default)]
    pub(crate) directory: Option<Directory>,
    /// A name of its image, and which image was asked for where that stands in for another.
    pub(crate) image: String,
    #[serde(default)]
    pub(crate) asked: String,
    pub(crate) image_id: String,
    /// The address of the engine that it lives in.
    #[serde(default)]
    pub(crate) engine: String,
    pub(crate) created_ms: u64,
    /// Whom commands run as inside, as the engine has it.
    pub(crate) user: String,
    pub(crate) way: Way,
    pub(crate) files: Files,
    /// It was paused by us, and is to stay so until it is started.
    pub(crate) stopped: bool,
    /// Until when one that is stopped is kept, milliseconds since 1970.
    #[serde(default)]
    pub(crate) kept_until_ms: Option<u64>,
    pub(crate) notes: Vec<String>,
}

impl Record {
    /// Reads a workspace's record. One that cannot be understood is none: the engine knows the
    /// container, too.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn read(place: &Path) -> Result<Option<Self>> {
        let path = place.join(NAME);
        match read(&path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ToolError::from_io("read", &path.into(), &error)),
        }
    }

    /// Writes it, whole or not at all.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn write(&self, place: &Path) -> Result<()> {
        let (path, pending) = (place.join(NAME), place.join(PENDING));
        let write = || {
            let _ = std::fs::remove_file(&pending);
            let mut file =
                File::options().write(true).create_new(true).mode(0o600).open(&pending)?;
            file.write_all(&serde_json::to_vec_pretty(self)?)?;
            std::fs::rename(&pending, &path)
        };
        write().map_err(|error| ToolError::from_io("write", &path.clone().into(), &error))
    }

    /// Forgets it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn forget(place: &Path) -> Result<()> {
        for name in [NAME, PENDING] {
            let path = place.join(name);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ToolError::from_io("remove", &path.into(), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(LONGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            container: "0123".into(),
            name: "stigmer-x".into(),
            options: "abcd".into(),
            root: ByteString::from(&b"/w\xff"[..]),
            directory: Directory::at(Path::new("/")).ok(),
            image: "debian".into(),
            asked: "usual".into(),
            image_id: "sha256:0".into(),
            engine: "unix:///engine".into(),
            created_ms: 7,
            user: "1:1".into(),
            way: Way::Exec,
            files: Files::Copied,
            stopped: true,
            kept_until_ms: Some(8),
            notes: vec!["note".into()],
        }
    }

    #[test]
    fn a_record_reads_back() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Record::read(home.path()).unwrap(), None);
        record().write(home.path()).unwrap();
        record().write(home.path()).unwrap();
        assert_eq!(Record::read(home.path()).unwrap(), Some(record()));
        Record::forget(home.path()).unwrap();
        Record::forget(home.path()).unwrap();
        assert_eq!(Record::read(home.path()).unwrap(), None);
    }

    #[test]
    fn what_a_writer_that_was_killed_left_is_no_hindrance() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(PENDING), "{").unwrap();
        record().write(home.path()).unwrap();
        assert!(Record::read(home.path()).unwrap().is_some());
    }

    #[test]
    fn what_is_no_record_is_none() {
        let home = tempfile::tempdir().unwrap();
        for bad in ["", "{", "{}", "[]", &"x".repeat(100_000)] {
            std::fs::write(home.path().join(NAME), bad).unwrap();
            assert_eq!(Record::read(home.path()).unwrap(), None);
        }
    }
}
