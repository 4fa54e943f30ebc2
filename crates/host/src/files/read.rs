//! Reading a file, whole or by lines.

use std::io::Read;
use std::path::Path;

use memchr::memchr_iter;
use sha2::{Digest, Sha256};
use stigmer_core::file::{Encoding, FileContent, ReadFile};
use stigmer_core::limits::MAX_READ_BYTES;
use stigmer_core::{Result, ToolError};

use super::{hexadecimal, io_failed};
use crate::Root;
use crate::root::size_of;

/// Large enough that the calls do not count, small enough for the cache.
const CHUNK: usize = 128 << 10;

/// Reads lines of a file. The file is streamed: memory is bounded by the range asked for, however
/// large the file.
pub(crate) fn read_file(root: &Root, request: ReadFile) -> Result<FileContent> {
    let relative = root.relative(&request.path)?;
    let first = request.first_line.unwrap_or(1);
    let last = request.last_line.unwrap_or(u64::MAX);
    if first < 1 {
        return Err(ToolError::invalid_argument("first_line", "lines are counted from 1"));
    }
    if last < first {
        let reason = format!("{last} is before first_line, which is {first}");
        return Err(ToolError::invalid_argument("last_line", reason));
    }
    let mut file = root.open_file(&relative)?;
    let size = size_of(&root.fstat(&relative, &file)?);
    if first == 1 && last == u64::MAX && size > MAX_READ_BYTES {
        return Err(too_large(&relative, size));
    }

    let mut lines = Lines::new(first, last);
    let mut hash = Sha256::new();
    let mut size = 0_u64;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(io_failed(root, "read", &relative, &error)),
        };
        let chunk = &buffer[..count];
        size = size.saturating_add(count as u64);
        hash.update(chunk);
        lines.take(chunk);
    }
    if lines.wanted > MAX_READ_BYTES {
        return Err(too_large(&relative, lines.wanted));
    }
    let total_lines = lines.total();
    let (start_line, end_line) =
        if first > total_lines { (0, 0) } else { (first, last.min(total_lines)) };
    let next_line = (end_line > 0 && end_line < total_lines).then(|| end_line + 1);
    let encoding = match std::str::from_utf8(&lines.kept) {
        Ok(_) => Encoding::Utf8,
        Err(_) => Encoding::Base64,
    };
    Ok(FileContent {
        content: lines.kept.into(),
        encoding,
        total_lines,
        start_line,
        end_line,
        next_line,
        size,
        sha256: hexadecimal(hash),
    })
}

fn too_large(relative: &Path, size: u64) -> ToolError {
    ToolError::too_large(&relative.into(), size, MAX_READ_BYTES)
        .with_hint("read a range of its lines, or download it")
}

/// Picks a range of lines out of a stream. A last line without a line end counts as one.
struct Lines {
    first: u64,
    last: u64,
    /// The line that the next byte belongs to.
    current: u64,
    /// Whether that line has bytes already.
    begun: bool,
    kept: Vec<u8>,
    /// Bytes in the range, kept or not.
    wanted: u64,
}

impl Lines {
    fn new(first: u64, last: u64) -> Self {
        Self { first, last, current: 1, begun: false, kept: Vec::new(), wanted: 0 }
    }

    fn take(&mut self, chunk: &[u8]) {
        if chunk.is_empty() {
            return;
        }
        // Where the range begins and ends in this chunk; between them whole pieces are copied.
        let mut begin = (self.current >= self.first).then_some(0);
        let mut end = if self.current > self.last { Some(0) } else { None };
        if end.is_some() || (begin.is_some() && self.last == u64::MAX) {
            self.current += memchr_iter(b'\n', chunk).count() as u64;
        } else {
            for at in memchr_iter(b'\n', chunk) {
                self.current += 1;
                let from = at + 1;
                if self.current == self.first {
                    begin = Some(from);
                }
                if self.current == self.last.saturating_add(1) && end.is_none() {
                    end = Some(from);
                }
            }
        }
        self.begun = chunk.last() != Some(&b'\n');
        if let Some(begin) = begin {
            self.keep(&chunk[begin..end.unwrap_or(chunk.len()).max(begin)]);
        }
    }

    fn keep(&mut self, piece: &[u8]) {
        self.wanted = self.wanted.saturating_add(piece.len() as u64);
        if self.wanted <= MAX_READ_BYTES {
            self.kept.extend_from_slice(piece);
        }
    }

    fn total(&self) -> u64 {
        self.current - 1 + u64::from(self.begun)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use stigmer_core::ErrorCode;

    fn workspace() -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::open(folder.path(), None).unwrap();
        (folder, root)
    }

    fn ask(path: &str, first: Option<u64>, last: Option<u64>) -> ReadFile {
        ReadFile { path: path.into(), first_line: first, last_line: last }
    }

    proptest! {
        #[test]
        fn a_range_is_what_splitting_says(
            text in "[ab\n]{0,40}", first in 1_u64..8, more in 0_u64..8, cut in 1_usize..9,
        ) {
            let last = first + more;
            let mut lines = Lines::new(first, last);
            text.as_bytes().chunks(cut).for_each(|chunk| lines.take(chunk));
            let all: Vec<&str> = text.split_inclusive('\n').collect();
            let skip = usize::try_from(first - 1).unwrap();
            let want: String = all.iter().skip(skip).take(usize::try_from(more + 1).unwrap())
                .copied().collect();
            prop_assert_eq!(String::from_utf8(lines.kept.clone()).unwrap(), want);
            prop_assert_eq!(lines.total(), all.len() as u64);
        }
    }

    #[test]
    fn lines_and_what_comes_next_are_told() {
        let (folder, root) = workspace();
        std::fs::write(folder.path().join("f"), "one\ntwo\nthree").unwrap();
        let got = read_file(&root, ask("f", Some(2), Some(2))).unwrap();
        assert_eq!(got.content, "two\n".into());
        assert_eq!((got.start_line, got.end_line, got.next_line), (2, 2, Some(3)));
        assert_eq!((got.total_lines, got.size), (3, 13));
        assert_eq!(got.sha256, super::super::sha256(b"one\ntwo\nthree"));
        let got = read_file(&root, ask("f", Some(3), Some(99))).unwrap();
        assert_eq!((got.content, got.end_line, got.next_line), ("three".into(), 3, None));
        let got = read_file(&root, ask("f", Some(4), None)).unwrap();
        assert_eq!(
            (got.content.len(), got.start_line, got.end_line, got.next_line),
            (0, 0, 0, None)
        );
        for (first, last) in [(Some(0), None), (Some(3), Some(2)), (None, Some(0))] {
            let code = read_file(&root, ask("f", first, last)).unwrap_err().code;
            assert_eq!(code, ErrorCode::InvalidArgument);
        }
    }

    #[test]
    fn what_is_no_text_is_said_to_be_none() {
        let (folder, root) = workspace();
        std::fs::write(folder.path().join("f"), b"text\n\xff\n").unwrap();
        assert_eq!(read_file(&root, ask("f", None, None)).unwrap().encoding, Encoding::Base64);
        let first = read_file(&root, ask("f", None, Some(1))).unwrap();
        assert_eq!(first.encoding, Encoding::Utf8);
        std::fs::write(folder.path().join("f"), b"").unwrap();
        let empty = read_file(&root, ask("f", None, None)).unwrap();
        assert_eq!((empty.total_lines, empty.start_line, empty.encoding), (0, 0, Encoding::Utf8));
    }

    #[test]
    fn a_large_file_is_read_by_ranges_only() {
        let (folder, root) = workspace();
        let path = folder.path().join("f");
        let line = [b'x'; 1023].into_iter().chain([b'\n']).collect::<Vec<u8>>();
        std::fs::write(&path, line.repeat(11 << 10)).unwrap();
        let error = read_file(&root, ask("f", None, None)).unwrap_err();
        assert_eq!(error.code, ErrorCode::TooLarge);
        assert_eq!(
            (&error.details["size"], &error.details["limit"]),
            (&(11 << 20).into(), &(10 << 20).into())
        );
        assert_eq!(read_file(&root, ask("f", Some(11_000), None)).unwrap().total_lines, 11 << 10);
        let error = read_file(&root, ask("f", Some(2), None)).unwrap_err();
        assert_eq!(error.details["size"], (11 << 20) - 1024);
    }
}
