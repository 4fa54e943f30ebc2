//! A directory and a file that are swapped for links to the outside while they are searched.
//!
//! `STIGMER_RACE_TRIES` says how often each operation is tried.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use stigmer_core::file::ListDirectory;
use stigmer_core::search::{GrepSearch, QueryKind, SearchFiles};
use stigmer_core::{ErrorCode, FilePath, ToolError, ToolExecutor};
use stigmer_host::{HostExecutor, HostOptions, Resolver};

const DEFAULT_TRIES: usize = 1_500;
/// In every file inside; outside there is the same and more.
const INSIDE: &str = "needle\n";
const OUTSIDE: &str = "needle and a SECRET\n";

fn tries() -> usize {
    std::env::var("STIGMER_RACE_TRIES").map_or(DEFAULT_TRIES, |tries| tries.parse().unwrap())
}

fn fill(directory: &Path, content: &str, names: &[&str]) {
    for name in names {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Swaps two names again and again until it is told to stop; returns how often.
fn swap(one: &Path, other: &Path, stop: &AtomicBool) -> usize {
    let mut swaps = 0;
    while !stop.load(Ordering::Relaxed) {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        swaps += 1;
        // Now and then a pause, so that whole operations fit between two swaps as well.
        if swaps % 64 == 0 {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    }
    swaps
}

/// What was seen, to know that both sides of the race were.
#[derive(Debug, Default)]
struct Seen {
    inside: usize,
    missed: usize,
    refused: usize,
}

impl Seen {
    fn note<T>(&mut self, result: Result<T, ToolError>, paths: impl Fn(&T) -> Vec<FilePath>) {
        match result {
            Ok(result) => {
                let paths = paths(&result);
                for path in &paths {
                    assert!(!path.to_string_lossy().contains("secret"), "{path} is outside");
                }
                let inside = paths.iter().any(|path| path.as_bytes().ends_with(b"deep/same.txt"));
                *(if inside { &mut self.inside } else { &mut self.missed }) += 1;
            }
            Err(error) => {
                use ErrorCode::{NotADirectory, NotFound, OutsideWorkspace};
                let allowed = [OutsideWorkspace, NotFound, NotADirectory];
                assert!(allowed.contains(&error.code), "{error:?}");
                self.refused += 1;
            }
        }
    }
}

async fn look(host: &HostExecutor, seen: &mut Seen, directory: FilePath, rules: bool) {
    for pattern in ["SECRET", "needle"] {
        let request = GrepSearch {
            pattern: pattern.into(),
            paths: vec![directory.clone()],
            no_ignore: !rules,
            after: 1,
            ..GrepSearch::default()
        };
        let found = host.grep_search(request).await;
        if let Ok(found) = &found {
            let unreadable = format!("{:?}", found.unreadable);
            assert!(!unreadable.contains("secret"), "{unreadable}");
            for found in &found.matches {
                assert_eq!(found.text, "needle".into(), "{} was read outside", found.path);
            }
        }
        if pattern == "needle" {
            seen.note(found, |found| found.matches.iter().map(|one| one.path.clone()).collect());
        }
    }
    let request = ListDirectory {
        path: directory.clone(),
        depth: 9,
        ignore_rules: rules,
        ..ListDirectory::default()
    };
    let listing = host.list_directory(request).await;
    for entry in listing.iter().flat_map(|listing| &listing.entries) {
        assert_ne!(entry.size, OUTSIDE.len() as u64, "{} was looked at outside", entry.path);
    }
    seen.note(listing, |listing| listing.entries.iter().map(|one| one.path.clone()).collect());
    let request = SearchFiles {
        query: "*.txt".to_owned(),
        kind: QueryKind::Glob,
        directories: vec![directory],
        ignore_rules: rules,
        ..SearchFiles::default()
    };
    seen.note(host.search_files(request).await, |found| found.paths.clone());
}

fn race(resolver: Resolver) {
    let base = tempfile::tempdir().unwrap();
    let (root, outside) = (base.path().join("root"), base.path().join("outside"));
    fill(&root, INSIDE, &["directory/deep/same.txt", "directory/same.txt", "file.txt"]);
    fill(&outside, OUTSIDE, &["deep/same.txt", "same.txt", "deep/secret.txt", "secret/a.txt"]);
    symlink(&outside, root.join("link")).unwrap();
    symlink(outside.join("same.txt"), root.join("file-link.txt")).unwrap();
    let options = HostOptions {
        resolver: Some(resolver),
        ..HostOptions::new(&root, base.path().join("state"))
    };
    let host = HostExecutor::open(options).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();

    let stop = AtomicBool::new(false);
    let (mut whole, mut named) = (Seen::default(), Seen::default());
    let swaps = std::thread::scope(|scope| {
        // Also when an assertion fails, or the test would never end.
        let _stop = OnDrop(|| stop.store(true, Ordering::Relaxed));
        let directories = scope.spawn(|| swap(&root.join("directory"), &root.join("link"), &stop));
        let files =
            scope.spawn(|| swap(&root.join("file.txt"), &root.join("file-link.txt"), &stop));
        for number in 0..tries() {
            runtime.block_on(async {
                look(&host, &mut whole, FilePath::default(), number % 2 == 0).await;
                look(&host, &mut named, "directory".into(), number % 2 == 0).await;
            });
        }
        drop(_stop);
        directories.join().unwrap().min(files.join().unwrap())
    });
    // Otherwise nothing was raced.
    assert!(swaps > tries(), "only {swaps} swaps");
    assert!(whole.inside > 0 && named.inside > 0, "{whole:?} {named:?}");
    assert!(named.missed + named.refused > 0, "{whole:?} {named:?}");
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn nothing_outside_is_seen_with_openat2() {
    race(Resolver::Openat2);
}

#[test]
fn nothing_outside_is_seen_with_the_walk() {
    race(Resolver::Walk);
}
