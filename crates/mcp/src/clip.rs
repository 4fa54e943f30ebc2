//! Keeping answers as short as an agent can read.

use stigmer_core::ByteString;

/// The longest line that a search shows: one of minified code would drown all others.
pub(crate) const MAX_LINE_BYTES: usize = 1_000;

/// The most text that one answer holds, about ten thousand tokens: clients cut off or refuse what is
/// much longer (Claude Code at 25,000 tokens), and cut it without saying where the rest is.
pub(crate) const MAX_TEXT_BYTES: usize = 32 << 10;

/// How many of these bytes can be had so that no character is cut in two: `limit`, or up to three
/// less.
pub(crate) fn boundary(bytes: &[u8], limit: usize) -> usize {
    if bytes.len() <= limit {
        return bytes.len();
    }
    let continues = |at: usize| bytes[at] & 0xc0 == 0x80;
    // What is longer than a character can be is no text, and is cut anywhere.
    (limit.saturating_sub(3)..=limit).rev().find(|at| !continues(*at)).unwrap_or(limit)
}

/// How many bytes at the end are the beginning of a character that has not come yet.
pub(crate) fn unfinished(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(4)..];
    match std::str::from_utf8(tail) {
        Ok(_) => 0,
        // Without a length there is more to come; what precedes may be half of another character.
        Err(error) if error.error_len().is_none() => tail.len() - error.valid_up_to(),
        Err(_) => (1..=3.min(tail.len()))
            .find(|length| {
                let last = &tail[tail.len() - length..];
                std::str::from_utf8(last)
                    .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
            })
            .unwrap_or(0),
    }
}

/// A line as a search shows it.
pub(crate) fn line(line: &ByteString) -> String {
    let bytes = line.as_bytes();
    let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
    let end = boundary(bytes, MAX_LINE_BYTES);
    let text = String::from_utf8_lossy(&bytes[..end]);
    match bytes.len() - end {
        0 => text.into_owned(),
        more => format!("{text}… ({more} bytes more)"),
    }
}

/// A long text up to a limit, and whether that is all.
pub(crate) fn text(text: &str, limit: usize) -> (String, bool) {
    let end = boundary(text.as_bytes(), limit);
    (text[..end].to_owned(), end == text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_character_is_cut_in_two(whole in "\\PC{0,200}", limit in 4..100usize) {
            let end = boundary(whole.as_bytes(), limit);
            prop_assert!(whole.is_char_boundary(end) && end <= limit.max(whole.len().min(limit)));
            prop_assert!(end + 4 > limit.min(whole.len()));
            let cut = limit.min(whole.len());
            let bytes = &whole.as_bytes()[..cut];
            let rest = unfinished(bytes);
            prop_assert!(std::str::from_utf8(&bytes[..cut - rest]).is_ok());
            prop_assert!(rest < 4);
        }

        #[test]
        fn any_bytes_can_be_cut(whole in proptest::collection::vec(any::<u8>(), 0..50), limit in 4..60usize) {
            let end = boundary(&whole, limit);
            prop_assert!(end <= whole.len() && end + 4 > limit.min(whole.len()));
            prop_assert!(unfinished(&whole) < 4);
        }
    }
}
