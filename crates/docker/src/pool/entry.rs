//! What is on disk of the pool.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::names::{hash, pool_fingerprint};
use crate::options::{DockerOptions, Owner};
use crate::shared::make_directory;

/// The pool's directory among the workspaces' places.
const POOL: &str = "pool";

/// Where the keeper is asked: a directory that root of its container can write without any right.
const KEEPER: &str = "keeper";
const EVERYBODYS: u32 = 0o777;

/// In a container's directory: what is mounted in it, and what is known of it.
const RUN: &str = "run";
const ENTRY: &str = "entry.json";

/// Before the name of a container's directory: it is being made, or removed.
const MAKING: &str = "making-";
const GOING: &str = "going-";

/// The longest record that is read: it has half a dozen short texts.
const LONGEST: u64 = 64 << 10;

/// Digits of a container's id in the pool.
const DIGITS: usize = 16;

/// A container that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) container: String,
    /// What it is made like: the options, and the program that is its process 1.
    pub(crate) made_like: String,
    pub(crate) image_id: String,
    pub(crate) created_ms: u64,
    /// Whom commands run as inside, as the engine has it.
    pub(crate) user: String,
    pub(crate) notes: Vec<String>,
}

impl Entry {
    /// What is known of a container; what cannot be understood is nothing.
    pub(crate) fn read(directory: &Path) -> Option<Self> {
        let mut bytes = Vec::new();
        File::open(directory.join(ENTRY)).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    pub(super) fn write(&self, directory: &Path) -> io::Result<()> {
        let path = directory.join(ENTRY);
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)
    }
}

/// What containers of the pool are made like, in one word: the options, the image's name, and which file
/// the sidecar is, because a keeper knows containers of ours by it.
pub(super) fn made_like(options: &DockerOptions) -> String {
    let file = fs::metadata(&options.sidecar);
    let file = file.map(|found| (found.dev(), found.ino(), found.mtime(), found.mtime_nsec()));
    hash(&format!("{} {:?} {}", pool_fingerprint(options), file.ok(), options.image))
}

/// The pool's directory.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    path: PathBuf,
    owner: Owner,
}

impl Pool {
    pub(crate) fn new(options: &DockerOptions) -> Self {
        Self { path: options.state.join(POOL), owner: options.owner }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn make(&self) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).create(self.path.parent().unwrap_or(&self.path))?;
        make_directory(&self.path, self.owner)?;
        make_directory(&self.keeper(), self.owner)?;
        // Nobody else gets through the directory above.
        fs::set_permissions(self.keeper(), Permissions::from_mode(EVERYBODYS))
    }

    /// The directory of the keeper's socket.
    pub(super) fn keeper(&self) -> PathBuf {
        self.path.join(KEEPER)
    }

    /// The containers that wait, by id.
    pub(super) fn waiting(&self) -> Vec<String> {
        self.names(is_id)
    }

    /// Directories of containers that were being made or removed by somebody who died.
    pub(super) fn remains(&self) -> Vec<PathBuf> {
        let names =
            self.names(|name| [MAKING, GOING].iter().any(|prefix| name.starts_with(prefix)));
        names.into_iter().map(|name| self.path.join(name)).collect()
    }

    fn names(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| wanted(name)).collect()
    }

    pub(super) fn directory(&self, id: &str) -> PathBuf {
        self.path.join(id)
    }

    /// Makes the directory of a container that is not there yet.
    pub(super) fn begin(&self, id: &str) -> io::Result<PathBuf> {
        let path = self.path.join(format!("{MAKING}{id}"));
        make_directory(&path, self.owner)?;
        make_directory(&run(&path), self.owner)?;
        Ok(path)
    }

    /// From now on it can be taken.
    pub(super) fn offer(&self, made: &Path, id: &str) -> io::Result<()> {
        fs::rename(made, self.directory(id))
    }

    /// Takes one; false if somebody else did. This is the one step that settles whose it is.
    pub(super) fn take(&self, id: &str, claimed: &Path) -> io::Result<bool> {
        moved(&self.directory(id), claimed)
    }

    /// Takes one in order to remove it.
    pub(super) fn put_aside(&self, id: &str) -> io::Result<Option<PathBuf>> {
        let aside = self.path.join(format!("{GOING}{id}"));
        Ok(moved(&self.directory(id), &aside)?.then_some(aside))
    }
}

fn moved(from: &Path, to: &Path) -> io::Result<bool> {
    match fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_id(name: &str) -> bool {
    name.len() == DIGITS && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A new container's id, and the number that it is.
pub(super) fn new_id() -> io::Result<(String, u64)> {
    let number = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    Ok((format!("{number:016x}"), number))
}

/// What of a container's directory is mounted in it.
pub(super) fn run(directory: &Path) -> PathBuf {
    directory.join(RUN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::plain;

    fn pool(home: &Path) -> Pool {
        let owner = Owner {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
        };
        let pool = Pool::new(&DockerOptions { state: home.to_owned(), owner, ..plain() });
        pool.make().unwrap();
        pool.make().unwrap();
        pool
    }

    #[test]
    fn one_container_is_taken_once() {
        let home = tempfile::tempdir().unwrap();
        let pool = pool(home.path());
        let (id, _) = new_id().unwrap();
        let entry = Entry {
            container: "c".into(),
            made_like: "o".into(),
            image_id: "i".into(),
            created_ms: 1,
            user: "1:1".into(),
            notes: Vec::new(),
        };
        let made = pool.begin(&id).unwrap();
        entry.write(&made).unwrap();
        assert_eq!((pool.waiting(), pool.remains()), (vec![], vec![made.clone()]));
        pool.offer(&made, &id).unwrap();
        assert_eq!((pool.waiting(), pool.remains()), (vec![id.clone()], vec![]));
        let claimed = home.path().join("claimed");
        assert!(pool.take(&id, &claimed).unwrap());
        assert!(!pool.take(&id, &home.path().join("other")).unwrap());
        assert_eq!(pool.put_aside(&id).unwrap(), None);
        assert_eq!(Entry::read(&claimed), Some(entry));
        assert_eq!(Entry::read(&run(&claimed)), None);
        let mode = fs::metadata(pool.path()).unwrap().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn another_sidecar_or_image_makes_other_containers() {
        let home = tempfile::tempdir().unwrap();
        let sidecar = home.path().join("sidecar");
        let options = DockerOptions { sidecar: sidecar.clone(), ..plain() };
        let without = made_like(&options);
        fs::write(&sidecar, "one").unwrap();
        let with = made_like(&options);
        assert_ne!(without, with);
        assert_eq!(with, made_like(&options));
        assert_ne!(with, made_like(&DockerOptions { pids: 7, ..options.clone() }));
        assert_ne!(with, made_like(&DockerOptions { image: "other".into(), ..options }));
    }
}
