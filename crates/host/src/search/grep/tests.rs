use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use stigmer_core::ByteString;
use stigmer_core::search::GrepMatch;

use super::super::stop::StopOnDrop;
use super::*;

fn grep_search(root: &Root, request: GrepSearch) -> Result<GrepMatches> {
    super::grep_search(root, request, &Stop::default())
}

fn world(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let root = Root::open(directory.path(), None).unwrap();
    (directory, root)
}

fn request(pattern: &str) -> GrepSearch {
    GrepSearch { pattern: pattern.into(), ..GrepSearch::default() }
}

fn places(found: &GrepMatches) -> Vec<String> {
    let place = |found: &GrepMatch| format!("{}:{}:{}", found.path, found.line, found.column);
    found.matches.iter().map(place).collect()
}

#[test]
fn a_line_is_one_match_with_its_first_column() {
    let (_directory, root) = world(&[("b", "xx a a\r\nnone\naé a"), ("a/c", "éa")]);
    let found = grep_search(&root, request("a")).unwrap();
    assert_eq!(places(&found), ["a/c:1:3", "b:1:4", "b:3:1"]);
    assert_eq!(found.matches[1].text, "xx a a\r".into());
    assert!(!found.truncated);
    let none = grep_search(&root, request("nowhere to be found")).unwrap();
    assert!(none.matches.is_empty() && !none.truncated);
}

#[test]
fn a_file_that_is_reached_twice_is_searched_once() {
    let (_directory, root) = world(&[("d/f", "a"), ("d/.hidden", "a")]);
    let paths = ["d", "./d/", "", "d/f", "d/f", "d/.hidden"].map(FilePath::from).to_vec();
    let found = grep_search(&root, GrepSearch { paths, ..request("a") }).unwrap();
    assert_eq!(places(&found), ["d/.hidden:1:1", "d/f:1:1"]);
}

#[test]
fn a_search_that_was_given_up_gives_no_half_result() {
    let (_directory, root) = world(&[("f", "a")]);
    let stop = StopOnDrop::default().stop();
    for paths in [vec![], vec!["f".into()]] {
        let request = GrepSearch { paths, ..request("a") };
        assert!(super::grep_search(&root, request, &stop).is_err());
    }
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let (directory, root) = world(&[("f", "a")]);
    symlink("/etc/passwd", directory.path().join("out")).unwrap();
    let code = |request| grep_search(&root, request).unwrap_err().code;
    let path = |path: &str| GrepSearch { paths: vec![path.into()], ..request("a") };
    assert_eq!(code(path("nowhere")), ErrorCode::NotFound);
    assert_eq!(code(path("out")), ErrorCode::OutsideWorkspace);
    assert_eq!(code(path("../x")), ErrorCode::OutsideWorkspace);
    assert_eq!(code(request("a(")), ErrorCode::BadRegex);
    let glob = |glob: &str| GrepSearch { include: vec![glob.into()], ..request("a") };
    assert_eq!(code(glob("{a")), ErrorCode::BadGlob);
    assert_eq!(code(glob("")), ErrorCode::BadGlob);
    assert_eq!(code(GrepSearch { exclude: vec!["{a".into()], ..request("a") }), ErrorCode::BadGlob);
    let before = limits::MAX_CONTEXT_LINES + 1;
    assert_eq!(code(GrepSearch { before, ..request("a") }), ErrorCode::InvalidArgument);
}

#[test]
fn a_glob_that_looks_like_an_exclude_or_a_comment_is_neither() {
    let (_directory, root) = world(&[("!f", "a"), ("#f", "a"), ("f", "a")]);
    let include = vec!["!f".to_owned(), "#*".to_owned()];
    let found = grep_search(&root, GrepSearch { include, ..request("a") }).unwrap();
    assert_eq!(places(&found), ["!f:1:1", "#f:1:1"]);
}

#[test]
fn a_line_that_is_too_long_makes_its_file_unreadable_and_no_other() {
    let (directory, root) = world(&[("a", "x\n"), ("c", "x\n")]);
    fs::write(directory.path().join("b"), vec![b'x'; limits::MAX_LINE_BYTES + 2]).unwrap();
    let found = grep_search(&root, request("x")).unwrap();
    assert_eq!(places(&found), ["a:1:1", "c:1:1"]);
    assert_eq!(found.unreadable.len(), 1);
    assert!(found.unreadable[0].to_string_lossy().starts_with("b: "), "{:?}", found.unreadable);
}

#[test]
fn a_result_is_no_larger_than_its_limit_in_bytes() {
    let line = format!("{}\n", "x".repeat(1 << 20));
    let (directory, root) = world(&[]);
    for name in ["a", "b", "c", "d"] {
        fs::write(directory.path().join(name), line.repeat(20)).unwrap();
    }
    let found = grep_search(&root, request("x")).unwrap();
    assert!(found.truncated);
    let bytes: usize = found.matches.iter().map(|found| found.text.len()).sum();
    assert!(bytes <= limits::MAX_SEARCH_BYTES);
    assert_eq!(found.matches.len(), 63);
    assert_eq!(found.matches[62].path, "d".into());
}

#[test]
fn an_ignore_file_above_the_root_that_would_hang_is_refused() {
    let (directory, _) = world(&[("ws/f", "a"), ("ws/d/f", "a")]);
    let root = Root::open(&directory.path().join("ws"), None).unwrap();
    symlink("/dev/zero", directory.path().join(".ignore")).unwrap();
    for paths in [vec![], vec!["d".into()]] {
        let error = grep_search(&root, GrepSearch { paths, ..request("a") }).unwrap_err();
        assert_eq!((error.code, error.hint.is_some()), (ErrorCode::NotAFile, true));
        assert!(error.message.starts_with('/'), "{error}");
    }
    let all = grep_search(&root, GrepSearch { no_ignore: true, ..request("a") }).unwrap();
    assert_eq!(places(&all), ["d/f:1:1", "f:1:1"]);
}

#[test]
fn an_ignore_file_that_lies_outside_is_not_read() {
    let (directory, _) = world(&[("ws/d/f", "a"), ("ws/e", "a"), ("secret", "e")]);
    let root = Root::open(&directory.path().join("ws"), None).unwrap();
    symlink("../../secret", directory.path().join("ws/d/.ignore")).unwrap();
    let found = grep_search(&root, request("a")).unwrap();
    assert_eq!(places(&found), ["e:1:1"]);
    let said = found.unreadable[0].to_string_lossy();
    assert!(said.starts_with("d/.ignore: is outside the workspace"), "{said}");
}

#[test]
fn a_directory_whose_ignore_file_would_hang_is_named() {
    let (directory, root) = world(&[("d/f", "a"), ("e", "a")]);
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let (kind, path) = (rustix::fs::FileType::Fifo, directory.path().join("d/.ignore"));
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0).unwrap();
    let found = grep_search(&root, request("a")).unwrap();
    assert_eq!(places(&found), ["e:1:1"]);
    assert_eq!(found.unreadable, ["d/.ignore: is a fifo, not a regular file".into()]);
    let all = grep_search(&root, GrepSearch { no_ignore: true, ..request("a") }).unwrap();
    assert_eq!(places(&all), ["d/f:1:1", "e:1:1"]);
}

#[test]
fn what_may_not_be_read_is_named_and_the_rest_is_searched() {
    use std::os::unix::fs::PermissionsExt as _;
    let (directory, root) = world(&[("a", "x"), ("b", "x"), ("d/e", "x")]);
    let lock = |name: &str, mode| {
        fs::set_permissions(directory.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    lock("a", 0);
    lock("d", 0);
    let found = grep_search(&root, request("x")).unwrap();
    lock("d", 0o700);
    // Root reads everything; the suites run without it too.
    if !rustix::process::geteuid().is_root() {
        assert_eq!(places(&found), ["b:1:1"]);
        let names: Vec<_> = found.unreadable.iter().map(|entry| entry.as_bytes()[0]).collect();
        assert_eq!(names, b"ad");
    }
}

/// What a search that knows no limits and no threads would answer.
fn naive(files: &[(String, Vec<bool>)], before: usize, after: usize) -> Vec<GrepMatch> {
    let mut matches = Vec::new();
    for (path, lines) in files {
        let text = |at: usize| ByteString::from(line(at, lines[at]));
        for at in (0..lines.len()).filter(|&at| lines[at]) {
            matches.push(GrepMatch {
                path: path.as_str().into(),
                line: at as u64 + 1,
                column: 6,
                text: text(at),
                before: (at.saturating_sub(before)..at).map(text).collect(),
                after: (at + 1..(at + 1 + after).min(lines.len())).map(text).collect(),
            });
        }
    }
    matches
}

fn line(at: usize, matching: bool) -> String {
    format!("{at:04} {}", if matching { "needle" } else { "hay" })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Every limit gives the beginning of the whole answer, with whole context around each match.
    #[test]
    fn a_limit_gives_the_beginning_with_its_context(
        files in prop::collection::btree_map(
            "[ab]{1,2}(/[ab.]c){0,1}x",
            prop::collection::vec(prop::bool::weighted(0.3), 0..24),
            0..10,
        ),
        before in 0_u32..5,
        after in 0_u32..5,
        limit in 0_usize..30,
    ) {
        let (directory, root) = world(&[]);
        let files: Vec<_> = files.into_iter().collect();
        for (name, lines) in &files {
            let path = directory.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let text: Vec<_> =
                lines.iter().enumerate().map(|(at, &matching)| line(at, matching)).collect();
            fs::write(path, text.join("\n")).unwrap();
        }
        let all = naive(&files, before as usize, after as usize);
        let request = GrepSearch {
            before, after, limit: Some(limit), no_ignore: true, ..request("needle")
        };
        let found = grep_search(&root, request).unwrap();
        prop_assert_eq!(found.truncated, all.len() > limit);
        prop_assert_eq!(&found.matches[..], &all[..limit.min(all.len())]);
    }
}
