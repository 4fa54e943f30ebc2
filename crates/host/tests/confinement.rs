//! No operation leaves the workspace, whatever links and renames do meanwhile.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail, and says what it measured"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use futures_util::StreamExt as _;
use rustix::fs::{CWD, RenameFlags};
use stigmer_core::file::{
    DeleteFile, Edit, EditFile, MakeDirectory, MovePath, ReadFile, WriteFile,
};
use stigmer_core::transfer::{Download, TransferFormat, Upload};
use stigmer_core::{ErrorCode, FilePath, Result, ToolError, ToolExecutor};
use stigmer_host::{HostExecutor, HostOptions, Resolver};

const SECRET: &str = "the secret that is outside";
const BOTH: [Resolver; 2] = [Resolver::Openat2, Resolver::Walk];

/// A workspace `w`, and beside it `out` with files of the same names.
struct World {
    folder: tempfile::TempDir,
    executor: HostExecutor,
}

/// What is at each path: mode, links, and content or target.
type Picture = BTreeMap<PathBuf, (u32, u64, Vec<u8>)>;

fn world(resolver: Resolver) -> World {
    // In memory where there is room: five times as many tries as on a disk.
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    for (path, text) in [
        ("out/f", SECRET),
        ("out/g", SECRET),
        ("out/sub/g", SECRET),
        ("out/only-outside", SECRET),
        ("w/d/f", "inside"),
        ("w/d/sub/g", "inside"),
    ] {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let executor = HostExecutor::open(HostOptions {
        resolver: Some(resolver),
        ..HostOptions::new(folder.path().join("w"), folder.path().join("state"))
    })
    .unwrap();
    World { folder, executor }
}

fn picture(path: &Path) -> Picture {
    let mut found = Picture::new();
    let stat = path.symlink_metadata().unwrap();
    let content = match () {
        () if stat.is_dir() => Vec::new(),
        () if stat.is_symlink() => {
            std::fs::read_link(path).unwrap().into_os_string().into_encoded_bytes()
        }
        () => std::fs::read(path).unwrap(),
    };
    if stat.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            found.append(&mut picture(&entry.unwrap().path()));
        }
    }
    found.insert(path.to_owned(), (stat.mode(), stat.nlink(), content));
    found
}

/// Swaps the directory and the link as fast as it can, and puts back what an operation took away.
fn swap(w: &Path, stop: &AtomicBool, swaps: &AtomicU64) {
    let names = [w.join("d"), w.join("l")];
    while !stop.load(Ordering::Relaxed) {
        let exchange = RenameFlags::EXCHANGE;
        if rustix::fs::renameat_with(CWD, &names[0], CWD, &names[1], exchange).is_ok() {
            swaps.fetch_add(1, Ordering::Relaxed);
            // Each rename takes a lock that the operations need: without a breath between two of
            // them there are few tries, and each of them sees the swap at the same place.
            (0..swaps.load(Ordering::Relaxed) % 4096).for_each(|_| std::hint::spin_loop());
            continue;
        }
        for (name, other) in [(&names[0], &names[1]), (&names[1], &names[0])] {
            // Neither call follows a link. Each may find the name taken: then all is well.
            let _ = if other.is_symlink() {
                std::fs::create_dir(name)
            } else {
                symlink("../out", name)
            };
        }
    }
}

fn path(text: &str) -> FilePath {
    text.into()
}

fn archive(name: &str) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for name in [format!("sub/{name}"), name.to_owned()] {
        let mut header = tar::Header::new_gnu();
        header.set_size(6);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, &b"inside"[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

async fn upload(
    executor: &HostExecutor,
    to: &str,
    format: TransferFormat,
    bytes: Vec<u8>,
) -> Result<()> {
    let content = Box::pin(futures_util::stream::iter([Ok(Bytes::from(bytes))]));
    executor.upload(Upload { path: path(to), format, mode: None }, content).await.map(drop)
}

async fn download(executor: &HostExecutor, from: &str, format: TransferFormat) -> Result<Vec<u8>> {
    let mut stream = executor.download(Download { path: path(from), format }).await?;
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes)
}

const OPERATIONS: [&str; 16] = [
    "read",
    "write",
    "create",
    "edit",
    "stat",
    "delete",
    "delete tree",
    "move out of",
    "move into",
    "move within",
    "mkdir",
    "upload tar",
    "upload file",
    "download tar",
    "download file",
    "write deep",
];

/// One try; what it gives back must hold nothing of the secret.
async fn attempt(executor: &HostExecutor, operation: usize, n: u64) -> Result<Vec<u8>> {
    let none = |_| Vec::new();
    let write = |to: &str, create_only| {
        let request = WriteFile {
            path: path(to),
            content: "inside".into(),
            expected_sha256: None,
            create_only,
        };
        executor.write_file(request)
    };
    let go = |from: &str, to: &str| {
        executor.move_path(MovePath { from: path(from), to: path(to), replace: true })
    };
    let wants_file = ["read", "edit", "stat", "move out of", "move within", "download file"];
    if wants_file.contains(&OPERATIONS[operation]) {
        // Others took the file away; this too is a try, and may fail like any other.
        let _ = write("d/f", true).await;
    }
    match OPERATIONS[operation] {
        "read" => executor
            .read_file(ReadFile { path: path("d/f"), ..ReadFile::default() })
            .await
            .map(|file| file.content.into_bytes()),
        "write" => write("d/f", false).await.map(|_| Vec::new()),
        "write deep" => write("d/sub/deep/er/f", false).await.map(|_| Vec::new()),
        "create" => write(&format!("d/new{}", n % 64), true).await.map(|_| Vec::new()),
        "edit" => {
            let edits = vec![Edit { old: "i".into(), new: "I".into(), replace_all: true }];
            let request = EditFile { path: path("d/f"), edits, expected_sha256: None };
            executor.edit_file(request).await.map(|done| done.diff.into_bytes())
        }
        "stat" => executor
            .stat_file(path("d/f"))
            .await
            .map(|stat| if stat.size == SECRET.len() as u64 { SECRET.into() } else { Vec::new() }),
        "delete" => {
            let request = DeleteFile { path: path("d/g"), recursive: false };
            executor.delete_file(request).await.map(|_| Vec::new())
        }
        "delete tree" => {
            // The directory itself more seldom: until it is filled again, little can be tried.
            let what = if n % 64 < 16 { "d" } else { "d/sub" };
            let request = DeleteFile { path: path(what), recursive: true };
            executor.delete_file(request).await.map(|_| Vec::new())
        }
        "move out of" => {
            go("d/f", "taken").await?;
            executor
                .read_file(ReadFile { path: path("taken"), ..ReadFile::default() })
                .await
                .map(|file| file.content.into_bytes())
        }
        "move into" => {
            write("given", false).await?;
            go("given", "d/given").await.map(none)
        }
        "move within" => go("d/f", "d/g").await.map(none),
        "mkdir" => {
            let request =
                MakeDirectory { path: path(&format!("d/sub/m{}", n % 32)), parents: true };
            executor.make_directory(request).await.map(none)
        }
        "upload tar" => upload(executor, "d", TransferFormat::Tar, archive("f")).await.map(none),
        "upload file" => {
            upload(executor, "d/sub/f", TransferFormat::File, b"inside".into()).await.map(none)
        }
        "download tar" => {
            let bytes = download(executor, "d", TransferFormat::Tar).await?;
            let listed = bytes.windows(12).any(|part| part == b"only-outside");
            Ok(if listed { SECRET.into() } else { bytes })
        }
        _ => download(executor, "d/f", TransferFormat::File).await,
    }
}

fn race(resolver: Resolver) {
    let tries =
        std::env::var("STIGMER_RACE_TRIES").ok().map_or(20_000, |tries| tries.parse().unwrap());
    let world = world(resolver);
    let w = world.folder.path().join("w");
    symlink("../out", w.join("l")).unwrap();
    let outside = world.folder.path().join("out");
    let before = picture(&outside);
    let (stop, swaps) = (AtomicBool::new(false), AtomicU64::new(0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut done = [0_u64; OPERATIONS.len()];
    let mut codes: BTreeMap<&str, u64> = BTreeMap::new();
    let start = Instant::now();
    std::thread::scope(|scope| {
        // Stops the other thread also when this one fails: else the test would hang.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        scope.spawn(|| swap(&w, &stop, &swaps));
        for n in 0..tries {
            // Eleven of sixteen steps apart, so that one operation does not always prepare the same other.
            let operation = usize::try_from(n * 11 % OPERATIONS.len() as u64).unwrap();
            match runtime.block_on(attempt(&world.executor, operation, n / 16)) {
                Ok(got) => {
                    done[operation] += 1;
                    let secret = got.windows(SECRET.len()).any(|part| part == SECRET.as_bytes());
                    assert!(
                        !secret,
                        "{} reached the outside with {resolver:?}",
                        OPERATIONS[operation]
                    );
                }
                Err(error) => *codes.entry(error.code.name()).or_default() += 1,
            }
            if n % 1024 == 0 {
                assert_eq!(picture(&outside), before, "after try {n} with {resolver:?}");
            }
        }
    });
    assert_eq!(picture(&outside), before, "{resolver:?}");
    let seconds = start.elapsed().as_secs_f64();
    let swaps = swaps.into_inner();
    eprintln!("{resolver:?}: {tries} tries and {swaps} swaps in {seconds:.1} s");
    eprintln!("  done: {:?}", OPERATIONS.iter().zip(done).collect::<Vec<_>>());
    eprintln!("  errors: {codes:?}");
    // A race that never happens proves nothing.
    assert!(swaps > tries / 100, "hardly anything was swapped: {swaps}");
    for (name, done) in OPERATIONS.iter().zip(done) {
        assert!(done > 0, "{name} never succeeded");
    }
    assert!(codes.get("outside_workspace").is_some_and(|count| *count > tries / 100), "{codes:?}");
    let expected = [
        "outside_workspace",
        "not_found",
        "exists",
        "not_a_directory",
        "text_not_found",
        "busy",
        "is_directory",
        "directory_not_empty",
    ];
    assert!(codes.keys().all(|code| expected.contains(code)), "{codes:?}");
}

#[test]
fn a_swapped_directory_never_leads_out_openat2() {
    race(Resolver::Openat2);
}

#[test]
fn a_swapped_directory_never_leads_out_walk() {
    race(Resolver::Walk);
}

async fn code(work: impl Future<Output = Result<impl Sized, ToolError>>) -> Option<ErrorCode> {
    work.await.map(drop).map_err(|error| error.code).err()
}

#[tokio::test]
async fn standing_ways_out_are_closed_to_every_operation() {
    for resolver in BOTH {
        let world = world(resolver);
        let (w, outside) = (world.folder.path().join("w"), world.folder.path().join("out"));
        let executor = &world.executor;
        symlink("../out", w.join("relative")).unwrap();
        symlink(&outside, w.join("absolute")).unwrap();
        symlink("/proc/self/root", w.join("proc")).unwrap();
        symlink("/proc/self/cwd", w.join("cwd")).unwrap();
        symlink("relative", w.join("chain")).unwrap();
        symlink("../out/f", w.join("file")).unwrap();
        let before = picture(&outside);
        let under_proc = format!("proc{}/f", outside.display());
        let ways = [
            "relative/f",
            "absolute/f",
            "chain/f",
            "../out/f",
            "d/../../out/f",
            "file/../../out/f",
            "cwd/f",
            &under_proc,
            &format!("{}/f", outside.display()),
            "/etc/passwd",
        ];
        for way in ways {
            let is = |got: Option<ErrorCode>, what: &str| {
                assert_eq!(got, Some(ErrorCode::OutsideWorkspace), "{what} {way} {resolver:?}");
            };
            let tar = TransferFormat::Tar;
            is(
                code(executor.read_file(ReadFile { path: path(way), ..Default::default() })).await,
                "read",
            );
            is(code(executor.stat_file(path(way))).await, "stat");
            let write = WriteFile { path: path(way), ..Default::default() };
            is(code(executor.write_file(write.clone())).await, "write");
            is(code(executor.write_file(WriteFile { create_only: true, ..write })).await, "create");
            let edits = vec![Edit { old: "s".into(), new: "t".into(), replace_all: true }];
            let edit = EditFile { path: path(way), edits, expected_sha256: None };
            is(code(executor.edit_file(edit)).await, "edit");
            is(
                code(executor.delete_file(DeleteFile { path: path(way), recursive: true })).await,
                "delete",
            );
            for (from, to) in [(way, "x"), ("d/f", way)] {
                let request = MovePath { from: path(from), to: path(to), replace: true };
                is(code(executor.move_path(request)).await, "move");
            }
            let make = MakeDirectory { path: path(&format!("{way}/x")), parents: true };
            is(code(executor.make_directory(make)).await, "mkdir");
            is(code(upload(executor, way, TransferFormat::File, Vec::new())).await, "upload");
            is(code(upload(executor, way, tar, archive("f"))).await, "upload tar");
            is(code(download(executor, way, tar)).await, "download");
        }
        let read = ReadFile { path: path("file"), ..Default::default() };
        assert_eq!(code(executor.read_file(read)).await, Some(ErrorCode::OutsideWorkspace));
        let write = WriteFile { path: path("file"), ..Default::default() };
        assert_eq!(code(executor.write_file(write)).await, Some(ErrorCode::OutsideWorkspace));
        assert_eq!(picture(&outside), before);
    }
}

#[tokio::test]
async fn hard_links_to_the_outside_are_never_written_through() {
    for resolver in BOTH {
        let world = world(resolver);
        let outside = world.folder.path().join("out");
        for name in ["write", "edit", "tar", "file", "onto"] {
            std::fs::hard_link(outside.join("f"), world.folder.path().join("w").join(name))
                .unwrap();
        }
        let before = std::fs::read(outside.join("f")).unwrap();
        let executor = &world.executor;
        let write = WriteFile { path: path("write"), content: "x".into(), ..Default::default() };
        executor.write_file(write).await.unwrap();
        let edits = vec![Edit { old: "secret".into(), new: "x".into(), replace_all: false }];
        let edit = EditFile { path: path("edit"), edits, expected_sha256: None };
        executor.edit_file(edit).await.unwrap();
        upload(executor, "", TransferFormat::Tar, archive("tar")).await.unwrap();
        upload(executor, "file", TransferFormat::File, b"x".into()).await.unwrap();
        let go = MovePath { from: path("d/f"), to: path("onto"), replace: true };
        executor.move_path(go).await.unwrap();
        let stat = std::fs::metadata(outside.join("f")).unwrap();
        assert_eq!((std::fs::read(outside.join("f")).unwrap(), stat.nlink()), (before, 1));
    }
}

#[tokio::test]
async fn fifos_and_devices_are_never_opened() {
    for resolver in BOTH {
        let world = world(resolver);
        let w = world.folder.path().join("w");
        rustix::fs::mkfifoat(CWD, w.join("fifo"), rustix::fs::Mode::RWXU).unwrap();
        symlink("fifo", w.join("link")).unwrap();
        symlink("/dev/zero", w.join("zero")).unwrap();
        let executor = &world.executor;
        let limit = std::time::Duration::from_secs(10);
        for (name, want) in [
            ("fifo", ErrorCode::NotAFile),
            ("link", ErrorCode::NotAFile),
            ("zero", ErrorCode::OutsideWorkspace),
        ] {
            let edits = vec![Edit { old: "a".into(), new: "b".into(), replace_all: false }];
            let all = async {
                [
                    code(executor.read_file(ReadFile { path: path(name), ..Default::default() }))
                        .await,
                    code(executor.write_file(WriteFile { path: path(name), ..Default::default() }))
                        .await,
                    code(executor.edit_file(EditFile {
                        path: path(name),
                        edits,
                        expected_sha256: None,
                    }))
                    .await,
                    code(download(executor, name, TransferFormat::File)).await,
                    code(upload(executor, name, TransferFormat::File, Vec::new())).await,
                ]
            };
            let got = tokio::time::timeout(limit, all).await.unwrap();
            assert_eq!(got, [Some(want); 5], "{name} {resolver:?}");
        }
        let tar = tokio::time::timeout(limit, download(executor, "", TransferFormat::Tar)).await;
        assert!(tar.unwrap().is_ok());
    }
}

#[tokio::test]
async fn any_name_works_in_every_operation() {
    for resolver in BOTH {
        for name in [&b"new\nline"[..], b"\xff\xfe\x80", b" -rf *", b"\"'\\$(x)"] {
            let world = world(resolver);
            let executor = &world.executor;
            let at = |bytes: &[u8]| FilePath::from(bytes);
            let inner = [name, b"/", name].concat();
            let write = WriteFile { path: at(&inner), content: "a".into(), ..Default::default() };
            executor.write_file(write).await.unwrap();
            let edits = vec![Edit { old: "a".into(), new: "b".into(), replace_all: false }];
            let edit = EditFile { path: at(&inner), edits, expected_sha256: None };
            executor.edit_file(edit).await.unwrap();
            let moved = [name, b"/2"].concat();
            let go = MovePath { from: at(&inner), to: at(&moved), replace: false };
            executor.move_path(go).await.unwrap();
            assert_eq!(executor.stat_file(at(&moved)).await.unwrap().path, at(&moved));
            let request = Download { path: at(name), format: TransferFormat::Tar };
            let stream = executor.download(request).await.unwrap();
            let to = [name, b"3"].concat();
            let request = Upload { path: at(&to), format: TransferFormat::Tar, mode: None };
            executor.upload(request, stream).await.unwrap();
            let file = world.folder.path().join("w").join(OsStr::from_bytes(&to)).join("2");
            assert_eq!(std::fs::read(file).unwrap(), b"b");
            for path in [name.to_vec(), to] {
                let request = DeleteFile { path: path.into(), recursive: true };
                assert!(!executor.delete_file(request).await.unwrap().was_already_deleted);
            }
        }
    }
}

#[tokio::test]
async fn a_closed_directory_is_a_refusal_and_no_fault() {
    if rustix::process::geteuid().is_root() {
        eprintln!("not tested: root may enter every directory");
        return;
    }
    for resolver in BOTH {
        let world = world(resolver);
        let closed = world.folder.path().join("w/d/sub");
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o0)).unwrap();
        let executor = &world.executor;
        let read = ReadFile { path: path("d/sub/g"), ..Default::default() };
        assert_eq!(code(executor.read_file(read)).await, Some(ErrorCode::PermissionDenied));
        let delete = DeleteFile { path: path("d"), recursive: true };
        assert_eq!(code(executor.delete_file(delete)).await, Some(ErrorCode::PermissionDenied));
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
    }
}
