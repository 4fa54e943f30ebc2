//! Finding files by name.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};
use ignore::WalkState;
use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use stigmer_core::file::FileKind;
use stigmer_core::search::{FoundFiles, QueryKind, SearchFiles};
use stigmer_core::{FilePath, Result, limits};

use super::smallest::Smallest;
use super::stop::Stop;
use super::unreadable::Unreadable;
use super::walk::{self, Rules, Walk};
use crate::Root;

/// Paths by rank: the best score first, then by their bytes. A glob gives all the same score.
type Found = Smallest<(Reverse<u32>, FilePath), ()>;

/// Finds files by name. Symbolic links are found by their own name, as `fd` does, never followed.
pub(crate) fn search_files(root: &Root, request: SearchFiles, stop: &Stop) -> Result<FoundFiles> {
    let query = Query::new(root, &request)?;
    let limit = request.limit.unwrap_or(limits::DEFAULT_FIND_RESULTS);
    let found = Found::new(limit.min(limits::MAX_FIND_RESULTS), limits::MAX_SEARCH_BYTES);
    let walk = Walk::new(root, Rules::new(request.ignore_rules));
    let directories = walk::directories(root, &request.directories)?;
    let unreadable = Unreadable::new();

    walk.builder(&directories)?.build_parallel().run(|| {
        let mut scorer = Scorer::new(&query);
        let (walk, found, unreadable) = (&walk, &found, &unreadable);
        Box::new(move |entry| {
            if stop.is_set() {
                return WalkState::Quit;
            }
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    unreadable.insert_error(root, walk, &error);
                    return WalkState::Continue;
                }
            };
            let Some(kind) = entry.file_type() else { return WalkState::Continue };
            if entry.depth() > 0
                && (kind.is_file() || kind.is_symlink())
                && let Some(relative) = walk.relative(entry.path())
                && let Some(score) = scorer.score(relative)
            {
                keep(root, found, score, relative);
            }
            WalkState::Continue
        })
    });

    stop.check()?;
    for (directory, error) in walk.unfit() {
        unreadable.insert(&directory, &error.message);
    }

    let (found, truncated) = found.finish_singles();
    let paths = found.into_iter().map(|((_, path), ())| path).collect();
    Ok(FoundFiles { paths, truncated, unreadable: unreadable.finish(None) })
}

/// Keeps a path if it is among the best, and if it is really there.
fn keep(root: &Root, found: &Found, score: u32, relative: &Path) {
    let path = FilePath::from(relative);
    let bytes = path.len() + size_of::<FilePath>();
    let key = (Reverse(score), path);
    if !found.wants(&key) {
        return;
    }
    match root.stat(relative) {
        Ok(stat) if matches!(stat.kind, FileKind::File | FileKind::Symlink) => {
            found.insert(key, 1, bytes, ());
        }
        _ => {}
    }
}

/// A query that was understood.
#[derive(Debug)]
enum Query {
    Fuzzy(Pattern),
    /// Held against the file's name.
    Name(GlobMatcher),
    /// Held against the path from the root.
    Path(GlobMatcher),
}

impl Query {
    fn new(root: &Root, request: &SearchFiles) -> Result<Self> {
        match request.kind {
            QueryKind::Fuzzy => {
                walk::check_length("query", request.query.len())?;
                // Each word on its own, in any order; no characters with a meaning of their own,
                // because an agent that looks for `$store` or `!important` means what it says.
                Ok(Self::Fuzzy(Pattern::new(
                    &request.query,
                    CaseMatching::Smart,
                    Normalization::Smart,
                    AtomKind::Fuzzy,
                )))
            }
            QueryKind::Glob => Self::glob(root.path(), &request.query),
        }
    }

    fn glob(root: &Path, query: &str) -> Result<Self> {
        walk::check_glob(query)?;
        let (anchored, glob) = from_root(root, query);
        let matcher = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| walk::bad_glob(query, error.kind()))?
            .compile_matcher();
        Ok(if anchored || glob.contains('/') { Self::Path(matcher) } else { Self::Name(matcher) })
    }
}

/// Whether a glob says that it starts at the root, and the glob without that.
///
/// An absolute path beneath the root is understood, because agents are fond of them.
fn from_root<'q>(root: &Path, query: &'q str) -> (bool, &'q str) {
    let beneath = root
        .to_str()
        .and_then(|root| query.strip_prefix(root.trim_end_matches('/')))
        .and_then(|rest| rest.strip_prefix('/'));
    match beneath.or_else(|| query.strip_prefix('/')).or_else(|| query.strip_prefix("./")) {
        Some(rest) => (true, rest.trim_start_matches('/')),
        None => (false, query),
    }
}

/// What one thread needs to hold names against a query.
struct Scorer<'q> {
    query: &'q Query,
    matcher: Matcher,
    buffer: Vec<char>,
}

impl<'q> Scorer<'q> {
    fn new(query: &'q Query) -> Self {
        // 135 KB of scratch space come with a matcher, whether it is used or not.
        Self { query, matcher: Matcher::new(Config::DEFAULT.match_paths()), buffer: Vec::new() }
    }

    fn score(&mut self, path: &Path) -> Option<u32> {
        match self.query {
            Query::Fuzzy(pattern) => {
                let text: Cow<'_, str> = String::from_utf8_lossy(path.as_os_str().as_bytes());
                let text = Utf32Str::new(&text, &mut self.buffer);
                pattern.score(text, &mut self.matcher)
            }
            Query::Name(glob) => glob.is_match(path.file_name()?).then_some(0),
            Query::Path(glob) => glob.is_match(path).then_some(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;
    use stigmer_core::{ByteString, ErrorCode};

    use super::super::stop::StopOnDrop;
    use super::*;

    fn search_files(root: &Root, request: SearchFiles) -> Result<FoundFiles> {
        super::search_files(root, request, &Stop::default())
    }

    fn world<S: AsRef<str>>(names: &[S]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        for name in names {
            let path = directory.path().join(name.as_ref());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let root = Root::open(directory.path(), None).unwrap();
        (directory, root)
    }

    fn find(root: &Root, request: SearchFiles) -> Vec<String> {
        let found = search_files(root, request).unwrap();
        found.paths.iter().map(|path| path.to_string_lossy().into_owned()).collect()
    }

    fn glob(query: impl Into<String>) -> SearchFiles {
        SearchFiles { query: query.into(), kind: QueryKind::Glob, ..SearchFiles::default() }
    }

    fn fuzzy(query: impl Into<String>) -> SearchFiles {
        SearchFiles { kind: QueryKind::Fuzzy, ..glob(query) }
    }

    #[test]
    fn a_glob_is_held_against_the_name_or_the_path() {
        let (directory, root) = world(&["a.rs", "src/b.rs", "src/deep/c.rs", "src/.x.rs", "d.txt"]);
        symlink("nowhere", directory.path().join("src/link.rs")).unwrap();
        symlink("src", directory.path().join("other")).unwrap();
        let all = ["a.rs", "src/.x.rs", "src/b.rs", "src/deep/c.rs", "src/link.rs"];
        assert_eq!(find(&root, glob("*.rs")), all);
        assert_eq!(find(&root, glob("**/*.rs")), all);
        assert_eq!(find(&root, glob("**/{b,c}.rs")), ["src/b.rs", "src/deep/c.rs"]);
        for query in ["src/*.rs", "/src/*.rs", "./src/*.rs"] {
            assert_eq!(find(&root, glob(query)), ["src/.x.rs", "src/b.rs", "src/link.rs"]);
        }
        let absolute = format!("{}/src/b*", root.path().display());
        assert_eq!(find(&root, glob(absolute)), ["src/b.rs"]);
        for query in ["/*.rs", "./*.rs"] {
            assert_eq!(find(&root, glob(query)), ["a.rs"]);
        }
        assert_eq!(find(&root, glob("oth*")), ["other"]);
        assert_eq!(find(&root, glob("src")), [""; 0]);
        let ruled = SearchFiles { ignore_rules: true, ..glob("*x.rs") };
        assert_eq!(find(&root, ruled), [""; 0]);
        let nested = vec!["src".into(), "src/deep".into(), "./src/".into()];
        let nested = SearchFiles { directories: nested, ..glob("c.*") };
        assert_eq!(find(&root, nested), ["src/deep/c.rs"]);
    }

    #[test]
    fn the_best_fuzzy_match_comes_first() {
        let (_directory, root) = world(&["docs/grep.md", "src/search/grep.rs", "g/r/e/p/rs", "x"]);
        assert_eq!(find(&root, fuzzy("grep.rs"))[0], "src/search/grep.rs");
        assert_eq!(find(&root, fuzzy("rs search")), ["src/search/grep.rs"]);
        assert_eq!(find(&root, fuzzy("$grep")), [""; 0]);
        assert_eq!(find(&root, fuzzy("")).len(), 4);
    }

    #[test]
    fn a_directory_that_cannot_be_searched_is_named() {
        use std::os::unix::fs::PermissionsExt as _;
        let (directory, root) = world(&["a/f", "b/f", "c/f"]);
        symlink("/dev/zero", directory.path().join("a/.ignore")).unwrap();
        let lock = |mode| {
            let path = directory.path().join("b");
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        lock(0);
        let ruled = SearchFiles { ignore_rules: true, ..glob("f") };
        let found = search_files(&root, ruled).unwrap();
        lock(0o700);
        let said: Vec<_> = found.unreadable.iter().map(ByteString::to_string_lossy).collect();
        assert_eq!(said[0], "a/.ignore: is a device, not a regular file");
        // Root reads everything; the suites run without it too.
        if !rustix::process::geteuid().is_root() {
            assert_eq!(found.paths, ["c/f".into()]);
            assert_eq!((said.len(), said[1].starts_with("b: ")), (2, true), "{said:?}");
        }
        let all = search_files(&root, glob("f")).unwrap();
        assert_eq!((all.paths.len(), all.unreadable), (3, vec![]));
    }

    #[test]
    fn a_search_that_was_given_up_gives_no_half_result() {
        let (_directory, root) = world(&["a"]);
        let stop = StopOnDrop::default().stop();
        assert!(super::search_files(&root, glob("a"), &stop).is_err());
    }

    #[test]
    fn what_cannot_be_searched_is_refused_with_the_reason() {
        let (_directory, root) = world(&["f"]);
        for query in ["[a", "{a", "", " ", "a/[z-a]"] {
            let error = search_files(&root, glob(query)).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadGlob, "{error}");
            assert!(error.hint.is_some());
        }
        let long = search_files(&root, fuzzy("a".repeat(limits::MAX_PATTERN_BYTES + 1)));
        assert_eq!(long.unwrap_err().code, ErrorCode::InvalidArgument);
        for (directory, code) in [
            ("f", ErrorCode::NotADirectory),
            ("nowhere", ErrorCode::NotFound),
            ("..", ErrorCode::OutsideWorkspace),
        ] {
            let request = SearchFiles { directories: vec![directory.into()], ..glob("*") };
            assert_eq!(search_files(&root, request).unwrap_err().code, code);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// A limit gives the beginning of what no limit gives, and says exactly whether it cut.
        #[test]
        fn a_limit_gives_the_beginning(
            names in prop::collection::btree_set("[a-c]{1,3}(/[a-c]{1,2}\\.x){0,1}y", 1..30),
            query in "[abc]{1,2}",
            limit in 0_usize..12,
        ) {
            let names: Vec<_> = names.into_iter().collect();
            let (_directory, root) = world(&names);
            for request in [fuzzy(&query), glob(format!("*{query}*")), glob(format!("**/{query}*"))] {
                let all = search_files(&root, request.clone()).unwrap();
                prop_assert!(!all.truncated);
                let limited =
                    search_files(&root, SearchFiles { limit: Some(limit), ..request }).unwrap();
                prop_assert_eq!(&limited.paths[..], &all.paths[..limit.min(all.paths.len())]);
                prop_assert_eq!(limited.truncated, all.paths.len() > limit);
            }
        }
    }
}
