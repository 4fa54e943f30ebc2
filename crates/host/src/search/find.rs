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
use super::walk::{self, Rules, Walk};
use crate::Root;

/// Paths by rank: the best score first, then by their bytes. A glob gives all the same score.
type Found = Smallest<(Reverse<u32>, FilePath), ()>;

/// Finds files by name. Symbolic links are found by their own name, as `fd` does, never followed.
pub(crate) fn search_files(root: &Root, request: SearchFiles) -> Result<FoundFiles> {
    let query = Query::new(root, &request)?;
    let limit = request.limit.unwrap_or(limits::DEFAULT_FIND_RESULTS);
    let found = Found::new(limit.min(limits::MAX_FIND_RESULTS), limits::MAX_SEARCH_BYTES);
    let walk = Walk::new(root, Rules::new(request.ignore_rules));
    let directories = walk::directories(root, &request.directories)?;

    walk.builder(&directories)?.build_parallel().run(|| {
        let mut scorer = Scorer::new(&query);
        let (walk, found) = (&walk, &found);
        Box::new(move |entry| {
            // A directory that cannot be read has no names to offer.
            let Ok(entry) = entry else { return WalkState::Continue };
            let Some(kind) = entry.file_type() else { return WalkState::Continue };
            if entry.depth() > 0 && (kind.is_file() || kind.is_symlink()) {
                if let Some(relative) = walk.relative(entry.path()) {
                    if let Some(score) = scorer.score(relative) {
                        keep(root, found, score, relative);
                    }
                }
            }
            WalkState::Continue
        })
    });

    let (found, truncated) = found.finish_singles();
    Ok(FoundFiles { paths: found.into_iter().map(|((_, path), ())| path).collect(), truncated })
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
