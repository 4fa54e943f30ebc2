//! Turning a request's pattern into a matcher, as ripgrep does.

use grep_regex::{Error, ErrorKind, RegexMatcher, RegexMatcherBuilder};
use stigmer_core::search::{CaseRule, GrepSearch};
use stigmer_core::{ByteString, ErrorCode, Result, ToolError, limits};

use super::walk::check_length;

/// # Errors
/// `bad_regex` with the engine's reason, `invalid_argument` for a pattern that is too long.
pub(super) fn matcher(request: &GrepSearch) -> Result<RegexMatcher> {
    check_length("pattern", request.pattern.len())?;
    let mut builder = RegexMatcherBuilder::new();
    // ripgrep's defaults (`crates/core/flags/hiargs.rs`, `matcher_rust`). Its own limit for the
    // lazy DFA is 1 GB a thread; one thread may take no more than the regular expression itself.
    builder
        .multi_line(true)
        .unicode(true)
        .octal(false)
        .line_terminator(Some(b'\n'))
        .dot_matches_new_line(false)
        .ban_byte(Some(b'\0'))
        .size_limit(limits::MAX_REGEX_BYTES)
        .dfa_size_limit(limits::MAX_REGEX_BYTES);
    match request.case {
        CaseRule::Sensitive => builder.case_insensitive(false),
        CaseRule::Insensitive => builder.case_insensitive(true),
        CaseRule::Smart => builder.case_smart(true),
    };
    let built = match (request.literal, request.pattern.as_str()) {
        (true, Some(literal)) => builder.fixed_strings(true).build_many(&[literal]),
        (true, None) => builder.build(&escape(&request.pattern)),
        (false, Some(regex)) => builder.build(regex),
        (false, None) => {
            return Err(ToolError::new(ErrorCode::BadRegex, "the pattern is no UTF-8")
                .with_hint(r"write other bytes as `(?-u:\xFF)`, or search for a literal"));
        }
    };
    built.map_err(|error| bad_regex(request, &error))
}

fn bad_regex(request: &GrepSearch, error: &Error) -> ToolError {
    let hint = match error.kind() {
        ErrorKind::NotAllowed(_) => "matches lie in one line: search for a part without line end",
        ErrorKind::Banned(_) => "files with NUL bytes are binary and not searched beyond the first",
        _ if request.literal => "search for a shorter text",
        _ => "ask for a literal search to take the pattern as it stands",
    };
    ToolError::new(ErrorCode::BadRegex, format!("the pattern cannot be used: {error}"))
        .with_detail("pattern", request.pattern.to_string_lossy())
        .with_hint(hint)
}

/// A regular expression for bytes of which some are no UTF-8; ripgrep's command line cannot take
/// such a literal, but file contents can hold it.
fn escape(literal: &ByteString) -> String {
    let mut regex = String::with_capacity(literal.len() * 2);
    for chunk in literal.as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            // The characters that have a meaning (`regex_syntax::is_meta_character`).
            if r"\.+*?()|[]{}^$#&-~".contains(character) {
                regex.push('\\');
            }
            regex.push(character);
        }
        for byte in chunk.invalid() {
            regex.push_str(&format!(r"(?-u:\x{byte:02X})"));
        }
    }
    regex
}

#[cfg(test)]
mod tests {
    use grep_matcher::Matcher as _;

    use super::*;

    fn request(pattern: impl Into<ByteString>) -> GrepSearch {
        GrepSearch { pattern: pattern.into(), ..GrepSearch::default() }
    }

    #[test]
    fn a_literal_is_taken_as_it_stands_even_if_it_is_no_text() {
        for literal in [&b"a.*(b)"[..], b"\xff\xfe[x]", b"caf\xe9.", "π≈3.14\\".as_bytes()] {
            let request = GrepSearch { literal: true, ..request(literal) };
            let matcher = matcher(&request).unwrap();
            let text = [b"<<", literal, b">>"].concat();
            let found = matcher.find(&text).unwrap().unwrap();
            assert_eq!(&text[found.start()..found.end()], literal);
            assert!(matcher.find(b"aXX(b) \xff\xfdx caf\xe9X").unwrap().is_none());
        }
    }

    #[test]
    fn a_bad_pattern_is_refused_with_the_engines_reason() {
        for (pattern, reason) in [
            (&b"a("[..], "unclosed group"),
            (b"a\nb", "not allowed in a regex"),
            (b"a\\x00", "impossible to match"),
            (b"(?:\\w{900}){900}", "size limit"),
            (b"a\xff", "no UTF-8"),
        ] {
            let error = matcher(&request(pattern)).unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRegex, "{error}");
            assert!(error.message.contains(reason), "{error}");
            assert!(error.hint.is_some());
        }
        let long = matcher(&request(vec![b'a'; limits::MAX_PATTERN_BYTES + 1])).unwrap_err();
        assert_eq!(long.code, ErrorCode::InvalidArgument);
        assert!(matcher(&request(vec![b'a'; limits::MAX_PATTERN_BYTES])).is_ok());
    }
}
