//! What the caller of an edit may have meant by text that does not occur.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use memchr::memmem;
use similar::{Algorithm, capture_diff_slices_deadline, get_diff_ratio};

/// The lines shown.
const SHOWN: usize = 3;
/// Lines that are compared letter by letter, chosen from all by a cheaper measure.
const CANDIDATES: usize = 24;
/// Lines of a place that are shown, and bytes of each line that are compared and shown.
const SHOWN_LINES: usize = 40;
const LINE_BYTES: usize = 300;
/// Below this a line is not like the one that was sought.
const LEAST: f64 = 0.4;
/// A larger file is searched no further: the answer must come while it is of use.
const SEARCHED_BYTES: usize = 8 << 20;
const PATIENCE: Duration = Duration::from_millis(300);

/// What was found.
#[derive(Debug)]
pub(super) struct Nearest {
    /// The places most like the text, the best first.
    pub(super) lines: Vec<Near>,
    /// What to do.
    pub(super) hint: String,
}

/// A place that is like the text.
#[derive(Debug)]
pub(super) struct Near {
    /// Its first line, from 1.
    pub(super) line: u64,
    /// Its lines, as many as the text has.
    pub(super) text: String,
    /// From 0 to 1.
    pub(super) similarity: f64,
}

/// Looks for what `old` may have meant in `content`.
pub(super) fn nearest(content: &[u8], old: &[u8], new: &[u8]) -> Nearest {
    nearest_within(PATIENCE, content, old, new)
}

fn nearest_within(patience: Duration, content: &[u8], old: &[u8], new: &[u8]) -> Nearest {
    let content = &content[..content.len().min(SEARCHED_BYTES)];
    let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    let height = old.strip_suffix(b"\n").unwrap_or(old).split(|byte| *byte == b'\n').count();

    let with_ends = replace_line_ends(old);
    if memmem::find(old, b"\r\n").is_none() && memmem::find(content, &with_ends).is_some() {
        let hint = "the file has CRLF line ends: write \\r\\n for each line end in the text";
        return at(content, &lines, memmem::find(content, &with_ends), height, hint);
    }
    if let Some(found) = find_without_blanks(content, old) {
        let hint = "only white space differs (indentation, tabs, blanks, line ends): copy the text \
                    exactly as it is in the file";
        return at(content, &lines, Some(found), height, hint);
    }
    let mut hint = "read the file again and copy the text exactly".to_owned();
    if memmem::find(content, b"\r\n").is_some() && memmem::find(old, b"\r\n").is_none() {
        hint.push_str("; its lines end with CRLF");
    }
    if !new.is_empty() && memmem::find(content, new).is_some() {
        hint.push_str("; the replacement is there already: the edit may have been made before");
    }
    Nearest { lines: similar_places(patience, &lines, old, height), hint }
}

fn at(content: &[u8], lines: &[&[u8]], found: Option<usize>, height: usize, hint: &str) -> Nearest {
    let index = memchr::memchr_iter(b'\n', &content[..found.unwrap_or_default()]).count();
    Nearest { lines: vec![near(lines, index, height, 1.0)], hint: hint.to_owned() }
}

fn near(lines: &[&[u8]], index: usize, height: usize, similarity: f64) -> Near {
    let end = index.saturating_add(height.min(SHOWN_LINES)).min(lines.len());
    let shown: Vec<_> =
        lines[index..end].iter().map(|line| String::from_utf8_lossy(cut(line))).collect();
    Near { line: index as u64 + 1, text: shown.join("\n"), similarity }
}

fn cut(line: &[u8]) -> &[u8] {
    &line[..line.len().min(LINE_BYTES)]
}

fn replace_line_ends(old: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(old.len() + 16);
    for byte in old {
        if *byte == b'\n' {
            text.push(b'\r');
        }
        text.push(*byte);
    }
    text
}

/// Where the text is when white space does not count.
fn find_without_blanks(content: &[u8], old: &[u8]) -> Option<usize> {
    let squeeze = |text: &[u8]| -> Vec<u8> {
        text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
    };
    let sought = squeeze(old);
    if sought.is_empty() {
        return None;
    }
    let place = memmem::find(&squeeze(content), &sought)?;
    let mut visible = content.iter().enumerate().filter(|(_, byte)| !byte.is_ascii_whitespace());
    visible.nth(place).map(|(at, _)| at)
}

/// The places most like the text: by pairs of letters first, then letter by letter.
fn similar_places(patience: Duration, lines: &[&[u8]], old: &[u8], height: usize) -> Vec<Near> {
    let deadline = Instant::now() + patience;
    // The longest line says most about where the text should be.
    let sought: Vec<&[u8]> = old.split(|byte| *byte == b'\n').collect();
    let longest = sought.iter().enumerate().max_by_key(|(_, line)| line.trim_ascii().len());
    let Some((offset, anchor)) = longest else { return Vec::new() };
    let anchor = cut(anchor.trim_ascii());
    let pairs = pairs_of(anchor);

    let mut candidates: Vec<(f64, usize)> = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // The clock costs more than a line.
        if index % 1024 == 0 && Instant::now() > deadline {
            break;
        }
        let line = cut(line.trim_ascii());
        // So different a length cannot be like it.
        if line.len() * 4 < anchor.len() || line.is_empty() || index < offset {
            continue;
        }
        let others = pairs_of(line);
        let shared = pairs.intersection(&others).count();
        #[expect(clippy::cast_precision_loss, reason = "at most a few hundred")]
        let score = (2 * shared) as f64 / (pairs.len() + others.len()).max(1) as f64;
        candidates.push((score, index - offset));
        if candidates.len() >= 4 * CANDIDATES {
            keep_best(&mut candidates, CANDIDATES);
        }
    }
    keep_best(&mut candidates, CANDIDATES);

    let sought: Vec<u8> = join(&sought[..sought.len().min(height).min(SHOWN_LINES)]);
    let mut places: Vec<(f64, usize)> = Vec::new();
    for (_, index) in candidates {
        let end = (index + height.min(SHOWN_LINES)).min(lines.len());
        let place = join(&lines[index..end]);
        let until = Some(deadline.min(Instant::now() + patience / 8));
        let ops = capture_diff_slices_deadline(Algorithm::Myers, &sought, &place, until);
        let ratio = f64::from(get_diff_ratio(&ops, sought.len(), place.len()));
        if ratio >= LEAST {
            places.push((ratio, index));
        }
    }
    keep_best(&mut places, SHOWN);
    let rounded = |ratio: f64| (ratio * 100.0).round() / 100.0;
    places.into_iter().map(|(ratio, index)| near(lines, index, height, rounded(ratio))).collect()
}

fn join(lines: &[&[u8]]) -> Vec<u8> {
    lines.iter().map(|line| cut(line)).collect::<Vec<_>>().join(&b'\n')
}

fn keep_best(places: &mut Vec<(f64, usize)>, count: usize) {
    places.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    places.truncate(count);
}

fn pairs_of(line: &[u8]) -> BTreeSet<[u8; 2]> {
    line.windows(2).map(|pair| [pair[0], pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However slow the machine is.
    fn unhurried(content: &[u8], old: &[u8], new: &[u8]) -> Nearest {
        nearest_within(Duration::from_secs(3600), content, old, new)
    }

    #[test]
    fn line_ends_and_blanks_are_told_apart() {
        let found = unhurried(b"one\r\ntwo\r\n", b"one\ntwo\n", b"");
        assert!(found.hint.contains("CRLF"), "{found:?}");
        assert_eq!(found.lines[0].line, 1);
        let found = unhurried(b"x\n\tif  a {\n\t}\n", b"    if a {\n    }\n", b"");
        assert!(found.hint.contains("white space"), "{found:?}");
        assert_eq!((found.lines[0].line, found.lines[0].text.as_str()), (2, "\tif  a {\n\t}"));
    }

    #[test]
    fn an_edit_made_before_is_recognised() {
        let found = unhurried(b"fn new_name() {}\n", b"fn old_name() {}\n", b"fn new_name() {}\n");
        assert!(found.hint.contains("already"), "{found:?}");
        assert_eq!(found.lines[0].line, 1);
    }

    #[test]
    fn the_best_place_comes_first() {
        let text = (0..5000).map(|n| format!("    let value_{n} = compute({n});\n"));
        let text: String = text.collect();
        let found = unhurried(text.as_bytes(), b"let value_4321 = compute(4321, x);\n", b"");
        assert_eq!(found.lines[0].line, 4322, "{found:?}");
        assert!(found.lines.len() <= SHOWN);
    }

    #[test]
    fn nothing_like_it_is_said_to_be_nothing() {
        assert!(unhurried(b"abc\ndef\n", b"0123456789", b"").lines.is_empty());
        assert!(unhurried(b"", b"x", b"").lines.is_empty());
        assert!(unhurried(b"\n\n", b"\n\n\n", b"").lines.len() <= SHOWN);
    }

    #[test]
    fn large_files_take_bounded_time() {
        let start = Instant::now();
        let text = b"some line of text that is rather like it\n".repeat(400_000);
        nearest(&text, &b"some line of text which is rather like that\n".repeat(500), b"");
        nearest(&vec![b'x'; 16 << 20], &vec![b'y'; 8 << 20], b"");
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}
