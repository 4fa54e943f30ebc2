//! Replacements applied to bytes. Pure: no file is touched.

use memchr::memmem;
use stigmer_core::file::Edit;

/// How many places of a text that is not unique are named.
const NAMED_PLACES: usize = 20;

/// The outcome of all edits.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) content: Vec<u8>,
    /// How many places each edit replaced.
    pub(super) occurrences: Vec<u64>,
}

/// Why an edit cannot be applied; `index` is its number, from 0.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The text to replace is empty.
    Empty { index: usize },
    /// The text to replace is its own replacement.
    Identical { index: usize },
    /// It does not occur; `content` is what it was sought in.
    NotFound { index: usize, content: Vec<u8> },
    /// It occurs more than once, in these lines (from 1), and perhaps in more.
    NotUnique { index: usize, lines: Vec<u64>, more: bool },
    /// The result would have so many bytes.
    TooLarge { size: u64 },
}

/// Applies edits in order, each on the result of the one before it.
pub(super) fn apply(content: &[u8], edits: &[Edit], most: u64) -> Result<Applied, Box<Problem>> {
    // What is wrong with the request itself is told before anything is sought.
    for (index, edit) in edits.iter().enumerate() {
        if edit.old.is_empty() {
            return Err(Problem::Empty { index }.into());
        }
        if edit.old == edit.new {
            return Err(Problem::Identical { index }.into());
        }
    }
    let mut content = content.to_vec();
    let mut occurrences = Vec::with_capacity(edits.len());
    for (index, edit) in edits.iter().enumerate() {
        let (old, new) = (edit.old.as_bytes(), edit.new.as_bytes());
        let finder = memmem::Finder::new(old);
        let Some(first) = finder.find(&content) else {
            return Err(Problem::NotFound { index, content }.into());
        };
        if !edit.replace_all {
            // From the next byte on: the text may overlap itself, and then it is not unique either.
            if finder.find(&content[first + 1..]).is_some() {
                let (lines, more) = lines_of(&content, &finder);
                return Err(Problem::NotUnique { index, lines, more }.into());
            }
            check(content.len(), 1, old.len(), new.len(), most)?;
            content.splice(first..first + old.len(), new.iter().copied());
            occurrences.push(1);
            continue;
        }
        let count = finder.find_iter(&content).count();
        let size = check(content.len(), count, old.len(), new.len(), most)?;
        let mut next = Vec::with_capacity(size);
        let mut from = 0;
        for at in finder.find_iter(&content) {
            next.extend_from_slice(&content[from..at]);
            next.extend_from_slice(new);
            from = at + old.len();
        }
        next.extend_from_slice(&content[from..]);
        content = next;
        occurrences.push(count as u64);
    }
    Ok(Applied { content, occurrences })
}

/// The size of a result, before memory is asked for it.
fn check(
    size: usize,
    count: usize,
    old: usize,
    new: usize,
    most: u64,
) -> Result<usize, Box<Problem>> {
    // Cannot be negative: `count` times `old` bytes are in the content.
    let size = new.saturating_mul(count).saturating_add(size - old * count);
    if size as u64 > most { Err(Problem::TooLarge { size: size as u64 }.into()) } else { Ok(size) }
}

fn lines_of(content: &[u8], finder: &memmem::Finder<'_>) -> (Vec<u64>, bool) {
    let mut lines = Vec::new();
    let (mut from, mut line) = (0, 1_u64);
    while let Some(at) = finder.find(&content[from..]) {
        if lines.len() == NAMED_PLACES {
            return (lines, true);
        }
        line += memchr::memchr_iter(b'\n', &content[from..from + at]).count() as u64;
        lines.push(line);
        from += at + 1;
        line += u64::from(content[from - 1] == b'\n');
    }
    (lines, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edit(old: &str, new: &str, replace_all: bool) -> Edit {
        Edit { old: old.into(), new: new.into(), replace_all }
    }

    fn go(content: &str, edits: &[Edit]) -> Result<String, Problem> {
        apply(content.as_bytes(), edits, 100)
            .map(|applied| String::from_utf8(applied.content).unwrap())
            .map_err(|problem| *problem)
    }

    proptest! {
        #[test]
        fn replacing_all_is_what_the_standard_library_does(
            text in "[ab\n]{0,30}", old in "[ab\n]{1,3}", new in "[abc]{0,3}",
        ) {
            prop_assume!(old != new);
            let want = text.contains(&old).then(|| text.replace(&old, &new));
            prop_assert_eq!(go(&text, &[edit(&old, &new, true)]).ok(), want);
        }

        #[test]
        fn one_place_is_replaced_only_if_it_is_the_only_one(
            text in "[ab]{0,20}", old in "[ab]{1,4}",
        ) {
            let places = (0..text.len()).filter(|at| text[*at..].starts_with(&old)).count();
            match go(&text, &[edit(&old, "c", false)]) {
                Ok(got) => {
                    prop_assert_eq!(places, 1);
                    prop_assert_eq!(got, text.replacen(&old, "c", 1));
                }
                Err(Problem::NotFound { .. }) => prop_assert_eq!(places, 0),
                Err(Problem::NotUnique { lines, more, .. }) => {
                    prop_assert_eq!((lines.len(), more), (places, false));
                }
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn lines_are_counted_from_one(before in "[x\n]{0,20}", between in "[x\n]{0,20}") {
            let text = format!("{before}old{between}old");
            let count = |text: &str| 1 + text.matches('\n').count() as u64;
            let lines = vec![count(&before), count(&before) + count(&between) - 1];
            let problem = go(&text, &[edit("old", "new", false)]).unwrap_err();
            prop_assert_eq!(problem, Problem::NotUnique { index: 0, lines, more: false });
        }
    }

    #[test]
    fn a_result_that_is_too_large_is_not_built() {
        let bomb: Vec<Edit> = (0..64).map(|_| edit("a", "aa", true)).collect();
        assert_eq!(go("a", &bomb), Err(Problem::TooLarge { size: 128 }));
    }

    #[test]
    fn many_places_are_not_all_named() {
        let problem = go(&"a".repeat(50), &[edit("a", "b", false)]).unwrap_err();
        assert_eq!(problem, Problem::NotUnique { index: 0, lines: vec![1; 20], more: true });
    }
}
