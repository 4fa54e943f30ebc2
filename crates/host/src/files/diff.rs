//! What changed between two contents, by lines.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use memchr::memchr_iter;
use similar::{Algorithm, DiffOp, DiffTag, capture_diff_slices_deadline, group_diff_ops};

/// Unchanged lines shown around a change, as `diff -u` does.
const CONTEXT: usize = 3;

/// After so long the best difference found so far is taken: still right, only not the smallest.
const PATIENCE: Duration = Duration::from_millis(500);

/// More changed lines than this on a side are not compared but shown as replaced as a whole: each
/// takes 16 bytes of memory, and a file may consist of line ends.
const MOST_LINES: usize = 1 << 20;

/// A change, told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) added: u64,
    pub(super) removed: u64,
    /// A unified diff; empty if nothing changed.
    pub(super) text: String,
}

/// How many lines a content has; a last one without line end counts.
pub(super) fn count_lines(content: &[u8]) -> u64 {
    let open = content.last().is_some_and(|last| *last != b'\n');
    memchr_iter(b'\n', content).count() as u64 + u64::from(open)
}

/// Lines added and lines removed.
pub(super) fn counts(old: &[u8], new: &[u8]) -> (u64, u64) {
    let (start, old_end, new_end) = common(old, new, 0);
    let (old, new) = (&old[start..old_end], &new[start..new_end]);
    let (Some(old_lines), Some(new_lines)) = (lines(old), lines(new)) else {
        return (count_lines(new), count_lines(old));
    };
    count(&compare(&old_lines, &new_lines))
}

/// The change as a unified diff of `a/path` and `b/path`.
pub(super) fn unified(old: &[u8], new: &[u8], path: &str) -> Change {
    let mut change = Change { added: 0, removed: 0, text: String::new() };
    if old == new {
        return change;
    }
    let (start, old_end, new_end) = common(old, new, CONTEXT);
    let before = memchr_iter(b'\n', &old[..start]).count();
    let (old, new) = (&old[start..old_end], &new[start..new_end]);
    let (old_lines, new_lines, ops) = match (lines(old), lines(new)) {
        (Some(old_lines), Some(new_lines)) => {
            let ops = compare(&old_lines, &new_lines);
            (old_lines, new_lines, ops)
        }
        _ => {
            let (removed, added) = (old.split_inclusive(is_end), new.split_inclusive(is_end));
            let (removed, added): (Vec<_>, Vec<_>) = (removed.collect(), added.collect());
            let (old_len, new_len) = (removed.len(), added.len());
            let op = DiffOp::Replace { old_index: 0, old_len, new_index: 0, new_len };
            (removed, added, vec![op])
        }
    };
    (change.added, change.removed) = count(&ops);
    // A line end in the name would begin a line of its own.
    let path = path.replace('\n', "\\n");
    let text = &mut change.text;
    let _ = write!(text, "--- a/{path}\n+++ b/{path}\n");
    for group in group_diff_ops(ops, CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let header = |range: &std::ops::Range<usize>| {
            // An empty range is named by the line before it.
            let line = before + range.start + usize::from(!range.is_empty());
            if range.len() == 1 { line.to_string() } else { format!("{line},{}", range.len()) }
        };
        let _ = writeln!(text, "@@ -{} +{} @@", header(&old_range), header(&new_range));
        for op in group {
            if op.tag() == DiffTag::Equal {
                old_lines[op.old_range()].iter().for_each(|line| show(text, ' ', line));
            } else {
                old_lines[op.old_range()].iter().for_each(|line| show(text, '-', line));
                new_lines[op.new_range()].iter().for_each(|line| show(text, '+', line));
            }
        }
    }
    change
}

fn show(text: &mut String, sign: char, line: &[u8]) {
    text.push(sign);
    text.push_str(&String::from_utf8_lossy(line));
    if line.last() != Some(&b'\n') {
        text.push_str("\n\\ No newline at end of file\n");
    }
}

fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

/// The lines of a content, if they are not too many to compare.
fn lines(content: &[u8]) -> Option<Vec<&[u8]>> {
    (count_lines(content) <= MOST_LINES as u64).then(|| content.split_inclusive(is_end).collect())
}

fn compare<'a>(old: &[&'a [u8]], new: &[&'a [u8]]) -> Vec<DiffOp> {
    let deadline = Some(Instant::now() + PATIENCE);
    capture_diff_slices_deadline(Algorithm::Myers, old, new, deadline)
}

/// Added and removed.
fn count(ops: &[DiffOp]) -> (u64, u64) {
    let changed = ops.iter().filter(|op| op.tag() != DiffTag::Equal);
    changed.fold((0, 0), |(added, removed), op| {
        (added + op.new_range().len() as u64, removed + op.old_range().len() as u64)
    })
}

/// Cuts off the whole lines that both begin with and end with, all but `context` of them. Returns
/// where the rest starts, and where it ends in each.
fn common(old: &[u8], new: &[u8], context: usize) -> (usize, usize, usize) {
    let same = same_prefix(old, new);
    let mut start = line_start(old, same);
    let both_end = same == old.len() && same == new.len();
    let most = old.len().min(new.len()) - start;
    let same = if both_end { 0 } else { same_suffix(&old[start..], &new[start..]).min(most) };
    // A line belongs to the end only if it begins in it, on both sides.
    let (old_tail, new_tail) = (old.len() - same, new.len() - same);
    let begins = |content: &[u8], at: usize| at == start || content[at - 1] == b'\n';
    let mut tail = if begins(old, old_tail) && begins(new, new_tail) {
        same
    } else {
        memchr::memchr(b'\n', &old[old_tail..]).map_or(0, |at| same - at - 1)
    };
    for _ in 0..context {
        start = line_start(old, start.saturating_sub(1));
        let end = &old[old.len() - tail..];
        tail = memchr::memchr(b'\n', end).map_or(0, |at| tail - at - 1);
    }
    (start, old.len() - tail, new.len() - tail)
}

/// The start of the line that the byte at `at` belongs to, or would.
fn line_start(content: &[u8], at: usize) -> usize {
    memchr::memrchr(b'\n', &content[..at]).map_or(0, |end| end + 1)
}

fn same_prefix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 4096;
    let whole = a.chunks(STEP).zip(b.chunks(STEP)).take_while(|(a, b)| a == b);
    let from: usize = whole.map(|(a, _)| a.len()).sum();
    let rest = a[from..].iter().zip(&b[from..]);
    from + rest.take_while(|(a, b)| a == b).count()
}

fn same_suffix(a: &[u8], b: &[u8]) -> usize {
    const STEP: usize = 4096;
    let whole = a.rchunks(STEP).zip(b.rchunks(STEP)).take_while(|(a, b)| a == b);
    let from: usize = whole.map(|(a, _)| a.len()).sum();
    let rest = a[..a.len() - from].iter().rev().zip(b[..b.len() - from].iter().rev());
    from + rest.take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Applies a unified diff, strictly.
    fn patch(old: &str, diff: &str) -> String {
        let old: Vec<&str> = old.split_inclusive('\n').collect();
        let (mut at, mut new) = (0, String::new());
        let mut lines = diff.split_inclusive('\n').skip(2).peekable();
        while let Some(line) = lines.next() {
            if let Some(header) = line.strip_prefix("@@ -") {
                let range = header.split(' ').next().unwrap();
                let (start, count) = range.split_once(',').unwrap_or((range, "1"));
                let start = start.parse::<usize>().unwrap() - usize::from(count != "0");
                new.extend(old[at..start].iter().copied());
                at = start;
                continue;
            }
            let (sign, mut text) = line.split_at(1);
            if lines.peek().is_some_and(|next| next.starts_with('\\')) {
                lines.next();
                text = text.strip_suffix('\n').unwrap();
            }
            if sign != "+" {
                assert_eq!(old[at], text);
                at += 1;
            }
            if sign != "-" {
                new.push_str(text);
            }
        }
        new.extend(old[at..].iter().copied());
        new
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn a_diff_leads_from_old_to_new(
            head in "(x\n){0,6}", old in "[ab\n]{0,12}", new in "[ab\n]{0,12}", tail in "\n?(y\n){0,6}y?",
        ) {
            let (old, new) = (format!("{head}{old}{tail}"), format!("{head}{new}{tail}"));
            let change = unified(old.as_bytes(), new.as_bytes(), "f");
            prop_assert_eq!(patch(&old, &change.text), new.clone());
            let signed = |sign| {
                let lines = change.text.lines().skip(2);
                lines.filter(|line| line.starts_with(sign)).count() as u64
            };
            prop_assert_eq!((change.added, change.removed), (signed('+'), signed('-')));
            prop_assert_eq!(counts(old.as_bytes(), new.as_bytes()), (change.added, change.removed));
            let grown = count_lines(new.as_bytes()) + change.removed;
            prop_assert_eq!(grown, count_lines(old.as_bytes()) + change.added);
        }
    }

    #[test]
    fn a_small_change_in_a_large_file_is_a_small_diff() {
        let old = "line\n".repeat(1 << 20);
        let mut new = old.clone();
        new.replace_range(2_500_000..2_500_004, "LINE");
        let change = unified(old.as_bytes(), new.as_bytes(), "f");
        let want = "--- a/f\n+++ b/f\n@@ -499998,7 +499998,7 @@\n line\n line\n line\n-line\n+LINE\n \
                    line\n line\n line\n";
        assert_eq!(change.text, want);
    }

    #[test]
    fn the_largest_files_are_compared_in_bounded_time() {
        let old = "\n".repeat(32 << 20);
        let start = Instant::now();
        let new = format!("x{}x", &old[2..]);
        assert!(counts(old.as_bytes(), new.as_bytes()).0 > 0);
        let old: String = (0..400_000).map(|n| format!("{n}\n")).collect();
        let new: String = (0..400_000).rev().map(|n| format!("{n}\n")).collect();
        assert!(unified(old.as_bytes(), new.as_bytes(), "f").added > 0);
        assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    }
}
