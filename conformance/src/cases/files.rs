//! Reading, describing and writing files.

use std::time::Duration;

use stigmer_core::file::{Encoding, FileKind, ReadFile, WriteFile};
use stigmer_core::{ByteString, ErrorCode, Result, limits};

use crate::Fixture;
use crate::check::{refused, refused_with_hint, same_bytes, sha256};
use crate::harness::cases;

cases! {
    a_file_is_read_whole,
    lines_are_read_by_number,
    every_range_is_what_splitting_says,
    bad_ranges_are_refused,
    content_that_is_no_text_is_marked,
    a_large_file_is_read_by_lines_only,
    what_is_no_file_is_not_read,
    a_link_beneath_the_root_is_followed,
    a_path_is_described,
    a_new_file_is_written_with_its_parents,
    a_file_is_replaced_with_its_mode_kept,
    written_bytes_are_the_files_bytes,
    lines_added_and_removed_are_counted,
    a_file_that_somebody_changed_is_not_overwritten,
    a_file_that_exists_is_not_created,
    one_of_many_creates,
    one_of_many_that_expect_the_same_writes,
    a_reader_sees_the_old_or_the_new_and_nothing_between,
    a_link_keeps_its_place_when_written,
    another_name_of_the_file_keeps_the_old_content,
    what_is_no_file_is_not_written,
    content_over_the_limit_is_not_written,
    names_are_bytes,
    a_file_without_permission_is_not_read,
    nothing_is_left_beside_a_written_file,
}

fn write(path: impl Into<ByteString>, content: impl Into<ByteString>) -> WriteFile {
    WriteFile { path: path.into(), content: content.into(), ..WriteFile::default() }
}

fn read(path: impl Into<ByteString>) -> ReadFile {
    ReadFile { path: path.into(), ..ReadFile::default() }
}

fn lines(path: &str, first: Option<u64>, last: Option<u64>) -> ReadFile {
    ReadFile { path: path.into(), first_line: first, last_line: last }
}

async fn a_file_is_read_whole(place: Fixture) {
    let text = "one\nzwei\r\ndrei λ";
    place.seed("a/b.txt", text).await;
    for path in ["a/b.txt".into(), "./a//b.txt".into(), place.absolute("a/b.txt")] {
        let got = place.executor.read_file(read(path)).await.unwrap();
        assert_eq!((got.content, got.encoding), (text.into(), Encoding::Utf8));
        assert_eq!((got.total_lines, got.start_line, got.end_line), (3, 1, 3));
        assert_eq!((got.next_line, got.size), (None, text.len() as u64));
        assert_eq!(got.sha256, sha256(text));
    }
    place.seed("empty", "").await;
    let got = place.executor.read_file(read("empty")).await.unwrap();
    assert_eq!((got.total_lines, got.start_line, got.end_line, got.next_line), (0, 0, 0, None));
    assert_eq!((got.content.len(), got.size, got.sha256), (0, 0, sha256("")));
}

async fn lines_are_read_by_number(place: Fixture) {
    place.seed("f", "one\ntwo\r\nthree\nfour").await;
    let table = [
        (Some(1), Some(1), "one\n", (1, 1, Some(2))),
        (Some(2), Some(3), "two\r\nthree\n", (2, 3, Some(4))),
        (Some(4), None, "four", (4, 4, None)),
        (None, Some(2), "one\ntwo\r\n", (1, 2, Some(3))),
        (Some(3), Some(99), "three\nfour", (3, 4, None)),
        (Some(5), None, "", (0, 0, None)),
        (Some(u64::MAX), Some(u64::MAX), "", (0, 0, None)),
    ];
    for (first, last, content, place_told) in table {
        let got = place.executor.read_file(lines("f", first, last)).await.unwrap();
        assert_eq!(got.content, content.into(), "{first:?} to {last:?}");
        assert_eq!((got.start_line, got.end_line, got.next_line), place_told, "{first:?} {last:?}");
        assert_eq!((got.total_lines, got.size), (4, 19));
        assert_eq!(got.sha256, sha256("one\ntwo\r\nthree\nfour"), "of the whole file");
    }
}

async fn every_range_is_what_splitting_says(place: Fixture) {
    let mut random = crate::random::Random::new(5);
    for round in 0..40 {
        let text: String = (0..random.below(30)).map(|_| *random.pick(&['a', 'λ', '\n'])).collect();
        place.seed("f", &text).await;
        let all: Vec<&str> = text.split_inclusive('\n').collect();
        for _ in 0..6 {
            let first = 1 + random.below(8);
            let last = first + random.below(8);
            let request = lines("f", Some(first as u64), Some(last as u64));
            let got = place.executor.read_file(request).await.unwrap();
            let end = last.min(all.len());
            let expected = all.get(first - 1..end).unwrap_or_default().concat();
            assert_eq!(got.content, expected.into(), "round {round}: {text:?} {first} {last}");
            assert_eq!(got.total_lines, all.len() as u64);
            let next = (first <= all.len() && last < all.len()).then_some(last as u64 + 1);
            assert_eq!(got.next_line, next, "round {round}: {text:?} {first} {last}");
        }
    }
}

async fn bad_ranges_are_refused(place: Fixture) {
    place.seed("f", "one\n").await;
    for (first, last, argument) in [
        (Some(0), None, "first_line"),
        (None, Some(0), "last_line"),
        (Some(3), Some(2), "last_line"),
    ] {
        let result = place.executor.read_file(lines("f", first, last)).await;
        refused(result, ErrorCode::InvalidArgument, &[argument]);
    }
}

async fn content_that_is_no_text_is_marked(place: Fixture) {
    let bytes: Vec<u8> = (0..=255).collect();
    place.seed("f", &bytes).await;
    let got = place.executor.read_file(read("f")).await.unwrap();
    assert_eq!((got.content.as_bytes(), got.encoding), (bytes.as_slice(), Encoding::Base64));
    place.seed("g", b"a\0b\n").await;
    let got = place.executor.read_file(read("g")).await.unwrap();
    assert_eq!((got.content.as_bytes(), got.encoding), (b"a\0b\n".as_slice(), Encoding::Utf8));
}

async fn a_large_file_is_read_by_lines_only(place: Fixture) {
    let line = format!("{}\n", "x".repeat(1023));
    let text = line.repeat(11 << 10);
    place.seed("large", &text).await;
    let error = refused(
        place.executor.read_file(read("large")).await,
        ErrorCode::TooLarge,
        &["large", &text.len().to_string(), &limits::MAX_READ_BYTES.to_string()],
    );
    assert_eq!(error.details["size"], text.len());
    assert_eq!(error.details["limit"], limits::MAX_READ_BYTES);
    let got = place.executor.read_file(lines("large", Some(11_000), Some(11_001))).await.unwrap();
    assert_eq!((got.content.len(), got.next_line), (2048, Some(11_002)));
    assert_eq!((got.size, got.sha256), (text.len() as u64, sha256(&text)));
    // Exactly the limit is allowed.
    place.seed("limit", vec![b'x'; usize::try_from(limits::MAX_READ_BYTES).unwrap()]).await;
    let got = place.executor.read_file(read("limit")).await.unwrap();
    assert_eq!(got.content.len() as u64, limits::MAX_READ_BYTES);
}

async fn what_is_no_file_is_not_read(place: Fixture) {
    place.sh("mkdir folder; mkfifo fifo; ln -s fifo link; ln -s nowhere dangling").await;
    let executor = &place.executor;
    refused(executor.read_file(read("folder")).await, ErrorCode::IsDirectory, &["folder"]);
    refused(executor.read_file(read("")).await, ErrorCode::IsDirectory, &[]);
    refused(executor.read_file(read("fifo")).await, ErrorCode::NotAFile, &["fifo"]);
    let error = refused(executor.read_file(read("link")).await, ErrorCode::NotAFile, &["link"]);
    assert_eq!(error.details["kind"], "fifo");
    refused(executor.read_file(read("none")).await, ErrorCode::NotFound, &["none"]);
    refused(executor.read_file(read("dangling")).await, ErrorCode::NotFound, &["dangling"]);
    if place.is_root().await && place.execute("mknod device c 1 5").await.exit.code == 0 {
        refused(executor.read_file(read("device")).await, ErrorCode::NotAFile, &["device"]);
    }
}

async fn a_link_beneath_the_root_is_followed(place: Fixture) {
    place.seed("real/f", "content").await;
    let absolute = place.absolute("real/f").to_string_lossy().into_owned();
    for target in ["real/f", "./real/../real/f", &absolute] {
        place.sh("rm -f link").await;
        place.seed_link(target, "link").await;
        let got = place.executor.read_file(read("link")).await.unwrap();
        assert_eq!(got.content, "content".into(), "{target}");
    }
}

async fn a_path_is_described(place: Fixture) {
    place.seed("f", "12345").await;
    place.chmod("f", 0o640).await;
    place
        .sh("mkdir d; mkfifo p; ln -s /etc/passwd out; chmod 1770 d; touch -d @1234567890.5 f")
        .await;
    let stat = |path: &'static str| place.executor.stat_file(path.into());
    let f = stat("./f").await.unwrap();
    assert_eq!((f.path, f.kind, f.size, f.mode), ("f".into(), FileKind::File, 5, 0o640));
    assert_eq!((f.modified_ms, f.symlink_target), (1_234_567_890_500, None));
    let d = stat("d").await.unwrap();
    assert_eq!((d.kind, d.mode), (FileKind::Directory, 0o1770));
    assert_eq!(stat("p").await.unwrap().kind, FileKind::Fifo);
    let out = stat("out").await.unwrap();
    assert_eq!((out.kind, out.symlink_target), (FileKind::Symlink, Some("/etc/passwd".into())));
    assert_eq!(stat("").await.unwrap().kind, FileKind::Directory);
    refused(stat("none").await, ErrorCode::NotFound, &["none"]);
}

async fn a_new_file_is_written_with_its_parents(place: Fixture) {
    let done = place.executor.write_file(write("a/b/c.txt", "one\ntwo")).await.unwrap();
    assert!(done.is_new_file);
    assert_eq!((done.lines_added, done.lines_removed), (2, 0));
    assert_eq!(done.sha256, sha256("one\ntwo"));
    assert_eq!(place.bytes("a/b/c.txt").await, b"one\ntwo");
    let umask = u32::from_str_radix(&place.text("umask").await, 8).unwrap();
    assert_eq!(place.mode("a/b/c.txt").await, 0o666 & !umask, "as a shell would");
    assert_eq!(place.mode("a/b").await, 0o777 & !umask);
}

async fn a_file_is_replaced_with_its_mode_kept(place: Fixture) {
    for mode in [0o755, 0o600, 0o664, 0o700] {
        place.seed("f", "old\n").await;
        place.chmod("f", mode).await;
        let done = place.executor.write_file(write("f", "new\n")).await.unwrap();
        assert_eq!((done.is_new_file, done.lines_added, done.lines_removed), (false, 1, 1));
        assert_eq!((place.bytes("f").await, place.mode("f").await), (b"new\n".to_vec(), mode));
    }
}

async fn written_bytes_are_the_files_bytes(place: Fixture) {
    let mut random = crate::random::Random::new(17);
    for size in [0, 1, 4095, 4096, 4097, 1_000_003] {
        let bytes = random.bytes(size);
        let done = place.executor.write_file(write("f", bytes.clone())).await.unwrap();
        same_bytes(&place.bytes("f").await, &bytes, "written");
        assert_eq!(done.sha256, sha256(&bytes));
        let got = place.executor.read_file(read("f")).await.unwrap();
        same_bytes(got.content.as_bytes(), &bytes, "read back");
    }
}

async fn lines_added_and_removed_are_counted(place: Fixture) {
    for (old, new, added, removed) in [
        ("a\nb\nc\n", "a\nB\nc\n", 1, 1),
        ("a\nb\nc\n", "a\nb\nc\n", 0, 0),
        ("a\nb\nc\n", "", 0, 3),
        ("", "a\nb", 2, 0),
        ("a\nb\n", "a\nb", 1, 1),
        ("a\r\nb\r\n", "a\nb\n", 2, 2),
        ("a\nb\nc\n", "x\na\nb\nc\ny\n", 2, 0),
    ] {
        place.seed("f", old).await;
        let done = place.executor.write_file(write("f", new)).await.unwrap();
        assert_eq!((done.lines_added, done.lines_removed), (added, removed), "{old:?} {new:?}");
    }
}

fn expecting(path: &str, content: &str, sum: String) -> WriteFile {
    WriteFile { expected_sha256: Some(sum), ..write(path, content) }
}

async fn a_file_that_somebody_changed_is_not_overwritten(place: Fixture) {
    place.seed("f", "theirs").await;
    let stale = expecting("f", "mine", sha256("what I read"));
    let error = refused_with_hint(place.executor.write_file(stale).await, ErrorCode::Stale, &["f"]);
    assert_eq!(error.details["expected_sha256"], sha256("what I read"));
    assert_eq!(error.details["actual_sha256"], sha256("theirs"));
    assert_eq!(place.bytes("f").await, b"theirs");
    let gone = expecting("none", "mine", sha256("x"));
    refused_with_hint(place.executor.write_file(gone).await, ErrorCode::Stale, &["none"]);
    assert!(!place.exists("none").await);
    place.executor.write_file(expecting("f", "mine", sha256("theirs"))).await.unwrap();
    assert_eq!(place.bytes("f").await, b"mine");
}

async fn a_file_that_exists_is_not_created(place: Fixture) {
    place.seed("f", "old").await;
    place.seed_directory("d").await;
    place.seed_link("nowhere", "link").await;
    for path in ["f", "d", "link"] {
        let request = WriteFile { create_only: true, ..write(path, "new") };
        refused(place.executor.write_file(request).await, ErrorCode::Exists, &[path]);
    }
    assert_eq!(place.bytes("f").await, b"old");
    assert!(!place.exists("nowhere").await);
    let request = WriteFile { create_only: true, ..write("g/h", "new") };
    assert!(place.executor.write_file(request).await.unwrap().is_new_file);
}

async fn one_of_many_creates(place: Fixture) {
    for round in 0..10 {
        let path = format!("f{round}");
        let tries = (0..10).map(|number| {
            let request =
                WriteFile { create_only: true, ..write(path.as_str(), number.to_string()) };
            place.executor.write_file(request)
        });
        let results = futures_util::future::join_all(tries).await;
        one_winner(results, ErrorCode::Exists, &place.bytes(path.as_str()).await);
    }
}

async fn one_of_many_that_expect_the_same_writes(place: Fixture) {
    for _ in 0..10 {
        place.seed("f", "start").await;
        let tries = (0..10).map(|number| {
            place.executor.write_file(expecting("f", &number.to_string(), sha256("start")))
        });
        let results = futures_util::future::join_all(tries).await;
        one_winner(results, ErrorCode::Stale, &place.bytes("f").await);
    }
}

#[track_caller]
fn one_winner(
    results: Vec<Result<stigmer_core::file::WriteSummary>>,
    code: ErrorCode,
    content: &[u8],
) {
    let won: Vec<usize> =
        results.iter().enumerate().filter(|(_, result)| result.is_ok()).map(|(i, _)| i).collect();
    let [winner] = won.as_slice() else { panic!("{won:?} won") };
    assert_eq!(content, winner.to_string().as_bytes());
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.code, code, "{error:?}");
    }
}

async fn a_reader_sees_the_old_or_the_new_and_nothing_between(place: Fixture) {
    place.seed("f", "a".repeat(300_000)).await;
    let writing = async {
        for round in 0..60 {
            let content = if round % 2 == 0 { "b" } else { "a" }.repeat(300_000);
            place.executor.write_file(write("f", content)).await.unwrap();
        }
    };
    let reading = async {
        for _ in 0..120 {
            let got = place.executor.read_file(read("f")).await.unwrap();
            let bytes = got.content.as_bytes();
            assert_eq!(bytes.len(), 300_000);
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "half of each");
        }
    };
    let looking = async {
        // From outside, too.
        let line = "for i in $(seq 60); do tr -d a < f | wc -c; done | sort -u | tr '\\n' ' '";
        let sizes = place.text(line).await;
        assert!(sizes.split_whitespace().all(|size| size == "0" || size == "300000"), "{sizes}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    tokio::join!(writing, reading, looking);
}

async fn a_link_keeps_its_place_when_written(place: Fixture) {
    place.seed("d/real", "old").await;
    place.seed_link("d/real", "link").await;
    place.executor.write_file(write("link", "new")).await.unwrap();
    assert_eq!(place.text("readlink link; cat d/real").await, "d/real\nnew");
    place.seed_link("d/made", "dangling").await;
    assert!(place.executor.write_file(write("dangling", "made")).await.unwrap().is_new_file);
    assert_eq!(place.text("readlink dangling; cat d/made").await, "d/made\nmade");
}

async fn another_name_of_the_file_keeps_the_old_content(place: Fixture) {
    place.seed("f", "old").await;
    place.sh("ln f other").await;
    place.executor.write_file(write("f", "new")).await.unwrap();
    assert_eq!(place.bytes("f").await, b"new");
    assert_eq!(place.bytes("other").await, b"old", "a file is replaced and never rewritten");
}

async fn what_is_no_file_is_not_written(place: Fixture) {
    place.sh("mkdir d; mkfifo p; echo > f").await;
    let executor = &place.executor;
    refused(executor.write_file(write("d", "x")).await, ErrorCode::IsDirectory, &["d"]);
    refused(executor.write_file(write("", "x")).await, ErrorCode::IsDirectory, &[]);
    refused(executor.write_file(write("p", "x")).await, ErrorCode::NotAFile, &["p"]);
    refused(executor.write_file(write("f/x", "x")).await, ErrorCode::NotADirectory, &["f"]);
    assert_eq!(place.text("stat -c %F d p").await, "directory\nfifo");
}

async fn content_over_the_limit_is_not_written(place: Fixture) {
    let most = usize::try_from(limits::MAX_WRITE_BYTES).unwrap();
    place.seed("f", "old").await;
    let result = place.executor.write_file(write("f", vec![b'x'; most + 1])).await;
    refused(result, ErrorCode::TooLarge, &["f", &most.to_string(), &(most + 1).to_string()]);
    assert_eq!(place.bytes("f").await, b"old");
}

async fn names_are_bytes(place: Fixture) {
    let long = "n".repeat(255);
    let names: [&[u8]; 9] = [
        b"with space",
        b"line\nend",
        b"-rf",
        b"\xff\xfe",
        b"*?[x]",
        b"a\\b",
        b"...",
        "naïve λ 日本語".as_bytes(),
        long.as_bytes(),
    ];
    for name in names {
        for path in [name.to_vec(), [b"d/".as_slice(), name].concat()] {
            place.executor.write_file(write(path.clone(), path.clone())).await.unwrap();
            assert_eq!(place.bytes(path.clone()).await, path);
            let got = place.executor.read_file(read(path.clone())).await.unwrap();
            assert_eq!(got.content.as_bytes(), path);
            let stat = place.executor.stat_file(path.clone().into()).await.unwrap();
            assert_eq!(stat.path.as_bytes(), path);
        }
    }
    // NFC and NFD are two names.
    place.executor.write_file(write("\u{e9}", "composed")).await.unwrap();
    place.executor.write_file(write("e\u{301}", "decomposed")).await.unwrap();
    assert_eq!(place.bytes("\u{e9}").await, b"composed");
}

async fn a_file_without_permission_is_not_read(place: Fixture) {
    place.seed("secret", "s").await;
    place.chmod("secret", 0).await;
    let result = place.executor.read_file(read("secret")).await;
    if place.is_root().await {
        // The superuser may.
        assert_eq!(result.unwrap().content, "s".into());
    } else {
        refused(result, ErrorCode::PermissionDenied, &["secret"]);
        place.seed_directory("shut").await;
        place.chmod("shut", 0o500).await;
        let result = place.executor.write_file(write("shut/f", "x")).await;
        refused(result, ErrorCode::PermissionDenied, &["shut/f"]);
        place.chmod("shut", 0o700).await;
    }
}

async fn nothing_is_left_beside_a_written_file(place: Fixture) {
    for number in 0..20 {
        place.executor.write_file(write("d/f", number.to_string())).await.unwrap();
        let stale = expecting("d/f", "x", sha256("never"));
        place.executor.write_file(stale).await.unwrap_err();
    }
    assert_eq!(place.text("ls -A d; ls -A").await, "f\nd");
}
