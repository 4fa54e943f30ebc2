use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use stigmer_core::ByteString;

struct World {
    folder: tempfile::TempDir,
    root: Root,
    locks: WriteLocks,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("w")).unwrap();
    let root = Root::open(&folder.path().join("w"), None).unwrap();
    let locks = WriteLocks::new(&folder.path().join("state"));
    World { folder, root, locks }
}

impl World {
    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }
    fn put(&self, path: &str, text: &str) {
        std::fs::write(self.at(path), text).unwrap();
    }
    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.at(path)).unwrap()
    }
    fn write(&self, request: WriteFile) -> Result<WriteSummary> {
        write_file(&self.root, &self.locks, request)
    }
}

fn ask(path: &str, content: &str) -> WriteFile {
    WriteFile { path: path.into(), content: content.into(), ..WriteFile::default() }
}

#[test]
fn a_file_is_made_with_its_parents_and_replaced_with_its_mode() {
    let world = world();
    let made = world.write(ask("a/b/c", "one\ntwo\n")).unwrap();
    assert_eq!((made.is_new_file, made.lines_added, made.lines_removed), (true, 2, 0));
    assert_eq!(made.sha256, sha256(b"one\ntwo\n"));
    let path = world.at("a/b/c");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o751)).unwrap();
    let replaced = world.write(ask("a/b/c", "one\nthree\nfour")).unwrap();
    let counts = (replaced.is_new_file, replaced.lines_added, replaced.lines_removed);
    assert_eq!(counts, (false, 2, 1));
    assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o751);
    assert_eq!(std::fs::read_dir(world.at("a/b")).unwrap().count(), 1);
}

#[test]
fn a_new_file_has_the_mode_that_a_program_would_give_it() {
    let world = world();
    world.write(ask("d/ours", "")).unwrap();
    std::fs::create_dir(world.at("e")).unwrap();
    world.put("e/theirs", "");
    let mode = |path| world.at(path).metadata().unwrap().mode();
    assert_eq!((mode("d"), mode("d/ours")), (mode("e"), mode("e/theirs")));
}

#[test]
fn other_names_of_the_file_keep_the_old_content() {
    let world = world();
    let outside = world.folder.path().join("outside");
    std::fs::write(&outside, "old").unwrap();
    std::fs::hard_link(&outside, world.at("f")).unwrap();
    world.write(ask("f", "new")).unwrap();
    assert_eq!(
        (std::fs::read(&outside).unwrap(), world.text("f")),
        (b"old".to_vec(), "new".into())
    );
}

#[test]
fn a_link_stays_and_leads_to_the_new_content() {
    let world = world();
    world.put("f", "old");
    symlink("f", world.at("link")).unwrap();
    symlink("missing", world.at("dangling")).unwrap();
    symlink("../out", world.at("out")).unwrap();
    assert!(!world.write(ask("link", "new")).unwrap().is_new_file);
    assert_eq!(world.text("f"), "new");
    assert!(world.at("link").is_symlink());
    assert!(world.write(ask("dangling", "new")).unwrap().is_new_file);
    assert_eq!(world.text("missing"), "new");
    let code = world.write(ask("out", "new")).unwrap_err().code;
    assert_eq!(code, ErrorCode::OutsideWorkspace);
    assert!(!world.folder.path().join("out").exists());
}

#[test]
fn create_only_never_replaces() {
    let world = world();
    let create = |path| world.write(WriteFile { create_only: true, ..ask(path, "new") });
    world.put("f", "old");
    symlink("nowhere", world.at("link")).unwrap();
    for path in ["f", "link"] {
        assert_eq!(create(path).unwrap_err().code, ErrorCode::Exists, "{path}");
    }
    assert_eq!(world.text("f"), "old");
    assert!(!world.at("nowhere").exists());
    assert!(create("d/new").unwrap().is_new_file);
    let wins: usize = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| create("race").is_ok())).collect();
        runs.into_iter().map(|run| usize::from(run.join().unwrap())).sum()
    });
    assert_eq!(wins, 1);
}

#[test]
fn the_expected_content_must_be_there() {
    let world = world();
    world.put("f", "old");
    let expect = |path, text: &str| {
        let expected_sha256 = Some(sha256(text.as_bytes()));
        world.write(WriteFile { expected_sha256, ..ask(path, "new") })
    };
    let error = expect("f", "other").unwrap_err();
    assert_eq!(error.code, ErrorCode::Stale);
    assert_eq!(error.details["actual_sha256"], sha256(b"old"));
    assert_eq!(world.text("f"), "old");
    assert_eq!(expect("d/none", "").unwrap_err().code, ErrorCode::Stale);
    assert!(!world.at("d").exists());
    expect("f", "old").unwrap();
    assert_eq!(expect("f", "old").unwrap_err().code, ErrorCode::Stale, "the second editor");
}

#[test]
fn what_is_no_file_is_refused() {
    let world = world();
    std::fs::create_dir(world.at("d")).unwrap();
    rustix::fs::mkfifoat(world.root.base(), "fifo", rustix::fs::Mode::RWXU).unwrap();
    let code = |path| world.write(ask(path, "")).unwrap_err().code;
    assert_eq!(code("d"), ErrorCode::IsDirectory);
    assert_eq!(code(""), ErrorCode::IsDirectory);
    assert_eq!(code("fifo"), ErrorCode::NotAFile);
    assert_eq!(code("../x"), ErrorCode::OutsideWorkspace);
    let large = ByteString::from(vec![0; usize::try_from(MAX_WRITE_BYTES).unwrap() + 1]);
    let error = world.write(WriteFile { content: large, ..ask("f", "") }).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
}

#[test]
fn a_protected_file_is_not_written() {
    if rustix::process::geteuid().is_root() {
        return; // Root may write everything.
    }
    let world = world();
    world.put("f", "old");
    std::fs::set_permissions(world.at("f"), PermissionsExt::from_mode(0o444)).unwrap();
    assert_eq!(world.write(ask("f", "new")).unwrap_err().code, ErrorCode::PermissionDenied);
    assert_eq!(world.text("f"), "old");
}

#[test]
fn a_file_too_large_to_compare_is_replaced() {
    let world = world();
    let file = File::create(world.at("f")).unwrap();
    file.set_len(MAX_WRITE_BYTES + 1).unwrap();
    let done = world.write(ask("f", "a\nb\n")).unwrap();
    assert_eq!((done.lines_added, done.lines_removed), (2, 1));
}

#[test]
fn counting_writers_lose_nothing() {
    const THREADS: u64 = 8;
    const EACH: u64 = 25;
    let world = world();
    world.put("n", "0");
    let stale = std::sync::atomic::AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let mut done = 0;
                while done < EACH {
                    let old = world.text("n");
                    let next = old.parse::<u64>().unwrap() + 1;
                    let expected_sha256 = Some(sha256(old.as_bytes()));
                    match world.write(WriteFile { expected_sha256, ..ask("n", &next.to_string()) })
                    {
                        Ok(_) => done += 1,
                        Err(error) if error.code == ErrorCode::Stale => {
                            stale.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        }
                        Err(error) => panic!("{error:?}"),
                    }
                }
            });
        }
    });
    assert_eq!(world.text("n"), (THREADS * EACH).to_string());
    assert!(stale.into_inner() > 0, "the writers never met: this proves nothing");
}
