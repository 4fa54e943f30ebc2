//! Files against the kernel: on a real source tree of thousands of files every answer is what the
//! standard library says of the same tree.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use stigmer_core::ByteString;
use stigmer_core::file::{Encoding, FileKind, ListDirectory, ReadFile};
use stigmer_core::transfer::{TransferFormat, Upload};

use crate::Fixture;
use crate::archive::stream;
use crate::check::{same_bytes, sha256};
use crate::harness::cases;

cases! {
    every_file_of_a_source_tree_is_what_the_kernel_says,
}

/// How many files are enough: reading, hashing and describing them takes seconds in a debug build.
const FILES: usize = 5_000;
/// How many bytes are enough.
const BYTES: u64 = 64 << 20;

/// What `std::fs` says of one path.
#[derive(Debug)]
struct Truth {
    path: PathBuf,
    kind: FileKind,
    mode: u32,
    size: u64,
    modified_ms: i64,
}

/// The sources of this program's own dependencies, if they are at hand.
fn registry() -> Option<PathBuf> {
    let cargo = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    let index = std::fs::read_dir(cargo.join("registry/src")).ok()?.flatten().next()?.path();
    let crates = std::fs::read_dir(&index).ok()?.flatten().count();
    (crates > 20).then_some(index)
}

/// Copies a part of a source tree, a crate after the other, to `to`.
fn copy_some(from: &Path, to: &Path) -> usize {
    let mut crates: Vec<_> = std::fs::read_dir(from).unwrap().flatten().collect();
    crates.sort_by_key(std::fs::DirEntry::file_name);
    let (mut files, mut bytes) = (0, 0);
    let mut stack: Vec<(PathBuf, PathBuf)> =
        crates.iter().rev().map(|one| (one.path(), to.join(one.file_name()))).collect();
    while let Some((from, to)) = stack.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&from) else { continue };
        if metadata.is_dir() {
            if std::fs::create_dir_all(&to).is_ok() {
                let entries = std::fs::read_dir(&from).into_iter().flatten().flatten();
                stack.extend(entries.map(|entry| (entry.path(), to.join(entry.file_name()))));
            }
        } else if metadata.is_file() && bytes + metadata.len() < BYTES {
            // `fs::copy` copies permission bits, too.
            files += usize::from(std::fs::copy(&from, &to).is_ok());
            bytes += metadata.len();
        }
        if files >= FILES {
            break;
        }
    }
    files
}

/// A tree where there is no registry.
fn generate(to: &Path) -> usize {
    let mut random = crate::random::Random::new(42);
    for number in 0..FILES {
        let directory = to.join(format!("d{}/e{}", number % 50, number % 7));
        std::fs::create_dir_all(&directory).unwrap();
        let size = random.below(9000);
        let content = if number % 9 == 0 {
            random.bytes(size)
        } else {
            (0..size / 8).map(|_| *random.pick(b"abc \nxyz")).collect()
        };
        let path = directory.join(format!("f{number}"));
        std::fs::write(&path, content).unwrap();
        let mode = *random.pick(&[0o644, 0o600, 0o755, 0o664]);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    FILES
}

fn look(root: &Path) -> BTreeMap<Vec<u8>, Truth> {
    let mut all = BTreeMap::new();
    let mut stack = vec![root.to_owned()];
    while let Some(directory) = stack.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = std::fs::symlink_metadata(&path).unwrap();
            let kind = if metadata.is_dir() {
                stack.push(path.clone());
                FileKind::Directory
            } else if metadata.is_symlink() {
                FileKind::Symlink
            } else {
                FileKind::File
            };
            let truth = Truth {
                kind,
                mode: metadata.permissions().mode() & 0o7777,
                size: metadata.len(),
                modified_ms: metadata.mtime() * 1000 + metadata.mtime_nsec() / 1_000_000,
                path: path.clone(),
            };
            let relative = path.strip_prefix(root).unwrap();
            all.insert(relative.as_os_str().as_bytes().to_vec(), truth);
        }
    }
    all
}

async fn every_file_of_a_source_tree_is_what_the_kernel_says(place: Fixture) {
    let away = tempfile::tempdir().unwrap();
    // Where this process sees the workspace, that is the truth; else the tree is sent there.
    let root = place.host_view.clone().unwrap_or_else(|| away.path().to_owned());
    let root = root.join("tree");
    std::fs::create_dir(&root).unwrap();
    let copied = registry().map_or(0, |registry| copy_some(&registry, &root));
    if copied < 2000 {
        generate(&root.join("generated"));
    }
    if place.host_view.is_none() {
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_dir_all(".", &root).unwrap();
        let request = Upload { path: "tree".into(), format: TransferFormat::Tar, mode: None };
        let bytes = archive.into_inner().unwrap();
        place.executor.upload(request, stream(bytes, 1 << 18)).await.unwrap();
    }
    let truth = look(&root);
    assert!(truth.len() > 2000, "{}", truth.len());

    let request = ListDirectory {
        path: "tree".into(),
        depth: 99,
        limit: Some(100_000),
        ..Default::default()
    };
    let listing = place.executor.list_directory(request).await.unwrap();
    assert!(!listing.truncated);
    let listed: Vec<_> = listing
        .entries
        .iter()
        .map(|entry| (entry.path.as_bytes()["tree/".len()..].to_vec(), entry.kind, entry.size))
        .collect();
    let expected: Vec<_> =
        truth.iter().map(|(path, truth)| (path.clone(), truth.kind, truth.size)).collect();
    let missing: Vec<_> =
        expected.iter().filter(|entry| listed.binary_search(entry).is_err()).take(3).collect();
    assert!(listed == expected, "{} of {}; missing {missing:?}", listed.len(), expected.len());

    for (relative, truth) in truth {
        let path = ByteString::from([b"tree/".as_slice(), &relative].concat());
        let stat = place.executor.stat_file(path.clone()).await.unwrap();
        let said = (stat.kind, stat.mode, stat.size);
        assert_eq!(said, (truth.kind, truth.mode, truth.size), "{path}");
        if place.host_view.is_some() {
            assert_eq!(stat.modified_ms, truth.modified_ms, "{path}");
        }
        if truth.kind != FileKind::File {
            continue;
        }
        let bytes = std::fs::read(&truth.path).unwrap();
        let request = ReadFile { path: path.clone(), ..ReadFile::default() };
        let got = place.executor.read_file(request).await.unwrap();
        same_bytes(got.content.as_bytes(), &bytes, &path.to_string_lossy());
        assert_eq!((got.sha256, got.size), (sha256(&bytes), bytes.len() as u64), "{path}");
        let lines = bytes.split_inclusive(|byte| *byte == b'\n').count() as u64;
        let is_text = std::str::from_utf8(&bytes).is_ok();
        assert_eq!((got.total_lines, got.encoding == Encoding::Utf8), (lines, is_text), "{path}");
    }
}
