//! Finding lines by content.

use std::collections::BTreeSet;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use grep_regex::RegexMatcher;
use grep_searcher::{BinaryDetection, Searcher, SearcherBuilder};
use ignore::{DirEntry, WalkState};
use stigmer_core::search::{GrepMatches, GrepSearch};
use stigmer_core::{ErrorCode, FilePath, Result, ToolError, limits};

use super::hits::{FileHits, HitSink, Hits, Wanted, match_bytes};
use super::pattern;
use super::smallest::Smallest;
use super::stop::Stop;
use super::unreadable::Unreadable;
use super::walk::{self, Rules, Walk};
use crate::Root;

/// Finds lines by content.
pub(crate) fn grep_search(root: &Root, request: GrepSearch, stop: &Stop) -> Result<GrepMatches> {
    for (name, lines) in [("before", request.before), ("after", request.after)] {
        if lines > limits::MAX_CONTEXT_LINES {
            let reason = format!("{lines} lines are more than {}", limits::MAX_CONTEXT_LINES);
            return Err(ToolError::invalid_argument(name, reason)
                .with_detail("limit", limits::MAX_CONTEXT_LINES)
                .with_hint("read the file around the match instead"));
        }
    }
    let matcher = pattern::matcher(&request)?;
    let globs = walk::overrides(root, &request.include, &request.exclude)?;
    let scope = Scope::new(root, &request.paths)?;
    let results = Results::new(&request);
    let walk = Walk::new(root, Rules::new(!request.no_ignore));

    if !scope.files.is_empty() {
        let mut worker =
            Worker::new(&request, matcher.clone(), BinaryDetection::convert(b'\0'), stop);
        for relative in &scope.files {
            stop.check()?;
            worker.search(root, relative, &results);
        }
    }
    if !scope.directories.is_empty() {
        let mut builder = walk.builder(&scope.directories)?;
        builder.overrides(globs).build_parallel().run(|| {
            // A clone for each thread, because clones of one matcher wait for each other's cache.
            let mut worker =
                Worker::new(&request, matcher.clone(), BinaryDetection::quit(b'\0'), stop);
            let (walk, scope, results) = (&walk, &scope, &results);
            Box::new(move |entry| match entry {
                _ if stop.is_set() => WalkState::Quit,
                Ok(entry) => visit(root, walk, scope, results, &mut worker, &entry),
                Err(error) => {
                    results.unreadable.insert_error(root, walk, &error);
                    WalkState::Continue
                }
            })
        });
    }
    stop.check()?;
    for (directory, error) in walk.unfit() {
        results.unreadable.insert(&directory, &error.message);
    }
    Ok(results.finish())
}

/// Searches a proposed file, or says whether a proposed directory is worth looking into.
fn visit(
    root: &Root,
    walk: &Walk<'_>,
    scope: &Scope,
    results: &Results,
    worker: &mut Worker,
    entry: &DirEntry,
) -> WalkState {
    let Some(relative) = walk.relative(entry.path()) else { return WalkState::Continue };
    let Some(kind) = entry.file_type() else { return WalkState::Continue };
    if kind.is_file() {
        // A file that was named has been searched already, by the rules for such.
        if !scope.files.contains(relative) {
            worker.search(root, relative, results);
        }
    } else if kind.is_dir() && !results.wants_directory(relative) {
        return WalkState::Skip;
    }
    WalkState::Continue
}

/// Files and directories to search, relative to the root.
#[derive(Debug, Default)]
struct Scope {
    files: BTreeSet<PathBuf>,
    directories: BTreeSet<PathBuf>,
}

impl Scope {
    fn new(root: &Root, paths: &[FilePath]) -> Result<Self> {
        let mut scope = Self::default();
        for path in paths {
            let relative = root.relative(path)?;
            match root.open_directory(&relative) {
                Ok(_) => scope.directories.insert(relative),
                Err(error) if error.code == ErrorCode::NotADirectory => {
                    match root.open_file(&relative) {
                        // The search will say that it cannot be read.
                        Err(error) if error.code != ErrorCode::PermissionDenied => {
                            return Err(error);
                        }
                        _ => scope.files.insert(relative),
                    }
                }
                Err(error) => return Err(error),
            };
        }
        if paths.is_empty() {
            scope.directories.insert(PathBuf::new());
        }
        Ok(scope)
    }
}

/// What one thread needs to search files.
struct Worker {
    settings: SearcherBuilder,
    searcher: Searcher,
    matcher: RegexMatcher,
    hits: Hits,
    stop: Stop,
}

/// Files that are larger may make the searcher's buffer of 64 KiB grow; half of it, because UTF-16
/// grows when it is decoded.
const SMALL_FILE: u64 = 32 << 10;

impl Worker {
    /// ripgrep gives up on a file at its first NUL byte if a walk came across it (`quit`), and looks
    /// on whether it matches if it was named (`convert`).
    fn new(
        request: &GrepSearch,
        matcher: RegexMatcher,
        binary: BinaryDetection,
        stop: &Stop,
    ) -> Self {
        let (before, after) = (request.before, request.after);
        let mut settings = SearcherBuilder::new();
        settings
            .line_number(true)
            .before_context(before as usize)
            .after_context(after as usize)
            .binary_detection(binary)
            .heap_limit(Some(limits::MAX_LINE_BYTES));
        let hits = Hits::new(Wanted {
            before: before.into(),
            after: after.into(),
            max_matches: max_matches(request),
            max_bytes: max_bytes(request),
        });
        Self { searcher: settings.build(), settings, matcher, hits, stop: stop.clone() }
    }

    fn search(&mut self, root: &Root, relative: &Path, results: &Results) {
        if !results.wants(relative) {
            return;
        }
        let file = match root.open_listed_file(relative) {
            Ok(file) => file,
            Err(error) => {
                // What is not there any more, or not beneath the root, is none of our files.
                if !is_gone(error.code) {
                    results.unreadable.insert(relative, &error.message);
                }
                return;
            }
        };
        // Read, never mapped: ripgrep maps files when few are named, but one that somebody truncates
        // meanwhile would kill the whole process with SIGBUS.
        self.hits.begin(relative.as_os_str().len());
        let mut reader = Counted { reader: &file, count: 0, stop: &self.stop };
        let sink = HitSink { matcher: &self.matcher, hits: &mut self.hits };
        let searched = self.searcher.search_reader(&self.matcher, &mut reader, sink);
        let found = self.hits.take();
        // A searcher keeps a buffer that a long line made grow, and looks for NUL as far as its
        // buffer goes: what is found in the next file would depend on this one, as in ripgrep.
        if reader.count > SMALL_FILE {
            self.searcher = self.settings.build();
        }
        match searched {
            Ok(()) => results.found(relative, found),
            // Half of a file's matches would look like all of them.
            Err(error) => {
                results.unreadable.insert(relative, &format!("{}: {error}", relative.display()));
            }
        }
    }
}

/// Counts what is read, which costs less than asking for the file's size, and ends when the search
/// is given up: one file may be all there is to search, and huge.
struct Counted<'s, R> {
    reader: R,
    count: u64,
    stop: &'s Stop,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stop.check().map_err(io::Error::other)?;
        let count = self.reader.read(buffer)?;
        self.count += count as u64;
        Ok(count)
    }
}

/// Whether a name that the walk proposed turned out to be nothing that could be searched.
fn is_gone(code: ErrorCode) -> bool {
    use ErrorCode::{IsDirectory, NotADirectory, NotAFile, NotFound, OutsideWorkspace};
    matches!(code, NotFound | OutsideWorkspace | NotAFile | IsDirectory | NotADirectory)
}

/// Whoever asks for all there is gets all there is.
fn max_bytes(request: &GrepSearch) -> usize {
    match request.limit {
        Some(usize::MAX) => usize::MAX,
        _ => limits::MAX_SEARCH_BYTES,
    }
}

fn max_matches(request: &GrepSearch) -> usize {
    request.limit.unwrap_or(limits::DEFAULT_GREP_MATCHES)
}

/// What all threads found.
struct Results {
    files: Smallest<Vec<u8>, FileHits>,
    unreadable: Unreadable,
    max_matches: usize,
    max_bytes: usize,
}

impl Results {
    fn new(request: &GrepSearch) -> Self {
        let max_matches = max_matches(request);
        Self {
            files: Smallest::new(max_matches, max_bytes(request)),
            unreadable: Unreadable::new(),
            max_matches,
            max_bytes: max_bytes(request),
        }
    }

    fn wants(&self, relative: &Path) -> bool {
        self.files.wants(relative.as_os_str().as_bytes())
    }

    /// Whether a file in this directory could still be part of the result.
    fn wants_directory(&self, relative: &Path) -> bool {
        let mut first = relative.as_os_str().as_bytes().to_vec();
        if first.is_empty() {
            return true;
        }
        first.push(b'/');
        self.files.wants(&first)
    }

    fn found(&self, relative: &Path, found: FileHits) {
        if !found.hits.is_empty() || found.binary {
            let path = relative.as_os_str().as_bytes().to_vec();
            self.files.insert(path, found.hits.len(), found.bytes, found);
        }
    }

    fn finish(self) -> GrepMatches {
        let (files, truncated) = self.files.finish();
        let files: Vec<_> = files.collect();
        let end = if truncated { files.last().map(|(path, _)| path.clone()) } else { None };

        let mut matches = Vec::new();
        let mut binary = Vec::new();
        let mut bytes = 0;
        for (path, FileHits { mut hits, binary: is_binary, .. }) in files {
            let path = FilePath::from(path);
            let room = self.max_matches - matches.len();
            let shown = hits.iter().take(room).take_while(|hit| {
                bytes += match_bytes(hit, path.len());
                bytes <= self.max_bytes
            });
            let shown = shown.count();
            let cut = shown < hits.len();
            hits.truncate(shown);
            for hit in &mut hits {
                hit.path = path.clone();
            }
            // The first file's are not copied: it may be the only one, with millions.
            if matches.is_empty() {
                matches = hits;
            } else {
                matches.append(&mut hits);
            }
            if is_binary {
                binary.push(path);
            }
            if cut {
                break;
            }
        }
        // Whether something beyond the end of a truncated result was looked at is chance.
        let unreadable = self.unreadable.finish(end.as_deref());
        GrepMatches { matches, truncated, binary, unreadable }
    }
}

#[cfg(test)]
mod tests;
