//! Deleting, moving, making and listing.

use stigmer_core::file::{
    DeleteFile, DirectoryEntry, FileKind, ListDirectory, Listing, MakeDirectory, MovePath,
};
use stigmer_core::{ByteString, ErrorCode};

use crate::Fixture;
use crate::check::{refused, refused_with_hint};
use crate::harness::cases;

cases! {
    a_file_is_deleted_and_may_be_gone_already,
    a_directory_is_deleted_with_its_content_only_if_asked,
    a_link_is_deleted_itself,
    the_root_is_neither_deleted_nor_moved,
    deep_and_wide_trees_are_deleted,
    a_path_is_moved,
    a_move_replaces_only_if_asked,
    a_move_that_cannot_be_is_refused,
    a_directory_is_made,
    a_directory_is_listed_in_order,
    a_listing_goes_as_deep_as_asked,
    a_listing_can_follow_ignore_rules,
    a_listing_says_when_there_is_more,
    a_listing_does_not_follow_links,
    bad_directories_are_refused,
    names_of_every_kind_are_listed,
}

fn delete(path: &str, recursive: bool) -> DeleteFile {
    DeleteFile { path: path.into(), recursive }
}

fn to(from: &str, to: &str, replace: bool) -> MovePath {
    MovePath { from: from.into(), to: to.into(), replace }
}

fn list(path: &str, depth: u32) -> ListDirectory {
    ListDirectory { path: path.into(), depth, ..ListDirectory::default() }
}

fn names(listing: &Listing) -> Vec<String> {
    listing.entries.iter().map(|entry| entry.path.to_string_lossy().into_owned()).collect()
}

async fn a_file_is_deleted_and_may_be_gone_already(place: Fixture) {
    place.seed("d/f", "x").await;
    let executor = &place.executor;
    assert!(!executor.delete_file(delete("d/f", false)).await.unwrap().was_already_deleted);
    assert!(!place.exists("d/f").await && place.exists("d").await);
    for path in ["d/f", "none/at/all", "d/none"] {
        for recursive in [false, true] {
            let done = executor.delete_file(delete(path, recursive)).await.unwrap();
            assert!(done.was_already_deleted, "{path}");
        }
    }
}

async fn a_directory_is_deleted_with_its_content_only_if_asked(place: Fixture) {
    place.seed("d/e/f", "x").await;
    place.seed_directory("empty").await;
    let executor = &place.executor;
    let result = executor.delete_file(delete("d", false)).await;
    refused_with_hint(result, ErrorCode::DirectoryNotEmpty, &["d"]);
    assert!(place.exists("d/e/f").await);
    executor.delete_file(delete("empty", false)).await.unwrap();
    executor.delete_file(delete("d", true)).await.unwrap();
    assert_eq!(place.text("ls -A").await, "");
}

async fn a_link_is_deleted_itself(place: Fixture) {
    place.seed("d/f", "x").await;
    place.sh("ln -s d to-dir; ln -s d/f to-file; ln -s / out; ln -s none dangling").await;
    for link in ["to-dir", "to-file", "out", "dangling"] {
        let done = place.executor.delete_file(delete(link, true)).await.unwrap();
        assert!(!done.was_already_deleted, "{link}");
    }
    assert_eq!(place.text("ls -A; ls d").await, "d\nf");
    // Links inside a tree go with it; what they lead to stays.
    place.seed("keep/f", "x").await;
    place.sh("mkdir t; ln -s ../keep t/in; ln -s / t/out").await;
    place.executor.delete_file(delete("t", true)).await.unwrap();
    assert!(place.exists("keep/f").await && !place.exists("t").await);
}

async fn the_root_is_neither_deleted_nor_moved(place: Fixture) {
    place.seed("f", "x").await;
    let executor = &place.executor;
    for path in ["", ".", "a/..", place.root_text()] {
        let result = executor.delete_file(delete(path, true)).await;
        refused(result, ErrorCode::InvalidArgument, &[]);
        refused(executor.move_path(to(path, "g", false)).await, ErrorCode::InvalidArgument, &[]);
    }
    assert!(place.exists("f").await);
}

async fn deep_and_wide_trees_are_deleted(place: Fixture) {
    // Deeper than PATH_MAX and than a process has descriptors.
    // Not by the shell's `cd`: below PATH_MAX it climbs to the root and back at each level.
    let deep = "import os\nfor name in ['deep'] + ['dddd'] * 1500:\n    os.mkdir(name)\n    \
                os.chdir(name)\nopen('f', 'w')";
    place.sh(format!("python3 -c \"{deep}\"")).await;
    place
        .sh("mkdir wide; cd wide; seq 5000 | xargs touch; mkdir s; cd s; seq 2000 | xargs mkdir")
        .await;
    for path in ["deep", "wide"] {
        place.executor.delete_file(delete(path, true)).await.unwrap();
        assert!(!place.exists(path).await);
    }
}

async fn a_path_is_moved(place: Fixture) {
    place.seed("a/f", "x").await;
    place.seed_directory("b").await;
    place.seed_link("a", "link").await;
    place.executor.move_path(to("a/f", "b/g", false)).await.unwrap();
    assert_eq!(place.bytes("b/g").await, b"x");
    place.executor.move_path(to("b", "c", false)).await.unwrap();
    assert_eq!(place.bytes("c/g").await, b"x");
    place.executor.move_path(to("link", "c/link", false)).await.unwrap();
    assert_eq!(place.text("readlink c/link; ls -A").await, "a\na\nc", "the link itself");
}

async fn a_move_replaces_only_if_asked(place: Fixture) {
    place.seed("new", "new").await;
    place.seed("old", "old").await;
    place.chmod("new", 0o640).await;
    let result = place.executor.move_path(to("new", "old", false)).await;
    refused(result, ErrorCode::Exists, &["old"]);
    assert_eq!(
        (place.bytes("old").await, place.bytes("new").await),
        (b"old".into(), b"new".into())
    );
    place.executor.move_path(to("new", "old", true)).await.unwrap();
    assert_eq!((place.bytes("old").await, place.mode("old").await), (b"new".into(), 0o640));
    assert!(!place.exists("new").await);
    place.seed_link("nowhere", "link").await;
    let result = place.executor.move_path(to("old", "link", false)).await;
    refused(result, ErrorCode::Exists, &["link"]);
}

async fn a_move_that_cannot_be_is_refused(place: Fixture) {
    place.seed("d/e/f", "x").await;
    place.seed("g", "x").await;
    place.seed_link("/", "out").await;
    let before = place.snapshot().await;
    for (from, target, code) in [
        ("none", "h", ErrorCode::NotFound),
        ("g", "none/h", ErrorCode::NotFound),
        ("g", "g/h", ErrorCode::InvalidArgument),
        ("d", "d/e/h", ErrorCode::InvalidArgument),
        ("g", "../h", ErrorCode::OutsideWorkspace),
        ("../g", "h", ErrorCode::OutsideWorkspace),
        ("g", "out/tmp/h", ErrorCode::OutsideWorkspace),
        ("out/etc/hostname", "h", ErrorCode::OutsideWorkspace),
        ("g/x", "h", ErrorCode::NotADirectory),
    ] {
        for replace in [false, true] {
            let result = place.executor.move_path(to(from, target, replace)).await;
            refused(result, code, &[]);
        }
    }
    refused(place.executor.move_path(to("g", "d", true)).await, ErrorCode::IsDirectory, &["d"]);
    assert_eq!(place.snapshot().await, before);
}

async fn a_directory_is_made(place: Fixture) {
    place.seed("f", "x").await;
    let make = |path: &str, parents| {
        place.executor.make_directory(MakeDirectory { path: path.into(), parents })
    };
    make("a", false).await.unwrap();
    refused(make("a", false).await, ErrorCode::Exists, &["a"]);
    make("a", true).await.unwrap();
    refused(make("x/y", false).await, ErrorCode::NotFound, &["x"]);
    make("x/y/z", true).await.unwrap();
    refused(make("f", true).await, ErrorCode::Exists, &["f"]);
    refused(make("f/g", true).await, ErrorCode::NotADirectory, &["f"]);
    refused_with_hint(make("../out", true).await, ErrorCode::OutsideWorkspace, &["../out"]);
    let umask = u32::from_str_radix(&place.text("umask").await, 8).unwrap();
    assert_eq!(place.mode("x/y/z").await, 0o777 & !umask);
}

async fn a_directory_is_listed_in_order(place: Fixture) {
    place.seed("b", "12").await;
    place.seed("a/z", "1").await;
    place.seed(".hidden", "").await;
    place.sh("mkfifo p; ln -s b link; mkdir C").await;
    let executor = &place.executor;
    for (path, depth) in [("", 0), ("", 1), (".", 1), (place.root_text(), 1)] {
        let listing = executor.list_directory(list(path, depth)).await.unwrap();
        assert_eq!(names(&listing), [".hidden", "C", "a", "b", "link", "p"]);
        assert!(!listing.truncated);
        let kinds: Vec<FileKind> = listing.entries.iter().map(|entry| entry.kind).collect();
        let (file, directory) = (FileKind::File, FileKind::Directory);
        assert_eq!(kinds, [file, directory, directory, file, FileKind::Symlink, FileKind::Fifo]);
        assert_eq!(listing.entries[3].size, 2);
    }
    let listing = executor.list_directory(list("a", 1)).await.unwrap();
    let path = ByteString::from("a/z");
    assert_eq!(listing.entries, [DirectoryEntry { path, kind: FileKind::File, size: 1 }]);
    assert_eq!(names(&executor.list_directory(list("C", 5)).await.unwrap()), Vec::<String>::new());
}

async fn a_listing_goes_as_deep_as_asked(place: Fixture) {
    place.seed("a/b/c/d", "").await;
    place.seed("a-b", "").await;
    let all = ["a", "a-b", "a/b", "a/b/c", "a/b/c/d"];
    for (depth, count) in [(1, 2), (2, 3), (3, 4), (4, 5), (u32::MAX, 5)] {
        let listing = place.executor.list_directory(list("", depth)).await.unwrap();
        let expected: Vec<&str> =
            all.iter().copied().filter(|path| path.matches('/').count() < depth as usize).collect();
        assert_eq!(names(&listing), expected, "depth {depth}");
        assert_eq!(expected.len(), count);
    }
}

async fn a_listing_can_follow_ignore_rules(place: Fixture) {
    for path in ["a.log", "keep.log", "src/x.rs", "src/y.tmp", "target/out", ".env", "src/.z"] {
        place.seed(path, "").await;
    }
    place.sh("mkdir .git").await;
    place.seed(".gitignore", "*.log\n!keep.log\n/target/\n").await;
    place.seed("src/.ignore", "*.tmp\n").await;
    let all = place.executor.list_directory(list("", 9)).await.unwrap();
    assert_eq!(all.entries.len(), 12);
    let request = ListDirectory { ignore_rules: true, ..list("", 9) };
    let some = place.executor.list_directory(request).await.unwrap();
    assert_eq!(names(&some), ["keep.log", "src", "src/x.rs"]);
}

async fn a_listing_says_when_there_is_more(place: Fixture) {
    place.sh("seq -w 1 300 | xargs touch").await;
    for (limit, count, truncated) in
        [(Some(1), 1, true), (Some(299), 299, true), (Some(300), 300, false), (None, 300, false)]
    {
        let request = ListDirectory { limit, ..list("", 1) };
        let listing = place.executor.list_directory(request).await.unwrap();
        assert_eq!((listing.entries.len(), listing.truncated), (count, truncated), "{limit:?}");
        assert_eq!(listing.entries[0].path, "001".into(), "the first ones are kept");
        assert_eq!(listing.entries[count - 1].path.to_string_lossy(), format!("{count:03}"));
    }
    let request = ListDirectory { limit: Some(0), ..list("", 1) };
    let listing = place.executor.list_directory(request).await.unwrap();
    assert!(listing.entries.is_empty() && listing.truncated);
}

async fn a_listing_does_not_follow_links(place: Fixture) {
    place.seed("d/f", "").await;
    place.sh("ln -s d link; ln -s . d/loop; ln -s / out").await;
    let listing = place.executor.list_directory(list("", 9)).await.unwrap();
    assert_eq!(names(&listing), ["d", "d/f", "d/loop", "link", "out"]);
    // One that is named is.
    let listing = place.executor.list_directory(list("link", 1)).await.unwrap();
    assert_eq!(names(&listing), ["link/f", "link/loop"]);
}

async fn bad_directories_are_refused(place: Fixture) {
    place.seed("f", "").await;
    place.sh("mkfifo p; ln -s / out").await;
    for (path, code) in [
        ("none", ErrorCode::NotFound),
        ("f", ErrorCode::NotADirectory),
        ("p", ErrorCode::NotADirectory),
        ("..", ErrorCode::OutsideWorkspace),
        ("/", ErrorCode::OutsideWorkspace),
        ("out", ErrorCode::OutsideWorkspace),
        ("out/etc", ErrorCode::OutsideWorkspace),
    ] {
        refused(place.executor.list_directory(list(path, 1)).await, code, &[path]);
    }
}

async fn names_of_every_kind_are_listed(place: Fixture) {
    let mut expected: Vec<&[u8]> =
        vec![b"\xff\xfe", b"a\nb", b"with space", "λ".as_bytes(), b"*", b"-", b"~", b"\x01"];
    for name in &expected {
        place.seed(*name, "1").await;
    }
    expected.sort_unstable();
    let listing = place.executor.list_directory(list("", 1)).await.unwrap();
    let got: Vec<&[u8]> = listing.entries.iter().map(|entry| entry.path.as_bytes()).collect();
    assert_eq!(got, expected);
}
