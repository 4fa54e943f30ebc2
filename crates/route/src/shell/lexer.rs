//! Tokens, after the shell's own lexical rules.
//!
//! The grammar's tree says how a command is built; this says where its words begin and end. Two
//! readers that were written apart seldom share a mistake, so a word on which they disagree is not
//! understood.

use std::ops::Range;

use super::Refused;
use super::heredoc::{self, Pending};

/// How deep substitutions and quotes may nest. Deeper is hostile, and would use up the stack.
pub(crate) const MOST_NESTING: usize = 32;

/// Unquoted brackets in one word. No pattern needs more, and the grammar's scanner looks for the end
/// of each through the rest of the text.
const MOST_BRACKETS: usize = 32;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A word, quotes and expansions included.
    Word,
    /// `;`, `&`, `&&`, `|`, parentheses and so on.
    Control,
    /// A redirection's operator, with the number of a descriptor if one is there.
    Redirect,
    /// An end of line.
    Newline,
}

/// A piece of the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What it is.
    pub(crate) kind: Kind,
    /// Where it is.
    pub(crate) span: Range<usize>,
}

/// A line, read.
#[derive(Debug, Default)]
pub(crate) struct Lexed {
    /// Its tokens, in order, without here-documents.
    pub(crate) tokens: Vec<Token>,
    /// Here-documents, their operators included: nothing that the grammar needs to see.
    pub(crate) blanks: Vec<Range<usize>>,
    /// Bodies of here-documents in which the shell expands variables and substitutions.
    pub(crate) expanded: Vec<Range<usize>>,
}

/// Reads a line. `skip` are spans that follow other rules (`[[ … ]]`, `(( … ))`): each becomes one
/// word.
pub(crate) fn lex(text: &str, skip: &[Range<usize>]) -> Result<Lexed, Refused> {
    let bytes = text.as_bytes();
    let mut lexed = Lexed::default();
    let mut pending = Vec::new();
    let mut skip = skip.iter().peekable();
    let mut at = 0;
    while at < bytes.len() {
        while skip.next_if(|span| span.start < at).is_some() {}
        if let Some(span) = skip.next_if(|span| span.start == at) {
            lexed.tokens.push(Token { kind: Kind::Word, span: span.clone() });
            at = span.end;
            continue;
        }
        let start = at;
        match bytes[at] {
            b' ' | b'\t' => at += 1,
            b'\\' if bytes.get(at + 1) == Some(&b'\n') => {
                continued(text, at, false)?;
                at += 2;
            }
            b'#' => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'<' if heredoc::begins(&text[at..]) => {
                let (found, end) = heredoc::operator(text, at)?;
                pending.push(found);
                lexed.blanks.push(start..end);
                at = end;
            }
            b'\n' => {
                at += 1;
                lexed.tokens.push(Token { kind: Kind::Newline, span: start..at });
                let bodies = at;
                for heredoc in pending.drain(..) {
                    let (body, after) = heredoc::body(text, at, &heredoc)?;
                    if !heredoc.quoted {
                        lexed.expanded.push(body);
                    }
                    at = after;
                }
                if at > bodies {
                    lexed.blanks.push(bodies..at);
                }
            }
            _ => {
                let kind = token(text, &mut at)?;
                lexed.tokens.push(Token { kind, span: start..at });
            }
        }
    }
    match pending.first() {
        None => Ok(lexed),
        Some(Pending { .. }) => Err(heredoc::endless()),
    }
}

/// Past one token that is neither blank nor an end of line.
fn token(text: &str, at: &mut usize) -> Result<Kind, Refused> {
    let bytes = text.as_bytes();
    let start = *at;
    match bytes[start] {
        b'<' | b'>' if bytes.get(start + 1) != Some(&b'(') => {
            *at += redirect_length(&bytes[start..]);
            return Ok(Kind::Redirect);
        }
        b'&' if bytes.get(start + 1) == Some(&b'>') => {
            *at += if bytes.get(start + 2) == Some(&b'>') { 3 } else { 2 };
            return Ok(Kind::Redirect);
        }
        b';' | b'&' | b'|' | b'(' | b')' => {
            *at += control_length(&bytes[start..]);
            return Ok(Kind::Control);
        }
        _ => {}
    }
    *at = word_end(text, start)?;
    let end = *at;
    if !matches!(bytes.get(end), Some(b'<' | b'>')) || bytes.get(end + 1) == Some(&b'(') {
        return Ok(Kind::Word);
    }
    let refused = |reason: &str| Err(Refused::new("shell:redirect", cut(&text[start..]), reason));
    if bytes[start] == b'{' && bytes[end - 1] == b'}' {
        return refused("a descriptor that the shell chooses is not followed");
    }
    if !bytes[start..end].iter().all(u8::is_ascii_digit) {
        return Ok(Kind::Word);
    }
    if heredoc::begins(&text[end..]) {
        return refused("a here-document on a descriptor of its own is not followed");
    }
    *at += redirect_length(&bytes[end..]);
    Ok(Kind::Redirect)
}

fn control_length(rest: &[u8]) -> usize {
    for operator in [";;&", "&&", "||", "|&", ";;", ";&"] {
        if rest.starts_with(operator.as_bytes()) {
            return operator.len();
        }
    }
    1
}

fn redirect_length(rest: &[u8]) -> usize {
    for operator in ["<<<", "<&", "<>", ">>", ">&", ">|"] {
        if rest.starts_with(operator.as_bytes()) {
            return operator.len();
        }
    }
    1
}

/// Where the word that starts here ends.
fn word_end(text: &str, mut at: usize) -> Result<usize, Refused> {
    let bytes = text.as_bytes();
    let start = at;
    let mut brackets = 0;
    while at < bytes.len() {
        brackets += usize::from(bytes[at] == b'[');
        if brackets > MOST_BRACKETS {
            let reason = "there are too many brackets in one word";
            return Err(Refused::new("shell:pattern", cut(&text[start..]), reason));
        }
        match bytes[at] {
            b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b')' => break,
            b'(' => break,
            b'<' | b'>' if bytes.get(at + 1) == Some(&b'(') && at == start => {
                at = parenthesis_end(text, at + 2, 0)?;
            }
            b'<' | b'>' => break,
            _ => at = step(text, at, false, 0)?,
        }
    }
    Ok(at)
}

/// The words of `[[ … ]]`, in which only blanks separate: a pattern may hold any other character.
pub(crate) fn bracket_words(text: &str) -> Result<Vec<&str>, Refused> {
    let refuse = || Refused::new("shell:test", cut(text), "this test is not understood");
    let inner = text.strip_prefix("[[").and_then(|text| text.strip_suffix("]]"));
    let inner = inner.ok_or_else(refuse)?;
    let mut words = Vec::new();
    let mut at = 0;
    while at < inner.len() {
        if matches!(inner.as_bytes()[at], b' ' | b'\t') {
            at += 1;
            continue;
        }
        let start = at;
        while at < inner.len() && !matches!(inner.as_bytes()[at], b' ' | b'\t') {
            // Where a command ends, the test has not been one.
            if matches!(inner.as_bytes()[at], b'\n' | b';') {
                return Err(refuse());
            }
            at = step(inner, at, false, 0)?;
        }
        words.push(&inner[start..at]);
    }
    Ok(words)
}

/// Past one character, quotation or expansion. `quoted` is inside double quotes.
fn step(text: &str, at: usize, quoted: bool, depth: usize) -> Result<usize, Refused> {
    let bytes = text.as_bytes();
    let unfinished = |what: &str| {
        Refused::new("shell:syntax", cut(&text[at..]), format!("{what} is not closed"))
    };
    if depth > MOST_NESTING {
        return Err(Refused::new("shell:nesting", cut(&text[at..]), "nested too deeply"));
    }
    match bytes[at] {
        b'\\' => {
            if bytes.get(at + 1) == Some(&b'\n') {
                continued(text, at, quoted)?;
            }
            let next = text[at + 1..].chars().next().ok_or_else(|| unfinished("an escape"))?;
            Ok(at + 1 + next.len_utf8())
        }
        b'\'' if !quoted => {
            let end = text[at + 1..].find('\'').ok_or_else(|| unfinished("a quotation"))?;
            Ok(at + 1 + end + 1)
        }
        b'"' if !quoted => double_quote_end(text, at + 1, depth + 1),
        b'`' => backquote_end(text, at + 1),
        b'$' => match bytes.get(at + 1) {
            Some(b'\'') if !quoted => {
                let mut at = at + 2;
                loop {
                    match bytes.get(at) {
                        Some(b'\'') => return Ok(at + 1),
                        Some(b'\\') if at + 1 < bytes.len() => {
                            let next = text[at + 1..].chars().next().map_or(1, char::len_utf8);
                            at += 1 + next;
                        }
                        Some(_) => at += 1,
                        None => return Err(unfinished("a quotation")),
                    }
                }
            }
            Some(b'(') if bytes.get(at + 2) == Some(&b'(') => arithmetic_end(text, at + 3),
            Some(b'(') => parenthesis_end(text, at + 2, depth + 1),
            Some(b'{') => brace_end(text, at + 2, depth + 1),
            Some(b'[') => {
                let reason = "the old form of arithmetic is not followed";
                Err(Refused::new("shell:expansion", cut(&text[at..]), reason))
            }
            _ => Ok(at + 1),
        },
        _ => Ok(at + text[at..].chars().next().map_or(1, char::len_utf8)),
    }
}

/// The shell removes the end of a continued line before all else: `$`, such an end and `(…)` are a
/// substitution. Where it stands alone it only separates words.
fn continued(text: &str, at: usize, quoted: bool) -> Result<(), Refused> {
    match text[..at].bytes().next_back() {
        None | Some(b' ' | b'\t' | b'\n') => Ok(()),
        Some(before) if quoted && before != b'$' => Ok(()),
        Some(_) => {
            let reason = "a line is continued in the middle of a word";
            Err(Refused::new("shell:continuation", cut(&text[at..]), reason))
        }
    }
}

/// Past the closing quote of what is in double quotes.
pub(crate) fn double_quote_end(text: &str, mut at: usize, depth: usize) -> Result<usize, Refused> {
    let start = at;
    while at < text.len() {
        if text.as_bytes()[at] == b'"' {
            return Ok(at + 1);
        }
        at = step(text, at, true, depth)?;
    }
    Err(Refused::new("shell:syntax", cut(&text[start..]), "a quotation is not closed"))
}

/// Past the backquote that closes a substitution.
pub(crate) fn backquote_end(text: &str, mut at: usize) -> Result<usize, Refused> {
    let start = at;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'`' => return Ok(at + 1),
            b'\\' if at + 1 < text.len() => {
                at += 1 + text[at + 1..].chars().next().map_or(1, char::len_utf8);
            }
            _ => at += 1,
        }
    }
    Err(Refused::new("shell:syntax", cut(&text[start..]), "a substitution is not closed"))
}

/// Past the parenthesis that closes a substitution. What is inside is read again by itself, so that
/// a `case` in it, whose patterns end in a parenthesis, shows there as text that makes no sense.
pub(crate) fn parenthesis_end(text: &str, mut at: usize, depth: usize) -> Result<usize, Refused> {
    let bytes = text.as_bytes();
    let start = at;
    let mut open = 1;
    // A comment may hold a parenthesis or a quote; it begins where a word could.
    let mut fresh = true;
    let mut pending = Vec::new();
    while at < bytes.len() {
        match bytes[at] {
            b')' => {
                open -= 1;
                at += 1;
                fresh = true;
                if open == 0 {
                    return if pending.is_empty() { Ok(at) } else { Err(heredoc::endless()) };
                }
            }
            b'(' => {
                open += 1;
                at += 1;
                fresh = true;
            }
            b'#' if fresh => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
            }
            b'<' if heredoc::begins(&text[at..]) => {
                let (found, end) = heredoc::operator(text, at)?;
                pending.push(found);
                at = end;
            }
            b'\n' if !pending.is_empty() => {
                at += 1;
                for heredoc in pending.drain(..) {
                    (_, at) = heredoc::body(text, at, &heredoc)?;
                }
                fresh = true;
            }
            b'<' if text[at..].starts_with("<<<") => {
                at += 3;
                fresh = true;
            }
            byte => {
                fresh = matches!(byte, b' ' | b'\t' | b'\n' | b';' | b'&' | b'|' | b'<' | b'>');
                at = step(text, at, false, depth)?;
            }
        }
    }
    Err(Refused::new("shell:syntax", cut(&text[start..]), "a substitution is not closed"))
}

/// Past the `))` of an arithmetic expansion. Only what cannot be anything else is taken: a
/// subshell in a substitution begins with the same characters.
pub(crate) fn arithmetic_end(text: &str, mut at: usize) -> Result<usize, Refused> {
    let bytes = text.as_bytes();
    let start = at;
    let mut open = 0_usize;
    while at < bytes.len() {
        match bytes[at] {
            b')' if open > 0 => open -= 1,
            b')' if bytes.get(at + 1) == Some(&b')') => return Ok(at + 2),
            b'(' => open += 1,
            byte if byte.is_ascii_alphanumeric() || b"_ \t+-*/%<>=!&|^~?:,${}#".contains(&byte) => {
            }
            _ => break,
        }
        at += 1;
    }
    Err(Refused::new("shell:arithmetic", cut(&text[start..]), "this arithmetic is not understood"))
}

/// Past the brace that closes a parameter's expansion.
pub(crate) fn brace_end(text: &str, mut at: usize, depth: usize) -> Result<usize, Refused> {
    let start = at;
    while at < text.len() {
        match text.as_bytes()[at] {
            b'}' => return Ok(at + 1),
            // Which quotes count in here depends on the quotes around it: not worth the risk.
            b'\'' | b'"' | b'`' | b'\\' | b'\n' => break,
            _ => at = step(text, at, true, depth)?,
        }
    }
    Err(Refused::new("shell:expansion", cut(&text[start..]), "this expansion is not understood"))
}

/// The beginning of a text, for messages.
pub(crate) fn cut(text: &str) -> &str {
    let end = text.char_indices().nth(40).map_or(text.len(), |(at, _)| at);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(text: &str) -> Vec<&str> {
        lex(text, &[]).unwrap().tokens.into_iter().map(|token| &text[token.span]).collect()
    }

    #[test]
    fn a_line_falls_into_the_tokens_that_the_shell_sees() {
        for (line, expected) in [
            ("ls -la", vec!["ls", "-la"]),
            ("a;b&&c|d&", vec!["a", ";", "b", "&&", "c", "|", "d", "&"]),
            ("echo a#b # c", vec!["echo", "a#b"]),
            ("ls>out 2>&1", vec!["ls", ">", "out", "2>&", "1"]),
            ("ls 2 >x", vec!["ls", "2", ">", "x"]),
            ("a2>x", vec!["a2", ">", "x"]),
            ("echo \"a $(ls \"b c\") d\"e", vec!["echo", "\"a $(ls \"b c\") d\"e"]),
            ("diff <(ls a) <(ls b)", vec!["diff", "<(ls a)", "<(ls b)"]),
            ("echo $((1+(2))) $'a\\'b'", vec!["echo", "$((1+(2)))", "$'a\\'b'"]),
            ("echo a\\ b 'c d'", vec!["echo", "a\\ b", "'c d'"]),
            ("x &>> y", vec!["x", "&>>", "y"]),
            ("cat <<< \"$x\"", vec!["cat", "<<<", "\"$x\""]),
            ("ls \\\n -l", vec!["ls", "-l"]),
        ] {
            assert_eq!(spans(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for line in ["echo 'a", "echo \"a", "echo $(a", "echo `a", "echo ${a", "echo $((a", "a\\"] {
            assert!(lex(line, &[]).is_err(), "{line}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let line = format!("echo {}", "\"$(".repeat(5_000));
        assert!(lex(&line, &[]).is_err());
    }
}
