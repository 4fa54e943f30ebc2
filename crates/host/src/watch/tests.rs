use std::os::unix::fs::symlink;
use std::time::Duration;

use futures_util::StreamExt as _;

use super::*;
use stigmer_core::transfer::ChangeKind::{self, Created, Modified, Removed};

struct World {
    folder: tempfile::TempDir,
    root: Arc<Root>,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    for path in ["w/a", "out"] {
        std::fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    let root = Arc::new(Root::open(&folder.path().join("w"), None).unwrap());
    World { folder, root }
}

impl World {
    fn at(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }
    fn put(&self, path: &str) {
        std::fs::write(self.at(path), path).unwrap();
    }
    async fn watch(&self, directories: &[&str], ignore_rules: bool) -> ChangeStream {
        let directories = directories.iter().map(|path| FilePath::from(*path)).collect();
        watch(Arc::clone(&self.root), Watch { directories, ignore_rules }).await.unwrap()
    }
}

/// All changes until the one of the file `end`.
async fn until_end(stream: &mut ChangeStream) -> Vec<(String, ChangeKind)> {
    let mut changes = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next());
        let change = next.await.expect("a change in time").expect("no end").unwrap();
        let path = change.path.to_string_lossy().into_owned();
        if path == "end" {
            return changes;
        }
        changes.push((path, change.kind));
    }
}

fn is(changes: &[(String, ChangeKind)], path: &str, kind: ChangeKind) -> bool {
    changes.contains(&(path.to_owned(), kind))
}

#[tokio::test]
async fn changes_are_told_also_in_new_directories() {
    let world = world();
    world.put("w/a/old");
    let mut stream = world.watch(&[], false).await;
    world.put("w/f");
    std::fs::write(world.at("w/a/old"), "new").unwrap();
    std::fs::create_dir_all(world.at("w/b/c")).unwrap();
    world.put("w/b/c/deep");
    std::fs::rename(world.at("w/f"), world.at("w/g")).unwrap();
    std::fs::remove_file(world.at("w/a/old")).unwrap();
    world.put("w/end");
    let changes = until_end(&mut stream).await;
    for (path, kind) in [
        ("f", Created),
        ("a/old", Modified),
        ("b", Created),
        ("b/c", Created),
        ("b/c/deep", Created),
        ("f", Removed),
        ("g", Created),
        ("a/old", Removed),
    ] {
        assert!(is(&changes, path, kind), "{path} {kind:?} is not in {changes:?}");
    }
}

#[tokio::test]
async fn what_changes_in_a_moved_directory_once_it_is_told_of_is_told_too() {
    let world = world();
    // So many that setting the watches takes longer than to answer the news.
    let files: Vec<_> = (0..300).map(|number| format!("{number}/f")).collect();
    for file in &files {
        std::fs::create_dir(world.at("w/a").join(file).parent().unwrap()).unwrap();
        world.put(&format!("w/a/{file}"));
    }
    let mut stream = world.watch(&[], false).await;
    std::fs::rename(world.at("w/a"), world.at("w/b")).unwrap();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next());
        let change = next.await.expect("a change in time").expect("no end").unwrap();
        if (change.path.as_bytes(), change.kind) == (b"b", Created) {
            break;
        }
    }
    for file in &files {
        world.put(&format!("w/b/{file}"));
    }
    world.put("w/end");
    let changes = until_end(&mut stream).await;
    for file in files {
        assert!(is(&changes, &format!("b/{file}"), Modified), "{file}");
    }
}

#[tokio::test]
async fn a_directory_that_moves_is_told_of_by_its_new_name_and_outside_not_at_all() {
    let world = world();
    let mut stream = world.watch(&[], false).await;
    std::fs::rename(world.at("w/a"), world.at("w/b")).unwrap();
    // Only changes after the new watch is set can be told apart from what was found.
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.put("w/b/f");
    std::fs::rename(world.at("w/b"), world.at("out/b")).unwrap();
    world.put("out/b/secret");
    symlink("../out", world.at("w/link")).unwrap();
    world.put("out/another");
    world.put("w/end");
    let changes = until_end(&mut stream).await;
    assert!(is(&changes, "a", Removed) && is(&changes, "b", Created), "{changes:?}");
    assert!(is(&changes, "b/f", Created) && is(&changes, "b", Removed), "{changes:?}");
    let outside = |path: &String| path.contains("secret") || path.contains("another");
    assert!(!changes.iter().any(|(path, _)| outside(path)), "{changes:?}");
}

#[tokio::test]
async fn ignored_paths_are_left_out() {
    let world = world();
    std::fs::write(world.at("w/.gitignore"), "skip\n").unwrap();
    std::fs::create_dir(world.at("w/skip")).unwrap();
    let mut stream = world.watch(&[], true).await;
    for path in ["w/skip/x", "w/.hidden", "w/a/skip", "w/a/seen"] {
        world.put(path);
    }
    std::fs::write(world.at("w/.gitignore"), "none\n").unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.put("w/skip/later");
    world.put("w/end");
    let changes = until_end(&mut stream).await;
    assert!(is(&changes, "a/seen", Created) && is(&changes, "skip/later", Created), "{changes:?}");
    let left_out = ["skip/x", ".hidden", "a/skip", ".gitignore"];
    assert!(!changes.iter().any(|(path, _)| left_out.contains(&&**path)), "{changes:?}");
}

#[tokio::test]
async fn our_own_writes_are_one_change() {
    let world = world();
    let locks = crate::files::WriteLocks::new(&world.at("state"));
    let write = |path: &str, text: &str| {
        let (path, content) = (path.into(), text.into());
        let request = stigmer_core::file::WriteFile { path, content, ..Default::default() };
        crate::files::write_file(&world.root, &locks, request).unwrap();
    };
    let mut stream = world.watch(&["a", ""], false).await;
    write("a/f", "one");
    write("a/f", "two");
    write("end", "");
    let changes = until_end(&mut stream).await;
    assert_eq!(changes, [("a/f".to_owned(), Created), ("a/f".to_owned(), Modified)]);
}

#[tokio::test]
async fn what_cannot_be_watched_is_an_error_at_once() {
    let world = world();
    world.put("w/f");
    symlink("../out", world.at("w/link")).unwrap();
    for (path, code) in [
        ("none", ErrorCode::NotFound),
        ("f", ErrorCode::NotADirectory),
        ("link", ErrorCode::OutsideWorkspace),
        ("../out", ErrorCode::OutsideWorkspace),
    ] {
        let request = Watch { directories: vec![path.into()], ignore_rules: false };
        let error = watch(Arc::clone(&world.root), request).await.err().unwrap();
        assert_eq!(error.code, code, "{path}");
    }
}

/// The changes up to the error that ends a stream, and its code.
async fn to_its_end(mut stream: ChangeStream) -> (Vec<(String, ChangeKind)>, ErrorCode) {
    let mut changes = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(10), stream.next());
        match next.await.expect("the end in time").expect("an error before the end") {
            Ok(change) => changes.push((change.path.to_string_lossy().into_owned(), change.kind)),
            Err(error) => {
                assert!(stream.next().await.is_none());
                return (changes, error.code);
            }
        }
    }
}

#[tokio::test]
async fn a_watch_ends_when_what_it_watches_is_removed() {
    for removed in ["w", "w/a"] {
        let world = world();
        let watched: &[&str] = if removed == "w" { &[] } else { &["a"] };
        let stream = world.watch(watched, false).await;
        std::fs::remove_dir_all(world.at(removed)).unwrap();
        let (changes, code) = to_its_end(stream).await;
        assert_eq!(code, ErrorCode::NotFound, "{removed}");
        assert!(is(&changes, "a", Removed), "{changes:?}");
    }
    // Others go on.
    let world = world();
    std::fs::create_dir(world.at("w/b")).unwrap();
    let mut stream = world.watch(&["a", "b"], false).await;
    std::fs::remove_dir(world.at("w/a")).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.put("w/b/f");
    let mut changes = Vec::new();
    while !is(&changes, "b/f", Created) {
        let change = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
        let change = change.unwrap().unwrap().unwrap();
        changes.push((change.path.to_string_lossy().into_owned(), change.kind));
    }
}

#[test]
fn what_led_to_the_end_is_told_before_it_however_late_it_is_looked_at() {
    let world = world();
    let mut watcher = Watcher::start(Arc::clone(&world.root), vec![PathBuf::new()], false).unwrap();
    // All of it happens before the first look.
    std::fs::remove_dir_all(world.at("w")).unwrap();
    let (sender, mut receiver) = mpsc::channel(WAITING);
    let (stopped, _stop) = pipe_with(PipeFlags::CLOEXEC).unwrap();
    watcher.run(&sender, &stopped);
    let change = receiver.try_recv().unwrap().unwrap();
    assert_eq!((change.path, change.kind), ("a".into(), Removed));
    assert_eq!(receiver.try_recv().unwrap().unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn lost_changes_are_admitted() {
    let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let most: usize = most.trim().parse().unwrap();
    let world = world();
    let mut stream = world.watch(&[], false).await;
    // Two events for each file; nobody reads meanwhile.
    for n in 0..(most / 2 + 2 * WAITING) {
        std::fs::write(world.at(&format!("w/a/{n}")), "x").unwrap();
    }
    let mut rescan = false;
    while let Ok(Some(change)) = tokio::time::timeout(Duration::from_secs(2), stream.next()).await {
        rescan |= change.unwrap().kind == ChangeKind::Rescan;
    }
    assert!(rescan);
    world.put("w/a/after");
    let change = tokio::time::timeout(Duration::from_secs(10), stream.next()).await;
    assert_eq!(change.unwrap().unwrap().unwrap().path, "a/after".into(), "it goes on");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_thread() {
    let threads = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            std::fs::read_to_string(task.ok()?.path().join("comm")).ok()
        };
        tasks.filter_map(name).filter(|name| name.trim() == "watch").count()
    };
    let world = world();
    let before = threads();
    let streams = [world.watch(&[], false).await, world.watch(&[], false).await];
    drop(streams);
    for _ in 0..100 {
        if threads() <= before {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the threads are still there");
}
