//! Here-documents: what is data, and what the shell still expands.
//!
//! The grammar does not get to see them. It loses substitutions in their bodies, and a large body
//! would cost time for nothing: a quoted one is data.

use std::ops::Range;

use super::Refused;
use super::lexer::cut;

/// A here-document whose body begins with the next line.
#[derive(Debug)]
pub(crate) struct Pending {
    delimiter: String,
    tabs: bool,
    /// The body is data: nothing in it is expanded.
    pub(crate) quoted: bool,
}

/// Whether a here-document's operator is here, and not a here-string's.
pub(crate) fn begins(rest: &str) -> bool {
    rest.starts_with("<<") && !rest.starts_with("<<<")
}

/// Reads the operator and the delimiter; the second value is where they end.
pub(crate) fn operator(text: &str, at: usize) -> Result<(Pending, usize), Refused> {
    let refuse = |reason| Err(Refused::new("shell:heredoc", cut(&text[at..]), reason));
    let mut start = at + 2;
    let tabs = text[start..].starts_with('-');
    start += usize::from(tabs);
    start += text[start..].bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let length = text[start..].bytes().take_while(|byte| !b" \t\n;&|<>()".contains(byte)).count();
    let end = start + length;
    let raw = &text[start..end];
    let (word, quoted) = if let Some(inner) = raw.strip_prefix('\\') {
        (inner, true)
    } else {
        let inner = |quote| raw.strip_prefix(quote).and_then(|raw| raw.strip_suffix(quote));
        match inner('\'').or_else(|| inner('"')) {
            Some(inner) => (inner, true),
            None => (raw, false),
        }
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.!+".contains(&byte);
    if word.is_empty() || !word.bytes().all(plain) {
        return refuse("the here-document's delimiter is not a plain word");
    }
    Ok((Pending { delimiter: word.to_owned(), tabs, quoted }, end))
}

/// Reads the body that starts here; the second value is where what follows begins.
pub(crate) fn body(
    text: &str,
    start: usize,
    pending: &Pending,
) -> Result<(Range<usize>, usize), Refused> {
    let mut at = start;
    while at < text.len() {
        let end = text[at..].find('\n').map_or(text.len(), |length| at + length);
        let line = &text[at..end];
        let line = if pending.tabs { line.trim_start_matches('\t') } else { line };
        if line == pending.delimiter {
            return Ok((start..at, (end + 1).min(text.len())));
        }
        // The shell joins such a line with the next, which then cannot be the delimiter.
        if !pending.quoted && line.ends_with('\\') {
            break;
        }
        at = end + 1;
    }
    Err(endless())
}

pub(crate) fn endless() -> Refused {
    Refused::new("shell:heredoc", "<<", "the end of the here-document is not found")
}

#[cfg(test)]
mod tests {
    use super::super::lexer::lex;

    #[test]
    fn a_quoted_body_is_data_and_an_unquoted_one_is_kept() {
        let line = "cat <<'X' | grep a\n$(touch P)\nX\nls";
        let lexed = lex(line, &[]).unwrap();
        let words: Vec<_> = lexed.tokens.iter().map(|token| &line[token.span.clone()]).collect();
        assert_eq!(words, ["cat", "|", "grep", "a", "\n", "ls"]);
        assert!(lexed.expanded.is_empty());
        let line = "cat <<X && cat <<-\"Y\"\na `b`\nX\n\tq\n\tY\npwd\n";
        let lexed = lex(line, &[]).unwrap();
        assert_eq!(lexed.expanded.len(), 1);
        assert_eq!(&line[lexed.expanded[0].clone()], "a `b`\n");
    }

    #[test]
    fn a_quotation_over_lines_holds_no_here_document() {
        let lexed = lex("echo 'a\n<<X\nb' && ls", &[]).unwrap();
        assert!(lexed.blanks.is_empty());
    }

    #[test]
    fn a_here_document_in_a_substitution_is_part_of_its_word() {
        let line = "git commit -m \"$(cat <<'X'\nIt's (a message\nX\n)\"";
        assert_eq!(lex(line, &[]).unwrap().tokens.len(), 4);
    }

    #[test]
    fn what_has_no_end_or_a_strange_delimiter_is_refused() {
        for line in [
            "cat <<X\na\n",
            "cat <<\nX\n",
            "cat <<$x\n$x\n",
            "cat 3<<X\nX\n",
            "cat <<'a b'\na b\n",
            "cat <<X\na\\\nX\nls\nX\n",
        ] {
            assert!(lex(line, &[]).is_err(), "{line}");
        }
    }
}
