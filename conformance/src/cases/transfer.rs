//! Moving trees in and out.

use futures_util::StreamExt;
use stigmer_core::transfer::{Download, TransferFormat, Upload, UploadSummary};
use stigmer_core::{ErrorCode, Result, ToolError};
use tar::EntryType;

use crate::Fixture;
use crate::archive::{self, Archive, stream};
use crate::check::{refused, refused_with_hint, same_bytes};
use crate::harness::cases;

cases! {
    an_archive_is_unpacked,
    a_tree_goes_out_and_comes_back,
    archives_of_the_machines_tar_are_understood,
    the_machines_tar_understands_our_archives,
    one_file_goes_in_and_out,
    one_file_replaces_and_keeps_its_mode,
    an_archive_cannot_reach_outside,
    an_archive_cannot_write_through_a_link,
    devices_and_fifos_are_refused,
    privileges_do_not_come_with_an_archive,
    a_truncated_archive_is_refused,
    what_is_no_archive_is_refused,
    a_stream_that_fails_leaves_no_half_file,
    a_hundred_thousand_entries_are_unpacked,
    a_large_file_is_streamed,
    downloads_that_cannot_be_are_refused,
    uploads_that_cannot_be_are_refused,
    a_download_that_is_dropped_does_no_harm,
}

async fn upload(place: &Fixture, path: &str, bytes: impl Into<Vec<u8>>) -> Result<UploadSummary> {
    let request = Upload { path: path.into(), format: TransferFormat::Tar, mode: None };
    place.executor.upload(request, stream(bytes, 1000)).await
}

async fn download(place: &Fixture, path: &str, format: TransferFormat) -> Result<Vec<u8>> {
    let mut stream = place.executor.download(Download { path: path.into(), format }).await?;
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece?);
    }
    Ok(all)
}

async fn an_archive_is_unpacked(place: Fixture) {
    let bytes = Archive::new()
        .directory("d/")
        .file("d/f", "content")
        .file("no/parent/g", "2")
        .file_mode("run", 0o750)
        .special(EntryType::Symlink, "d/link", "f")
        .special(EntryType::Link, "hard", "d/f")
        .bytes();
    let done = upload(&place, "in/to", bytes).await.unwrap();
    assert_eq!((done.files, done.directories, done.symlinks, done.bytes), (4, 1, 1, 8));
    assert_eq!(place.text("cd in/to; cat d/f no/parent/g; readlink d/link").await, "content2f");
    assert_eq!(place.mode("in/to/run").await, 0o750);
    assert_eq!(place.text("stat -c '%Y %h' in/to/d/f").await, "1234567890 2");
    // Again, over what is there.
    let bytes = Archive::new().file("d/f", "new").file("d/link", "now a file").bytes();
    upload(&place, "in/to", bytes).await.unwrap();
    assert_eq!(place.text("cd in/to; cat d/f d/link hard").await, "newnow a filecontent");
}

const TREE: &str = "mkdir -p t/a/b t/empty; echo text > t/a/f; head -c 300000 /dev/urandom > t/a/b/g; \
    ln -s a/f t/link; ln -s nowhere t/dangling; : > t/zero; chmod 640 t/a/f; chmod 700 t/a/b; \
    touch 't/a name with spaces' \"t/λ\" \"$(printf 't/\\377')\" t/$(printf 'n%.0s' $(seq 200)); \
    mkdir -p t/$(printf 'long/%.0s' $(seq 40)); echo deep > t/$(printf 'long/%.0s' $(seq 40))deep";

async fn a_tree_goes_out_and_comes_back(place: Fixture) {
    place.sh(TREE).await;
    let bytes = download(&place, "t", TransferFormat::Tar).await.unwrap();
    let entries = archive::read(&bytes);
    let of = |name: &str| entries.iter().find(|entry| entry.name == name.as_bytes());
    assert_eq!(of("a/f").unwrap().content, b"text\n", "named relative to the directory");
    assert_eq!((of("a/f").unwrap().mode, of("a/b").unwrap().mode), (0o640, 0o700));
    assert_eq!((of("link").unwrap().kind, &of("link").unwrap().content[..]), ('l', &b"a/f"[..]));
    assert!(of("empty").is_some_and(|entry| entry.kind == 'd'));
    let done = upload(&place, "back", bytes).await.unwrap();
    assert_eq!((done.files, done.symlinks), (8, 2));
    place.sh("diff -r --no-dereference t back").await;
    let listing = "find . -mindepth 1 -printf '%p %y %m %l %s\\n' | grep -v ' d ' | sort";
    let (left, right) = (format!("cd t; {listing}"), format!("cd back; {listing}"));
    assert_eq!(place.sh(left).await, place.sh(right).await);
}

async fn archives_of_the_machines_tar_are_understood(place: Fixture) {
    place.sh(TREE).await;
    for format in ["gnu", "ustar", "pax", "v7"] {
        // The older formats cannot hold long names.
        let line = format!(
            "tar --format={format} -C t -cf {format}.tar --exclude long . 2>/dev/null; \
                            tar -C t -tf {format}.tar | wc -l"
        );
        place.execute(line).await;
        let bytes = place.bytes(format!("{format}.tar")).await;
        upload(&place, &format!("from-{format}"), bytes).await.unwrap();
        place.sh(format!("diff -r --no-dereference -x long -x 'nn*' t from-{format}")).await;
    }
}

async fn the_machines_tar_understands_our_archives(place: Fixture) {
    place.sh(TREE).await;
    let bytes = download(&place, "t", TransferFormat::Tar).await.unwrap();
    place.seed("ours.tar", bytes).await;
    place.sh("mkdir theirs; tar -C theirs -xpf ours.tar; diff -r --no-dereference t theirs").await;
    assert_eq!(place.mode("theirs/a/f").await, 0o640);
    // A single file has its own name.
    let bytes = download(&place, "t/a/f", TransferFormat::Tar).await.unwrap();
    let [only] = &archive::read(&bytes)[..] else { panic!() };
    assert_eq!((&only.name[..], &only.content[..]), (&b"f"[..], &b"text\n"[..]));
}

async fn one_file(place: &Fixture, path: &str, bytes: &[u8]) -> Result<UploadSummary> {
    let request = Upload { path: path.into(), format: TransferFormat::File, mode: None };
    place.executor.upload(request, stream(bytes, 4000)).await
}

async fn one_file_goes_in_and_out(place: Fixture) {
    for size in [0, 1, 100_001] {
        let bytes = crate::random::Random::new(3).bytes(size);
        let done = one_file(&place, "new/f", &bytes).await.unwrap();
        assert_eq!((done.files, done.bytes), (1, size as u64));
        same_bytes(&place.bytes("new/f").await, &bytes, "uploaded");
        let back = download(&place, "new/f", TransferFormat::File).await.unwrap();
        same_bytes(&back, &bytes, "downloaded");
    }
}

async fn one_file_replaces_and_keeps_its_mode(place: Fixture) {
    place.seed("real", "old").await;
    place.chmod("real", 0o750).await;
    place.seed_link("real", "link").await;
    one_file(&place, "link", b"new").await.unwrap();
    assert_eq!(place.text("readlink link; cat real").await, "real\nnew");
    assert_eq!(place.mode("real").await, 0o750);
}

async fn an_archive_cannot_reach_outside(place: Fixture) {
    place.seed_directory("in").await;
    let hostile = [
        ("..", Archive::new().file("../evil", "x")),
        ("..", Archive::new().file("a/../../evil", "x")),
        ("evil", Archive::new().file("/tmp/evil", "x")),
        ("..", Archive::new().directory("../evil/")),
        ("/etc", Archive::new().special(EntryType::Symlink, "link", "/etc")),
        ("../..", Archive::new().special(EntryType::Symlink, "link", "../../out")),
        (
            "d/../../..",
            Archive::new().directory("d/").special(EntryType::Symlink, "l", "d/../../.."),
        ),
        ("passwd", Archive::new().special(EntryType::Link, "hard", "/etc/passwd")),
        ("..", Archive::new().special(EntryType::Link, "hard", "../../out")),
        ("evil", Archive::new().special(EntryType::Symlink, "../evil", "in")),
    ];
    let parent = "ls -A ..; ls -A in";
    let before = place.text(parent).await;
    for (names, hostile) in hostile {
        let result = upload(&place, "in", hostile.bytes()).await;
        refused_with_hint(result, ErrorCode::OutsideWorkspace, &[names]);
        place.sh("rm -rf in; mkdir in").await;
    }
    assert_eq!(place.text(parent).await, before);
    // Links that stay within are allowed, in whatever way they are written.
    let inside = Archive::new()
        .directory("d/")
        .file("f", "x")
        .special(EntryType::Symlink, "d/up", "../f")
        .special(EntryType::Symlink, "later", "not/yet/there")
        .special(EntryType::Symlink, "root", place.root_text());
    upload(&place, "in", inside.bytes()).await.unwrap();
    assert_eq!(place.bytes("in/d/up").await, b"x");
}

async fn an_archive_cannot_write_through_a_link(place: Fixture) {
    // The link is there already, put by a command; or it comes in two steps.
    place.sh("mkdir ../outside-$$; echo outside-$$ > name; ln -s \"$PWD/../outside-$$\" out").await;
    let outside = place.text("cat name").await;
    for path in ["out/evil", "out/d/evil"] {
        let result = upload(&place, "", Archive::new().file(path, "x").bytes()).await;
        refused(result, ErrorCode::OutsideWorkspace, &["out"]);
        let result = one_file(&place, path, b"x").await;
        refused(result, ErrorCode::OutsideWorkspace, &["out"]);
    }
    let result = upload(&place, "out", Archive::new().file("evil", "x").bytes()).await;
    refused(result, ErrorCode::OutsideWorkspace, &["out"]);
    // An entry replaces a link; what it led to is untouched.
    upload(&place, "", Archive::new().file("out", "file now").bytes()).await.unwrap();
    assert_eq!(place.bytes("out").await, b"file now");
    assert_eq!(place.text(format!("ls -A ../{outside}; rmdir ../{outside}")).await, "");
}

async fn devices_and_fifos_are_refused(place: Fixture) {
    for (kind, word) in [
        (EntryType::Char, "device"),
        (EntryType::Block, "device"),
        (EntryType::Fifo, "FIFO"),
        (EntryType::new(b'Q'), "unknown"),
    ] {
        let bytes = Archive::new().special(kind, "special", "").bytes();
        let result = upload(&place, "", bytes).await;
        refused_with_hint(result, ErrorCode::InvalidArgument, &["special", word]);
    }
    assert_eq!(place.text("ls -A").await, "");
}

async fn privileges_do_not_come_with_an_archive(place: Fixture) {
    upload(&place, "", Archive::new().file_mode("f", 0o6755).bytes()).await.unwrap();
    assert_eq!(place.mode("f").await, 0o755);
    assert_eq!(place.text("stat -c %u f").await, place.text("id -u").await);
}

async fn a_truncated_archive_is_refused(place: Fixture) {
    let bytes = Archive::new().file("a", "x".repeat(3000)).file("b", "y".repeat(3000)).bytes();
    for length in [0, 1, 100, 511, 512, 600, 3000, 3584, 4096, 5000, 7167] {
        let result = upload(&place, "d", &bytes[..length]).await;
        let error = refused_with_hint(result, ErrorCode::InvalidArgument, &["truncated"]);
        assert_eq!(error.details["argument"], "archive", "{length}");
        // What is there is whole.
        let sizes = place.text("cd d && stat -c %s -- * 2>/dev/null; true").await;
        assert!(sizes.lines().all(|size| size == "3000"), "{length}: {sizes}");
        place.sh("rm -rf d").await;
    }
}

async fn what_is_no_archive_is_refused(place: Fixture) {
    let garbage = crate::random::Random::new(9).bytes(20_000);
    let text = b"this is no archive\n".repeat(1000);
    let zipped = place.sh("echo x | gzip; head -c 2000 /dev/urandom").await;
    for bytes in [garbage, text, zipped] {
        refused(upload(&place, "d", bytes).await, ErrorCode::InvalidArgument, &["archive"]);
        assert_eq!(place.text("ls -A d").await, "");
    }
}

async fn a_stream_that_fails_leaves_no_half_file(place: Fixture) {
    place.seed("f", "old").await;
    let archive = Archive::new().file("f", "x".repeat(50_000)).bytes();
    for (format, path, bytes) in [
        (TransferFormat::Tar, "", archive[..30_000].to_vec()),
        (TransferFormat::File, "f", vec![b'x'; 30_000]),
    ] {
        let failure = ToolError::new(ErrorCode::Busy, "the sender is tired");
        let failing = stream(bytes, 1000).chain(futures_util::stream::iter([Err(failure)]));
        let request = Upload { path: path.into(), format, mode: None };
        let result = place.executor.upload(request, Box::pin(failing)).await;
        refused(result, ErrorCode::Busy, &["tired"]);
        assert_eq!(place.bytes("f").await, b"old");
        assert_eq!(place.text("ls -A").await, "f", "nothing is left beside it");
    }
}

async fn a_hundred_thousand_entries_are_unpacked(place: Fixture) {
    let mut all = Archive::new();
    for number in 0..100_000 {
        // Most of them links to one file, because the file system is not what is judged.
        all = all.special(EntryType::Symlink, &format!("d{}/l{number}", number % 50), "f");
    }
    let bytes = all.bytes();
    let request = Upload { path: "many".into(), format: TransferFormat::Tar, mode: None };
    let done = place.executor.upload(request, stream(bytes, 1 << 16)).await.unwrap();
    assert_eq!(done.symlinks, 100_000);
    assert_eq!(place.text("ls many/d7 | wc -l; ls many | wc -l").await, "2000\n50");
}

async fn a_large_file_is_streamed(place: Fixture) {
    // Larger than what is read or written at once.
    let bytes = crate::random::Random::new(4).bytes(80 << 20);
    let request = Upload { path: "large".into(), format: TransferFormat::File, mode: None };
    place.executor.upload(request, stream(bytes.clone(), 1 << 18)).await.unwrap();
    let sum = place.text("sha256sum < large").await;
    assert_eq!(sum, format!("{}  -", crate::check::sha256(&bytes)));
    let back = download(&place, "large", TransferFormat::File).await.unwrap();
    same_bytes(&back, &bytes, "downloaded");
}

async fn downloads_that_cannot_be_are_refused(place: Fixture) {
    place.sh("mkdir d; mkfifo p; ln -s / out; ln -s /etc/passwd file").await;
    let (tar, file) = (TransferFormat::Tar, TransferFormat::File);
    for (path, format, code) in [
        ("none", tar, ErrorCode::NotFound),
        ("none", file, ErrorCode::NotFound),
        ("d", file, ErrorCode::IsDirectory),
        ("p", file, ErrorCode::NotAFile),
        ("..", tar, ErrorCode::OutsideWorkspace),
        ("/etc", tar, ErrorCode::OutsideWorkspace),
        ("out/etc", tar, ErrorCode::OutsideWorkspace),
        ("file", file, ErrorCode::OutsideWorkspace),
    ] {
        refused(download(&place, path, format).await, code, &[path]);
    }
}

async fn uploads_that_cannot_be_are_refused(place: Fixture) {
    place.seed("f", "x").await;
    place.seed_directory("d").await;
    refused(one_file(&place, "d", b"x").await, ErrorCode::IsDirectory, &["d"]);
    refused(one_file(&place, "", b"x").await, ErrorCode::IsDirectory, &[]);
    refused(one_file(&place, "f/x", b"x").await, ErrorCode::NotADirectory, &["f"]);
    refused_with_hint(one_file(&place, "../x", b"x").await, ErrorCode::OutsideWorkspace, &["../x"]);
    let archive = || Archive::new().file("a", "x").bytes();
    refused(upload(&place, "f", archive()).await, ErrorCode::NotADirectory, &["f"]);
    refused(upload(&place, "..", archive()).await, ErrorCode::OutsideWorkspace, &[".."]);
    assert_eq!(place.bytes("f").await, b"x");
}

async fn a_download_that_is_dropped_does_no_harm(place: Fixture) {
    place.sh("head -c 20000000 /dev/zero > large").await;
    for format in [TransferFormat::Tar, TransferFormat::File] {
        let request = Download { path: "large".into(), format };
        let mut stream = place.executor.download(request).await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        drop(stream);
    }
    assert!(place.executor.stat_file("large".into()).await.is_ok());
}
