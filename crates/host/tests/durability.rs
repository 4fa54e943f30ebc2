//! Old or new, never half: whoever is killed, and however full the disk.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test may fail, and says what it measured"
)]

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libtest_mimic::{Arguments, Trial};
use stigmer_core::file::{Edit, EditFile, WriteFile};
use stigmer_core::transfer::{TransferFormat, Upload};
use stigmer_core::{ErrorCode, ToolExecutor};
use stigmer_host::{HostExecutor, HostOptions};

/// Where a child of this test works; set only for children.
const PLACE: &str = "STIGMER_TEST_PLACE";
/// Large enough that a kill often hits the middle of a write.
const SIZE: usize = 128 << 10;

/// The children are this program again, so it has a `main` of its own.
fn main() {
    if let Some(place) = std::env::var_os(PLACE) {
        let place = Path::new(&place);
        match std::env::args().nth(1).as_deref() {
            Some("child_that_writes") => child_that_writes(place),
            Some("child_on_a_full_disk") => child_on_a_full_disk(place),
            other => panic!("no child is called {other:?}"),
        }
        return;
    }
    let trial = |name, test: fn()| {
        Trial::test(name, move || {
            test();
            Ok(())
        })
    };
    let trials = vec![
        trial("kills_leave_old_or_new", kills_leave_old_or_new),
        trial("a_full_disk_keeps_the_old_content", a_full_disk_keeps_the_old_content),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn executor(root: &Path) -> HostExecutor {
    let state = root.with_extension("state");
    HostExecutor::open(HostOptions::new(root, state)).unwrap()
}

fn child(test: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test]).env(PLACE, place);
    command
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The child of `kills_leave_old_or_new`.
fn child_that_writes(place: &Path) {
    let executor = executor(place);
    runtime().block_on(async {
        for round in 0_u64.. {
            let letter = b'a' + u8::try_from(round % 26).unwrap();
            let content = vec![letter; SIZE].into();
            let write = WriteFile { path: "f".into(), content, ..Default::default() };
            executor.write_file(write).await.unwrap();
        }
    });
}

fn kills_leave_old_or_new() {
    let kills: u32 = std::env::var("STIGMER_KILLS").ok().map_or(40, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("w");
    std::fs::create_dir(&place).unwrap();
    let file = place.join("f");
    std::fs::write(&file, vec![b'a'; SIZE]).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    let mut litter = 0;
    let mut kill = 0;
    // On a machine that is busy the first kills may all come after a few writes.
    while kill < kills || (seen.len() <= 3 && kill < kills * 5) {
        kill += 1;
        let before = std::fs::metadata(&file).unwrap();
        let mut writer = child("child_that_writes", &place).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        // Until it writes, then a moment that differs each time.
        while same(&std::fs::metadata(&file).unwrap(), &before) {
            assert!(start.elapsed() < Duration::from_secs(20), "the child does not write");
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_micros(u64::from(kill) * 7919 % 40_000));
        writer.kill().unwrap();
        assert_eq!(writer.wait().unwrap().signal(), Some(9), "it ended by itself");
        let content = std::fs::read(&file).unwrap();
        assert_eq!(content.len(), SIZE, "kill {kill}");
        assert!(content.iter().all(|byte| *byte == content[0]), "half a write, kill {kill}");
        seen.insert(content[0]);
        litter += std::fs::read_dir(&place).unwrap().count() - 1;
        for entry in std::fs::read_dir(&place).unwrap() {
            let path = entry.unwrap().path();
            if path != file {
                let text = std::fs::read(&path).unwrap();
                assert!(text.len() == SIZE, "litter is whole, from between link and rename");
                std::fs::remove_file(path).unwrap();
            }
        }
    }
    eprintln!("{kill} kills, {} different contents, {litter} names left", seen.len());
    assert!(seen.len() > 3, "the kills always hit the same moment: {seen:?}");
    assert!(litter <= kill as usize / 8, "{litter} temporary names were left");
}

fn same(a: &std::fs::Metadata, b: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    a.ino() == b.ino()
}

/// The child of `a_full_disk_keeps_the_old_content`.
fn child_on_a_full_disk(place: &Path) {
    let full = std::env::var_os("STIGMER_TEST_LIMIT").is_none();
    if !full {
        let limit = rustix::process::Rlimit { current: Some(1 << 20), maximum: Some(1 << 20) };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    }
    let executor = executor(place);
    let old = "old\n".repeat(50_000);
    std::fs::write(place.join("f"), &old).unwrap();
    let large = "x".repeat(2 << 20);
    let check = |what: &str, code: ErrorCode| {
        // A limit on the size of files is told as a fault of the machine: EFBIG.
        let want = if full { ErrorCode::DiskFull } else { ErrorCode::Io };
        assert_eq!(code, want, "{what}");
        assert_eq!(std::fs::read_to_string(place.join("f")).unwrap(), old, "{what}");
        assert_eq!(std::fs::read_dir(place).unwrap().count(), 1, "{what}");
    };
    runtime().block_on(async {
        let content = large.as_str().into();
        let write = WriteFile { path: "f".into(), content, ..Default::default() };
        check("write", executor.write_file(write.clone()).await.unwrap_err().code);
        let create = WriteFile { path: "new".into(), create_only: true, ..write };
        check("create", executor.write_file(create).await.unwrap_err().code);
        let new = "new".repeat(20).as_str().into();
        let edits = vec![Edit { old: "old".into(), new, replace_all: true }];
        let edit = EditFile { path: "f".into(), edits, expected_sha256: None };
        check("edit", executor.edit_file(edit).await.unwrap_err().code);
        let content = Box::pin(futures_util::stream::iter([Ok(Bytes::from(large.clone()))]));
        let request = Upload { path: "f".into(), format: TransferFormat::File, mode: None };
        check("upload", executor.upload(request, content).await.unwrap_err().code);
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(large.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, "f", large.as_bytes()).unwrap();
        let bytes = Bytes::from(builder.into_inner().unwrap());
        let content = Box::pin(futures_util::stream::iter([Ok(bytes)]));
        let request = Upload { path: "".into(), format: TransferFormat::Tar, mode: None };
        check("upload tar", executor.upload(request, content).await.unwrap_err().code);
    });
    eprintln!("CHECKED");
}

fn a_full_disk_keeps_the_old_content() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("w");
    std::fs::create_dir(&place).unwrap();
    let spaces = Command::new("unshare").args(["-Urm", "true"]).output();
    let output = if spaces.is_ok_and(|output| output.status.success()) {
        eprintln!("on a tmpfs of 1 MiB in a namespace of its own");
        let inner = child("child_on_a_full_disk", &place);
        Command::new("unshare")
            .args(["-Urm", "sh", "-c"])
            .arg("mount -t tmpfs -o size=1m none \"$0\" && exec \"$@\"")
            .arg(&place)
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(PLACE, &place)
            .output()
            .unwrap()
    } else {
        eprintln!("NO USER NAMESPACES: only a limit on file size is tested, not a full disk");
        // SIGXFSZ is ignored by the shell's trap, which the child inherits: EFBIG comes instead.
        let inner = child("child_on_a_full_disk", &place);
        Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env(PLACE, &place)
            .env("STIGMER_TEST_LIMIT", "1")
            .output()
            .unwrap()
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("CHECKED"), "{output:?}");
}
