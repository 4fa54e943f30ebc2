//! Finding by name and by content. That the answers are ripgrep's own is shown elsewhere; here is
//! what needs no ripgrep to be judged.

use stigmer_core::search::{
    CaseRule, FoundFiles, GrepMatch, GrepMatches, GrepSearch, QueryKind, SearchFiles,
};
use stigmer_core::{ErrorCode, limits};

use crate::Fixture;
use crate::check::refused;
use crate::harness::cases;

cases! {
    a_glob_finds_names_and_paths,
    a_fuzzy_query_finds_the_best_first,
    found_files_can_be_limited_to_directories,
    found_files_can_follow_ignore_rules,
    found_files_say_when_there_is_more,
    bad_globs_are_refused,
    a_match_is_told_with_its_place,
    no_match_is_a_success,
    a_pattern_can_be_a_literal,
    case_is_as_asked,
    context_is_given_on_both_sides,
    the_limit_is_in_all,
    matches_are_sorted,
    globs_choose_the_files,
    ignore_rules_hold_unless_refused,
    named_files_and_directories_are_searched,
    content_of_every_kind_is_searched,
    binary_files_are_told,
    bad_patterns_are_refused,
    searches_stay_beneath_the_root,
    a_file_that_cannot_be_read_is_named,
}

fn glob(query: &str) -> SearchFiles {
    SearchFiles { query: query.into(), kind: QueryKind::Glob, ..SearchFiles::default() }
}

fn fuzzy(query: &str) -> SearchFiles {
    SearchFiles { query: query.into(), ..SearchFiles::default() }
}

fn grep(pattern: &str) -> GrepSearch {
    GrepSearch { pattern: pattern.into(), ..GrepSearch::default() }
}

fn paths(found: &FoundFiles) -> Vec<String> {
    found.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
}

/// Each match as `path:line:column:text`.
fn told(found: &GrepMatches) -> Vec<String> {
    let tell = |hit: &GrepMatch| format!("{}:{}:{}:{}", hit.path, hit.line, hit.column, hit.text);
    found.matches.iter().map(tell).collect()
}

async fn tree(place: &Fixture) {
    for path in [
        "src/main.rs",
        "src/parse/lexer.rs",
        "src/parse/mod.rs",
        "tests/lexer_test.rs",
        "README.md",
        "docs/a b.md",
        ".hidden/x.rs",
    ] {
        place.seed(path, format!("this is {path}\n")).await;
    }
}

async fn a_glob_finds_names_and_paths(place: Fixture) {
    tree(&place).await;
    for (query, expected) in [
        ("*.md", &["README.md", "docs/a b.md"][..]),
        ("mod.rs", &["src/parse/mod.rs"]),
        ("src/*.rs", &["src/main.rs"]),
        ("src/**/*.rs", &["src/main.rs", "src/parse/lexer.rs", "src/parse/mod.rs"]),
        ("/README.md", &["README.md"]),
        ("**/le*", &["src/parse/lexer.rs", "tests/lexer_test.rs"]),
        ("{main,mod}.r?", &["src/main.rs", "src/parse/mod.rs"]),
        ("[A-Z]*", &["README.md"]),
        ("*.none", &[]),
        ("parse", &[]),
    ] {
        let found = place.executor.search_files(glob(query)).await.unwrap();
        assert_eq!(paths(&found), expected, "{query}");
        assert!(!found.truncated);
    }
}

async fn a_fuzzy_query_finds_the_best_first(place: Fixture) {
    tree(&place).await;
    let found = place.executor.search_files(fuzzy("lexer")).await.unwrap();
    assert_eq!(found.paths.len(), 2);
    let found = place.executor.search_files(fuzzy("sparlex")).await.unwrap();
    assert_eq!(paths(&found), ["src/parse/lexer.rs"]);
    let found = place.executor.search_files(fuzzy("readme")).await.unwrap();
    assert_eq!(paths(&found)[0], "README.md");
    let found = place.executor.search_files(fuzzy("main.rs")).await.unwrap();
    assert_eq!(paths(&found)[0], "src/main.rs");
    let found = place.executor.search_files(fuzzy("zzzz")).await.unwrap();
    assert!(found.paths.is_empty() && !found.truncated);
}

async fn found_files_can_be_limited_to_directories(place: Fixture) {
    tree(&place).await;
    for (directories, count) in
        [(vec!["src"], 3), (vec!["src", "tests"], 4), (vec!["src", "src/parse"], 3), (vec![""], 5)]
    {
        let directories = directories.into_iter().map(Into::into).collect();
        let request = SearchFiles { directories, ..glob("*.rs") };
        let found = place.executor.search_files(request).await.unwrap();
        assert_eq!(found.paths.len(), count, "{found:?}");
    }
    for (directory, code) in [
        ("none", ErrorCode::NotFound),
        ("../x", ErrorCode::OutsideWorkspace),
        ("README.md", ErrorCode::NotADirectory),
    ] {
        let request = SearchFiles { directories: vec![directory.into()], ..glob("*") };
        refused(place.executor.search_files(request).await, code, &[directory]);
    }
}

async fn found_files_can_follow_ignore_rules(place: Fixture) {
    tree(&place).await;
    place.sh("mkdir .git").await;
    place.seed(".gitignore", "tests/\n").await;
    let all = place.executor.search_files(glob("*.rs")).await.unwrap();
    assert_eq!(all.paths.len(), 5);
    let request = SearchFiles { ignore_rules: true, ..glob("*.rs") };
    let some = place.executor.search_files(request).await.unwrap();
    assert_eq!(paths(&some), ["src/main.rs", "src/parse/lexer.rs", "src/parse/mod.rs"]);
}

async fn found_files_say_when_there_is_more(place: Fixture) {
    place.sh("seq -w 1 150 | xargs touch").await;
    for (limit, count, truncated) in
        [(None, 100, true), (Some(149), 149, true), (Some(150), 150, false), (Some(1), 1, true)]
    {
        let found = place.executor.search_files(SearchFiles { limit, ..glob("*") }).await.unwrap();
        assert_eq!((found.paths.len(), found.truncated), (count, truncated), "{limit:?}");
        assert_eq!(found.paths[count - 1].to_string_lossy(), format!("{count:03}"));
    }
}

async fn bad_globs_are_refused(place: Fixture) {
    for query in ["[", "a{b", "[z-a]", "a{b,{c}"] {
        refused(place.executor.search_files(glob(query)).await, ErrorCode::BadGlob, &[query]);
        let include = GrepSearch { include: vec![query.into()], ..grep("x") };
        refused(place.executor.grep_search(include).await, ErrorCode::BadGlob, &[query]);
        let exclude = GrepSearch { exclude: vec![query.into()], ..grep("x") };
        refused(place.executor.grep_search(exclude).await, ErrorCode::BadGlob, &[query]);
    }
    let long = "x".repeat(limits::MAX_PATTERN_BYTES + 1);
    for request in [glob(&long), fuzzy(&long)] {
        let limit = limits::MAX_PATTERN_BYTES.to_string();
        let result = place.executor.search_files(request).await;
        refused(result, ErrorCode::InvalidArgument, &[&limit]);
    }
}

async fn a_match_is_told_with_its_place(place: Fixture) {
    place.seed("a.txt", "nothing\n  one needle, one needle\r\nλ needle").await;
    let found = place.executor.grep_search(grep(r"ne+dle\b")).await.unwrap();
    assert_eq!(told(&found), ["a.txt:2:7:  one needle, one needle\r", "a.txt:3:4:λ needle"]);
    let first = &found.matches[0];
    assert!(first.before.is_empty() && first.after.is_empty());
    assert!(!found.truncated && found.unreadable.is_empty() && found.binary.is_empty());
}

async fn no_match_is_a_success(place: Fixture) {
    let found = place.executor.grep_search(grep("x")).await.unwrap();
    assert!(found.matches.is_empty() && !found.truncated);
    place.seed("a", "y").await;
    assert!(place.executor.grep_search(grep("x")).await.unwrap().matches.is_empty());
}

async fn a_pattern_can_be_a_literal(place: Fixture) {
    place.seed("a", "f(x)\nfx\n[a-z]+\nabc\n").await;
    for (pattern, literal, count) in
        [("f(x)", true, 1), ("f(x)", false, 1), ("[a-z]+", true, 1), ("[a-z]+", false, 4)]
    {
        let request = GrepSearch { literal, ..grep(pattern) };
        let found = place.executor.grep_search(request).await.unwrap();
        assert_eq!(found.matches.len(), count, "{pattern} {literal}");
    }
    place.seed("b", b"caf\xe9 mark\n").await;
    let request = GrepSearch { literal: true, pattern: b"caf\xe9".as_slice().into(), ..grep("") };
    let found = place.executor.grep_search(request).await.unwrap();
    assert_eq!(found.matches.len(), 1);
    assert_eq!(found.matches[0].text.as_bytes(), b"caf\xe9 mark", "bytes are kept");
}

async fn case_is_as_asked(place: Fixture) {
    place.seed("a", "Word\nword\nWORD\nÄ\nä\n").await;
    for (pattern, case, count) in [
        ("word", CaseRule::Sensitive, 1),
        ("word", CaseRule::Insensitive, 3),
        ("word", CaseRule::Smart, 3),
        ("Word", CaseRule::Smart, 1),
        ("WORD", CaseRule::Insensitive, 3),
        ("ä", CaseRule::Insensitive, 2),
    ] {
        let found = place.executor.grep_search(GrepSearch { case, ..grep(pattern) }).await.unwrap();
        assert_eq!(found.matches.len(), count, "{pattern} {case:?}");
    }
}

async fn context_is_given_on_both_sides(place: Fixture) {
    place.seed("a", "1\n2\n3 x\n4\n5\n6\n7 x\n8\n").await;
    let request = GrepSearch { before: 2, after: 3, ..grep("x") };
    let found = place.executor.grep_search(request).await.unwrap();
    let lines = |of: &[stigmer_core::ByteString]| -> Vec<String> {
        of.iter().map(|line| line.to_string_lossy().into_owned()).collect()
    };
    assert_eq!(lines(&found.matches[0].before), ["1", "2"]);
    assert_eq!(lines(&found.matches[0].after)[..2], ["4", "5"]);
    assert_eq!(lines(&found.matches[1].after), ["8"]);
    assert!(lines(&found.matches[1].before).ends_with(&["6".to_owned()]));
    let request = GrepSearch { before: limits::MAX_CONTEXT_LINES + 1, ..grep("x") };
    refused(place.executor.grep_search(request).await, ErrorCode::InvalidArgument, &["before"]);
}

async fn the_limit_is_in_all(place: Fixture) {
    for name in ["a", "b", "c"] {
        place.seed(name, "x\n".repeat(10)).await;
    }
    for (limit, count, truncated) in
        [(1, 1, true), (15, 15, true), (29, 29, true), (30, 30, false), (31, 30, false)]
    {
        let request = GrepSearch { limit: Some(limit), ..grep("x") };
        let found = place.executor.grep_search(request).await.unwrap();
        assert_eq!((found.matches.len(), found.truncated), (count, truncated), "{limit}");
        let last = &found.matches[count - 1];
        let expected = (["a", "b", "c"][(count - 1) / 10].into(), (count as u64 - 1) % 10 + 1);
        assert_eq!((last.path.clone(), last.line), expected, "the first ones in order are kept");
    }
    place.seed("d", "y\n".repeat(limits::DEFAULT_GREP_MATCHES + 1)).await;
    let found = place.executor.grep_search(grep("y")).await.unwrap();
    assert_eq!((found.matches.len(), found.truncated), (limits::DEFAULT_GREP_MATCHES, true));
}

async fn matches_are_sorted(place: Fixture) {
    for name in ["b/a", "a", "b-c", "c/d/e", "b"] {
        let name = if name == "b" { "z" } else { name };
        place.seed(name, "x 1\nx 2\n").await;
    }
    for _ in 0..20 {
        let found = place.executor.grep_search(grep("x")).await.unwrap();
        let places: Vec<(String, u64)> = found
            .matches
            .iter()
            .map(|hit| (hit.path.to_string_lossy().into_owned(), hit.line))
            .collect();
        let mut sorted = places.clone();
        sorted.sort();
        assert_eq!((places.len(), &places), (10, &sorted));
    }
}

async fn globs_choose_the_files(place: Fixture) {
    tree(&place).await;
    let globs = |include: &[&str], exclude: &[&str]| GrepSearch {
        include: include.iter().map(|glob| (*glob).to_owned()).collect(),
        exclude: exclude.iter().map(|glob| (*glob).to_owned()).collect(),
        ..grep("this is")
    };
    for (include, exclude, count) in [
        (&[][..], &[][..], 6),
        (&["*.md"], &[], 2),
        (&["src/**"], &[], 3),
        (&["*.rs"], &["tests/**"], 3),
        (&[], &["*.rs"], 2),
        (&["*.rs", "*.md"], &["src/**"], 3),
        (&["*.none"], &[], 0),
    ] {
        let found = place.executor.grep_search(globs(include, exclude)).await.unwrap();
        // A hidden file that a glob names is searched, a hidden directory is not entered.
        assert_eq!(found.matches.len(), count, "{include:?} {exclude:?} {:?}", told(&found));
    }
}

async fn ignore_rules_hold_unless_refused(place: Fixture) {
    place.sh("mkdir .git").await;
    place.seed(".gitignore", "ignored.txt\n").await;
    for path in ["ignored.txt", "seen.txt", ".hidden.txt"] {
        place.seed(path, "x\n").await;
    }
    assert_eq!(told(&place.executor.grep_search(grep("x")).await.unwrap()), ["seen.txt:1:1:x"]);
    let request = GrepSearch { no_ignore: true, ..grep("^x$") };
    assert_eq!(place.executor.grep_search(request).await.unwrap().matches.len(), 3);
}

async fn named_files_and_directories_are_searched(place: Fixture) {
    tree(&place).await;
    let named = |paths: &[&str]| GrepSearch {
        paths: paths.iter().map(|path| (*path).into()).collect(),
        ..grep("this is")
    };
    for (paths, count) in [
        (&["src"][..], 3),
        (&["README.md"], 1),
        (&["src", "src/main.rs", "src/parse"], 3),
        (&[".hidden/x.rs"], 1),
        (&[".hidden"], 1),
        (&["."], 6),
    ] {
        let found = place.executor.grep_search(named(paths)).await.unwrap();
        assert_eq!(found.matches.len(), count, "{paths:?} {:?}", told(&found));
    }
    let result = place.executor.grep_search(named(&["src", "none"])).await;
    refused(result, ErrorCode::NotFound, &["none"]);
    let result = place.executor.grep_search(named(&["/etc"])).await;
    refused(result, ErrorCode::OutsideWorkspace, &["/etc"]);
}

async fn content_of_every_kind_is_searched(place: Fixture) {
    place.seed(b"\xff name".as_slice(), "x\n").await;
    place.seed("no-end", "x").await;
    place.seed("crlf", "a\r\nx\r\n").await;
    place.seed("latin1", b"caf\xe9 x\n").await;
    place.seed("long", format!("{}x\n", "y".repeat(3_000_000))).await;
    place.seed("utf16", b"\xff\xfex\0\n\0").await;
    let found = place.executor.grep_search(grep("x")).await.unwrap();
    assert_eq!(found.matches.len(), 6, "{:?}", found.unreadable);
    assert_eq!(found.matches.last().unwrap().path.as_bytes(), b"\xff name");
    let long = found.matches.iter().find(|hit| hit.path == "long".into()).unwrap();
    assert_eq!((long.column, long.text.len()), (3_000_001, 3_000_001));
}

async fn binary_files_are_told(place: Fixture) {
    place.seed("binary", b"x 1\n\0\nx 2\n").await;
    place.seed("text", "x\n").await;
    let found = place.executor.grep_search(grep("x")).await.unwrap();
    assert_eq!(told(&found), ["text:1:1:x"], "a walk passes binary files by");
    let named = GrepSearch { paths: vec!["binary".into()], ..grep("x") };
    let found = place.executor.grep_search(named).await.unwrap();
    assert_eq!(found.binary, ["binary".into()]);
}

async fn bad_patterns_are_refused(place: Fixture) {
    for pattern in ["(", "[", "a{2,1}", "*", r"\p{Nope}", "(?P<>a)"] {
        let result = place.executor.grep_search(grep(pattern)).await;
        let error = refused(result, ErrorCode::BadRegex, &[]);
        assert_eq!(error.details["pattern"], pattern);
        assert!(error.hint.is_some());
    }
    let huge = place.executor.grep_search(grep(&format!("({})", r"\w{999}".repeat(99)))).await;
    refused(huge, ErrorCode::BadRegex, &[]);
    let long = "x".repeat(limits::MAX_PATTERN_BYTES + 1);
    refused(
        place.executor.grep_search(grep(&long)).await,
        ErrorCode::InvalidArgument,
        &["pattern"],
    );
}

async fn searches_stay_beneath_the_root(place: Fixture) {
    place.sh("ln -s /etc out; ln -s /etc/passwd file; mkdir d; ln -s .. d/up").await;
    place.seed("d/f", "root:\n").await;
    let found = place.executor.grep_search(GrepSearch { no_ignore: true, ..grep("root:") }).await;
    assert_eq!(told(&found.unwrap()), ["d/f:1:1:root:"]);
    for path in ["out", "file", "out/passwd"] {
        let request = GrepSearch { paths: vec![path.into()], ..grep("root:") };
        let result = place.executor.grep_search(request).await;
        refused(result, ErrorCode::OutsideWorkspace, &[path]);
    }
    let found = place.executor.search_files(glob("passwd")).await.unwrap();
    assert!(found.paths.is_empty());
}

async fn a_file_that_cannot_be_read_is_named(place: Fixture) {
    place.seed("secret", "x\n").await;
    place.seed("open", "x\n").await;
    place.chmod("secret", 0).await;
    let found = place.executor.grep_search(grep("x")).await.unwrap();
    if place.is_root().await {
        // The superuser may read it.
        assert_eq!(found.matches.len(), 2);
    } else {
        assert_eq!(told(&found), ["open:1:1:x"]);
        let [reason] = found.unreadable.as_slice() else { panic!("{:?}", found.unreadable) };
        assert!(reason.to_string_lossy().contains("secret"));
    }
}
