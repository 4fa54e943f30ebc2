//! Every file of the world at one time.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::setup::WATCHED;
use crate::trial::{Change, What};

/// What is in the content of each secret.
pub(crate) const SECRET: &str = "ORACLE-SECRET";

/// In how many of its first bytes.
const SECRETS_WITHIN: usize = 64;

/// Content of larger files is told apart by its times only, which nobody in the world can set back: the
/// change of a file's status has a time that the kernel alone sets.
const MOST_HASHED: u64 = 64 << 10;

/// What is compared of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct File {
    device: u64,
    inode: u64,
    mode: u32,
    owner: (u32, u32),
    names: u64,
    size: u64,
    modified: (i64, i64),
    status_changed: (i64, i64),
    content: u64,
    attributes: Vec<u8>,
}

/// All files, and when each secret was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    files: BTreeMap<PathBuf, File>,
    secrets: BTreeMap<PathBuf, (i64, i64)>,
}

impl Snapshot {
    /// Looks at all watched places. A file whose status did not change since `earlier` has the content that
    /// it had.
    pub(crate) fn take(earlier: Option<&Self>) -> Self {
        let mut snapshot = Self::default();
        for place in WATCHED {
            let device = fs::symlink_metadata(place).unwrap().dev();
            snapshot.add(Path::new(place), device, earlier);
        }
        snapshot
    }

    fn add(&mut self, path: &Path, device: u64, earlier: Option<&Self>) {
        // What ends while it is looked at is not there.
        let Ok(status) = fs::symlink_metadata(path) else { return };
        let mut file = File {
            device: status.dev(),
            inode: status.ino(),
            mode: status.mode(),
            owner: (status.uid(), status.gid()),
            names: status.nlink(),
            size: status.size(),
            modified: (status.mtime(), status.mtime_nsec()),
            status_changed: (status.ctime(), status.ctime_nsec()),
            content: 0,
            attributes: Vec::new(),
        };
        let known = earlier.and_then(|earlier| Some((earlier, earlier.files.get(path)?)));
        let known = known.filter(|(_, known)| {
            let looked = File {
                content: known.content,
                attributes: known.attributes.clone(),
                ..file.clone()
            };
            looked == **known
        });
        let secret = if let Some((earlier, known)) = known {
            file = known.clone();
            earlier.secrets.contains_key(path)
        } else {
            let (content, secret) = content(path, &status);
            file.content = content;
            file.attributes = attributes(path);
            secret
        };
        if secret {
            self.secrets.insert(path.to_owned(), (status.atime(), status.atime_nsec()));
        }
        self.files.insert(path.to_owned(), file);
        // Bound tools are not the world's to change: they are mounted read-only.
        if status.is_dir() && status.dev() == device {
            let Ok(directory) = fs::read_dir(path) else { return };
            for entry in directory {
                self.add(&entry.unwrap().path(), device, earlier);
            }
        }
    }

    /// What is different in a later one.
    pub(crate) fn changes(&self, later: &Self) -> Vec<Change> {
        let mut changes = Vec::new();
        let shown = |path: &Path| path.to_string_lossy().into_owned();
        for (path, file) in &self.files {
            match later.files.get(path) {
                None => changes.push(Change::new(What::Removed, shown(path))),
                Some(now) if now != file => {
                    changes.push(Change::new(What::Changed, shown(path)));
                }
                Some(_) => {}
            }
        }
        let new = later.files.keys().filter(|path| !self.files.contains_key(*path));
        changes.extend(new.map(|path| Change::new(What::Made, shown(path))));
        for (path, read) in &self.secrets {
            if later.secrets.get(path).is_some_and(|now| now != read) {
                changes.push(Change::new(What::Read, shown(path)));
            }
        }
        changes
    }
}

/// A file's content in short, and whether it is a secret. Looking leaves no mark.
fn content(path: &Path, status: &Metadata) -> (u64, bool) {
    let mut hasher = DefaultHasher::new();
    let mut secret = false;
    if status.file_type().is_symlink() {
        hasher.write(fs::read_link(path).unwrap_or_default().as_os_str().as_encoded_bytes());
    } else if status.is_file() && status.size() <= MOST_HASHED {
        let open = fs::File::options()
            .read(true)
            .custom_flags(libc::O_NOATIME | libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path);
        if let Ok(mut file) = open {
            let mut bytes = Vec::new();
            let _ = file.read_to_end(&mut bytes);
            let begin = &bytes[..bytes.len().min(SECRETS_WITHIN)];
            secret = begin.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
            hasher.write(&bytes);
        }
    } else if status.file_type().is_char_device() || status.file_type().is_block_device() {
        hasher.write_u64(status.rdev());
    }
    (hasher.finish(), secret)
}

/// Names and values of a file's extended attributes.
fn attributes(path: &Path) -> Vec<u8> {
    let mut names = [0; 1024];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else { return Vec::new() };
    let mut all = names[..length].to_vec();
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        let mut value = [0; 1024];
        if let Ok(length) = rustix::fs::lgetxattr(path, name, &mut value[..]) {
            all.extend_from_slice(&value[..length]);
        }
    }
    all
}
