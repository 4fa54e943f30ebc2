//! Patterns in which `*` stands for any bytes.

/// Whether `text` is what `pattern` describes, ASCII letters in either case being the same if `fold`.
fn fits(pattern: &[u8], text: &[u8], fold: bool) -> bool {
    let same = |a: u8, b: u8| if fold { a.eq_ignore_ascii_case(&b) } else { a == b };
    let (mut p, mut t) = (0, 0);
    // Where the last star was, and where what it stands for ends. Going back to the last one only is
    // enough, and takes no more than the product of the two lengths.
    let mut star = None;
    while t < text.len() {
        if pattern.get(p) == Some(&b'*') {
            star = Some((p, t));
            p += 1;
        } else if pattern.get(p).is_some_and(|letter| same(*letter, text[t])) {
            p += 1;
            t += 1;
        } else if let Some((at, end)) = star {
            star = Some((at, end + 1));
            p = at + 1;
            t = end + 1;
        } else {
            return false;
        }
    }
    pattern[p..].iter().all(|letter| *letter == b'*')
}

/// Whether a path is what a pattern describes.
pub(crate) fn path_fits(pattern: &str, path: &[u8]) -> bool {
    fits(pattern.as_bytes(), path, false)
}

/// Whether the name of a variable is what a pattern describes; case does not count.
pub(crate) fn name_fits(pattern: &str, name: &[u8]) -> bool {
    fits(pattern.as_bytes(), name, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything_and_nothing() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "abc", true),
            ("a*", "a", true),
            ("a*", "ba", false),
            ("*a", "ba", true),
            ("*a", "ab", false),
            ("*ab*", "xaabx", true),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
            ("*/.git/*", "/w/.git/objects/a", true),
        ] {
            assert_eq!(path_fits(pattern, text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn case_counts_in_paths_and_not_in_names() {
        assert!(name_fits("*TOKEN", b"gh_token"));
        assert!(!path_fits("*TOKEN", b"gh_token"));
    }
}
