//! The workspaces that were opened and not forgotten, on disk.
//!
//! ```text
//! <state>/workspaces/
//!     <id>.json       one workspace; appears and goes as a whole
//!     .<id>.<random>  one that is just being written
//! ```
//!
//! Any number of processes read and write at once, and nothing is locked. An id follows from the
//! directory and the mode, so two that open the same write the same record, and a link that only one
//! of them can make says who was first.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use stigmer_core::{ExecutionMode, FilePath, Result, ToolError, WorkspaceId};

/// The longest record: a path of which every byte is escaped, and the rest.
const MAX_RECORD: u64 = 64 << 10;

/// How old a file that is just being written must be to be what somebody left who was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// How often a record that others write and forget at the same moment is tried again.
const MAX_TRIES: usize = 16;

/// What is kept of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The version of stigmer that wrote it.
    pub(crate) stigmer: String,
    /// The workspace's id.
    pub(crate) id: WorkspaceId,
    /// Its directory.
    pub(crate) root: FilePath,
    /// Where its commands run.
    pub(crate) mode: ExecutionMode,
    /// When it was first opened, milliseconds since 1970.
    pub(crate) opened_ms: u64,
    /// What was said of its place: names of settings and values, none of which is secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) settings: Vec<(String, String)>,
}

/// The store beneath a state directory.
#[derive(Debug)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(crate) fn new(state: &Path) -> Self {
        Self { directory: state.join("workspaces") }
    }

    /// The record of a directory and mode, and whether it was not there before.
    pub(crate) fn register(
        &self,
        root: &Path,
        mode: ExecutionMode,
        now_ms: u64,
    ) -> Result<(Record, bool)> {
        let id = id_of(root, mode);
        if let Some(record) = self.get(&id)? {
            return Ok((record, false));
        }
        stigmer_host::make_state_directory(&self.directory)?;
        let path = self.path(&id);
        let failed = |error: io::Error| {
            ToolError::from_io("write the workspace's record", &path.as_path().into(), &error)
        };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let record = Record {
            stigmer: version,
            id: id.clone(),
            root: root.into(),
            mode,
            opened_ms: now_ms,
            settings: Vec::new(),
        };
        let temporary = self.write_aside(&record).map_err(failed)?;
        let placed = self.place(&temporary, &id);
        let _ = fs::remove_file(&temporary);
        Ok(match placed.map_err(failed)? {
            Some(before) => (before, false),
            None => (record, true),
        })
    }

    /// Puts a record in the place of the one with the same id. Who is last is heard.
    pub(crate) fn replace(&self, record: &Record) -> Result<()> {
        let path = self.path(&record.id);
        let written = self.write_aside(record).and_then(|temporary| {
            fs::rename(&temporary, &path).inspect_err(|_| drop(fs::remove_file(&temporary)))
        });
        written.map_err(|error| {
            ToolError::from_io("write the workspace's record", &path.as_path().into(), &error)
        })
    }

    /// A record; `None` if there is none that can be read.
    pub(crate) fn get(&self, id: &WorkspaceId) -> Result<Option<Record>> {
        let path = self.path(id);
        let found = read(&path).map_err(|error| {
            ToolError::from_io("read the workspace's record", &path.as_path().into(), &error)
        })?;
        Ok(match found {
            Found::Record(record) if record.id == *id => Some(*record),
            _ => None,
        })
    }

    /// Whether there is a record.
    pub(crate) fn has(&self, id: &WorkspaceId) -> bool {
        self.path(id).exists()
    }

    /// All records, sorted by root.
    pub(crate) fn list(&self) -> Result<Vec<Record>> {
        let failed = |error: &io::Error| {
            let directory = self.directory.as_path().into();
            Err(ToolError::from_io("list the workspaces in", &directory, error))
        };
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return failed(&error),
        };
        let mut all = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with('.') {
                remove_abandoned(&entry);
            }
            let id = name.strip_suffix(".json").and_then(|name| name.parse().ok());
            let Some(id) = id else { continue };
            // One that is forgotten or damaged meanwhile must not hide the others.
            if let Ok(Some(record)) = self.get(&id) {
                all.push(record);
            }
        }
        all.sort_by(|a, b| (&a.root, &a.id).cmp(&(&b.root, &b.id)));
        Ok(all)
    }

    /// Removes a record; returns whether there was one.
    pub(crate) fn remove(&self, id: &WorkspaceId) -> Result<bool> {
        let path = self.path(id);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => {
                Err(ToolError::from_io("forget the workspace", &path.as_path().into(), &error))
            }
        }
    }

    fn path(&self, id: &WorkspaceId) -> PathBuf {
        self.directory.join(format!("{id}.json"))
    }

    /// Writes a record under a name that nobody reads.
    fn write_aside(&self, record: &Record) -> io::Result<PathBuf> {
        let random = getrandom::u64().map_err(io::Error::other)?;
        let path = self.directory.join(format!(".{}.{random:016x}", record.id));
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&path)?;
        let written = file.write_all(&serde_json::to_vec(record)?);
        if let Err(error) = written {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(path)
    }

    /// Gives a written record its name, unless it has one: then that is returned.
    fn place(&self, temporary: &Path, id: &WorkspaceId) -> io::Result<Option<Record>> {
        let path = self.path(id);
        for _ in 0..MAX_TRIES {
            match fs::hard_link(temporary, &path) {
                Ok(()) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            match read(&path)? {
                Found::Record(record) if record.id == *id => return Ok(Some(*record)),
                Found::Nothing => {}
                // Nobody can read it, so it may go.
                _ => {
                    fs::rename(temporary, &path)?;
                    return Ok(None);
                }
            }
        }
        Err(ErrorKind::ResourceBusy.into())
    }
}

/// The id of a directory and mode.
pub(crate) fn id_of(root: &Path, mode: ExecutionMode) -> WorkspaceId {
    let mut hash = Sha256::new();
    // No path has a NUL byte, so nothing else gives the same bytes.
    hash.update(mode.name().as_bytes());
    hash.update([0]);
    hash.update(root.as_os_str().as_bytes());
    let digest = hash.finalize();
    let first = digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte));
    WorkspaceId::from_number(first)
}

/// What a record's file holds.
enum Found {
    Nothing,
    Damaged,
    Record(Box<Record>),
}

fn read(path: &Path) -> io::Result<Found> {
    let file = match File::options().read(true).custom_flags(libc::O_NOFOLLOW).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
    };
    let mut text = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).map_or(Found::Damaged, Found::Record))
}

fn remove_abandoned(entry: &fs::DirEntry) {
    let modified = entry.metadata().and_then(|found| found.modified());
    let age = modified.ok().and_then(|then| SystemTime::now().duration_since(then).ok());
    if age.is_some_and(|age| age > ABANDONED) {
        let _ = fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_follows_from_directory_and_mode() {
        let local = id_of(Path::new("/a"), ExecutionMode::Local);
        assert_eq!(local, id_of(Path::new("/a"), ExecutionMode::Local));
        assert_ne!(local, id_of(Path::new("/b"), ExecutionMode::Local));
        assert_ne!(local, id_of(Path::new("/a"), ExecutionMode::Sandbox));
        // Ids are kept on disk: another way of making them would lose all workspaces.
        assert_eq!(local.as_str(), "ws-2672257d18f5e7f3");
    }

    #[test]
    fn what_is_damaged_hides_nothing_and_is_written_anew() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(home.path());
        assert_eq!(store.list().unwrap(), []);
        let (a, new) = store.register(Path::new("/a"), ExecutionMode::Local, 1).unwrap();
        assert!(new);
        let (b, _) = store.register(Path::new("/b"), ExecutionMode::Local, 2).unwrap();
        fs::write(store.path(&a.id), "{\"stigmer\":").unwrap();
        fs::write(store.directory.join("notes.txt"), "mine").unwrap();
        assert_eq!(store.get(&a.id).unwrap(), None);
        assert_eq!(store.list().unwrap(), std::slice::from_ref(&b));
        let (again, new) = store.register(Path::new("/a"), ExecutionMode::Local, 3).unwrap();
        assert_eq!((again.opened_ms, new), (3, true));
        assert_eq!(store.list().unwrap(), [again, b]);
        let names = fs::read_dir(&store.directory).unwrap().count();
        assert_eq!(names, 3, "nothing else is left");
    }

    #[test]
    fn what_somebody_left_who_was_killed_goes_and_what_is_being_written_stays() {
        let home = tempfile::tempdir().unwrap();
        let store = Store::new(home.path());
        store.register(Path::new("/a"), ExecutionMode::Local, 1).unwrap();
        let (old, young) = (store.directory.join(".old"), store.directory.join(".young"));
        let file = File::create(&old).unwrap();
        file.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
        fs::write(&young, "").unwrap();
        store.list().unwrap();
        assert!(!old.exists() && young.exists());
    }
}
