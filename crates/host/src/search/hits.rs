//! The matching lines of one file.

use std::collections::VecDeque;
use std::io;

use grep_matcher::Matcher as _;
use grep_regex::RegexMatcher;
use grep_searcher::{Searcher, Sink, SinkContext, SinkMatch};
use stigmer_core::search::GrepMatch;
use stigmer_core::{ByteString, FilePath};

/// What a match holds in memory, together with the path of its file.
pub(super) fn match_bytes(found: &GrepMatch, path_bytes: usize) -> usize {
    let context: usize = found.before.iter().chain(&found.after).map(line_bytes).sum();
    size_of::<GrepMatch>() + path_bytes + found.text.len() + context
}

fn line_bytes(line: &ByteString) -> usize {
    size_of::<ByteString>() + line.len()
}

/// How much of one file can become part of a result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) max_matches: usize,
    pub(super) max_bytes: usize,
}

/// Gathers the matching lines of one file after another.
#[derive(Debug)]
pub(super) struct Hits {
    wanted: Wanted,
    path_bytes: usize,
    file: FileHits,
    /// The last lines that were seen, the newest last; as many as are wanted before a match.
    recent: VecDeque<(u64, ByteString)>,
}

/// What was found in one file.
#[derive(Debug, Default)]
pub(super) struct FileHits {
    /// Without their path: there may be millions, of which few become part of the result.
    pub(super) hits: Vec<GrepMatch>,
    /// What they held in memory, including any that were dropped again.
    pub(super) bytes: usize,
    /// The file matches and holds a NUL byte.
    pub(super) binary: bool,
    matched: bool,
    nul: bool,
}

impl Hits {
    pub(super) fn new(wanted: Wanted) -> Self {
        Self { wanted, path_bytes: 0, file: FileHits::default(), recent: VecDeque::new() }
    }

    /// Begins with a file whose path has so many bytes.
    pub(super) fn begin(&mut self, path_bytes: usize) {
        self.path_bytes = path_bytes;
        self.file = FileHits::default();
        self.recent.clear();
    }

    /// What was found in the file.
    pub(super) fn take(&mut self) -> FileHits {
        let mut file = std::mem::take(&mut self.file);
        file.binary = file.nul && file.matched;
        // Most files have one or two, and there may be many files.
        file.hits.shrink_to_fit();
        file
    }

    /// Takes note of a line that is a match or context; returns whether more are wanted.
    fn line(&mut self, number: u64, text: &[u8], matched_at: Option<u64>) -> bool {
        // ripgrep: once a file that was named turns out to be binary, its lines are not shown.
        if self.file.nul {
            return false;
        }
        let Wanted { before, after, max_matches, max_bytes } = self.wanted;
        if after > 0 {
            let open = self.file.hits.iter_mut().rev();
            for hit in open.take_while(|hit| hit.line + after >= number) {
                let line = ByteString::from(text);
                self.file.bytes += line_bytes(&line);
                hit.after.push(line);
            }
        }
        // One match more than wanted is kept, to know that there is one.
        if let Some(column) = matched_at.filter(|_| self.file.hits.len() <= max_matches) {
            let recent = self.recent.iter().filter(|(other, _)| other + before >= number);
            let before = recent.map(|(_, line)| line.clone()).collect();
            let (path, text, after) = (FilePath::default(), text.into(), Vec::new());
            let hit = GrepMatch { path, line: number, column, text, before, after };
            self.file.bytes += match_bytes(&hit, self.path_bytes);
            self.file.hits.push(hit);
        }
        if before > 0 {
            self.recent.push_back((number, text.into()));
            if self.recent.len() as u64 > before {
                self.recent.pop_front();
            }
        }
        if self.file.bytes > max_bytes {
            // Only hits whose context is complete may be shown; the sum says that there were more.
            self.file.hits.retain(|hit| hit.line + after <= number);
            return false;
        }
        // Enough, once the last match that will be shown has its context.
        match max_matches.checked_sub(1) {
            _ if self.file.hits.len() <= max_matches => true,
            Some(last) => self.file.hits[last].line + after > number,
            None => false,
        }
    }
}

/// Hands what a searcher finds to [`Hits`].
#[derive(Debug)]
pub(super) struct HitSink<'s> {
    pub(super) matcher: &'s RegexMatcher,
    pub(super) hits: &'s mut Hits,
}

impl Sink for HitSink<'_> {
    type Error = io::Error;

    fn matched(&mut self, _: &Searcher, found: &SinkMatch<'_>) -> io::Result<bool> {
        self.hits.file.matched = true;
        let line = without_line_feed(found.bytes());
        // A search by line stops at any match of the line, so the first is looked for here: in the
        // buffer, so that `^` and `\b` see what comes before the line.
        let start = found.bytes_range_in_buffer().start;
        let text = &found.buffer()[..start + line.len()];
        let first = self.matcher.find_at(text, start).ok().flatten();
        let column = first.map_or(0, |first| first.start() - start) as u64 + 1;
        Ok(self.hits.line(found.line_number().unwrap_or(0), line, Some(column)))
    }

    fn context(&mut self, _: &Searcher, context: &SinkContext<'_>) -> io::Result<bool> {
        let line = without_line_feed(context.bytes());
        Ok(self.hits.line(context.line_number().unwrap_or(0), line, None))
    }

    fn binary_data(&mut self, _: &Searcher, _: u64) -> io::Result<bool> {
        self.hits.file.nul = true;
        // A search that is to go on tells whether the rest of the file matches at all.
        Ok(true)
    }
}

fn without_line_feed(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\n").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_holds_no_memory_that_it_does_not_need() {
        let wanted = Wanted { before: 0, after: 0, max_matches: 9, max_bytes: usize::MAX };
        let mut hits = Hits::new(wanted);
        hits.begin(4);
        assert!(hits.line(1, b"text", Some(1)));
        let file = hits.take();
        assert_eq!((file.hits.len(), file.hits.capacity()), (1, 1));
        assert!(file.hits[0].path.is_empty());
        assert_eq!(file.bytes, size_of::<GrepMatch>() + 4 + 4);
    }
}
