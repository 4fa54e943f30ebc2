//! Words, taken apart: what is text, what is a pattern, and what is only known when it runs.

use super::Refused;
use super::lexer::{self, cut};

/// Parts of one word, the body of a here-document being one. A text with more is made by a program.
const MOST_PARTS: usize = 1_000;

/// A part of a word, before anything is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Text, quotes and escapes removed.
    Text(String),
    /// An unquoted character of a pattern: `*`, `?`, `[`.
    Glob(char),
    /// An unquoted `{`, `,` or `}`, which may belong to a brace expansion.
    Brace(char),
    /// An unquoted `~` at the beginning, and the name after it.
    Tilde(String),
    /// A variable's value as it is.
    Variable { name: String, quoted: bool },
    /// Something of a variable that is not followed: a default, a part, an element.
    Derived { name: String, quoted: bool },
    /// A variable's value without an ending that is plain text.
    Beginning { name: String, quoted: bool },
    /// A whole number that is not known.
    Integer,
    /// What a script prints.
    Output { script: String, quoted: bool },
    /// The name of a pipe to a script.
    Pipe { script: String },
    /// A calculation's result.
    Arithmetic(String),
}

/// Takes a word apart.
pub(crate) fn parts(raw: &str) -> Result<Vec<Part>, Refused> {
    let mut reader = Reader { text: raw, at: 0, parts: Vec::new() };
    if let Some(rest) = raw.strip_prefix('~') {
        let name = rest.bytes().take_while(|byte| *byte != b'/').count();
        let name = &rest[..name];
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte);
        if name.bytes().all(plain) {
            reader.parts.push(Part::Tilde(name.to_owned()));
            reader.at = 1 + name.len();
        }
    }
    while reader.at < raw.len() {
        reader.bearable()?;
        reader.unquoted()?;
    }
    Ok(reader.parts)
}

/// Takes apart what is expanded as in double quotes: the body of a here-document.
pub(crate) fn quoted_parts(raw: &str) -> Result<Vec<Part>, Refused> {
    let mut reader = Reader { text: raw, at: 0, parts: Vec::new() };
    while reader.at < raw.len() {
        reader.bearable()?;
        reader.quoted(false)?;
    }
    Ok(reader.parts)
}

/// Whether a text is a variable's name.
pub(crate) fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    parts: Vec<Part>,
}

impl Reader<'_> {
    fn bearable(&self) -> Result<(), Refused> {
        if self.parts.len() <= MOST_PARTS {
            return Ok(());
        }
        let reason = "there are too many expansions in one word";
        Err(Refused::new("shell:length", cut(self.text), reason))
    }

    fn next(&self) -> char {
        self.text[self.at..].chars().next().unwrap_or('\0')
    }

    fn push(&mut self, character: char) {
        if let Some(Part::Text(text)) = self.parts.last_mut() {
            text.push(character);
        } else {
            self.parts.push(Part::Text(character.to_string()));
        }
    }

    /// An empty text, so that `''` is a word and not nothing.
    fn touch(&mut self) {
        if !matches!(self.parts.last(), Some(Part::Text(_))) {
            self.parts.push(Part::Text(String::new()));
        }
    }

    fn unquoted(&mut self) -> Result<(), Refused> {
        let next = self.next();
        match next {
            '\'' => {
                let rest = &self.text[self.at + 1..];
                let end = rest.find('\'').unwrap_or(rest.len());
                self.touch();
                rest[..end].chars().for_each(|character| self.push(character));
                self.at += end + 2;
            }
            '"' => {
                self.at += 1;
                self.touch();
                while self.at < self.text.len() && self.next() != '"' {
                    self.bearable()?;
                    self.quoted(true)?;
                }
                self.at += 1;
            }
            '\\' => {
                self.at += 1;
                let escaped = self.next();
                self.at += escaped.len_utf8();
                if escaped != '\n' {
                    self.push(escaped);
                }
            }
            '$' if self.text[self.at..].starts_with("$'") => self.ansi()?,
            '$' if self.text[self.at..].starts_with("$\"") => {
                return Err(self.refuse("a translated text is not followed"));
            }
            '$' | '`' => self.expansion(false)?,
            '<' | '>' if self.text[self.at + 1..].starts_with('(') => {
                let end = lexer::parenthesis_end(self.text, self.at + 2, 0)?;
                let script = self.text[self.at + 2..end - 1].to_owned();
                self.parts.push(Part::Pipe { script });
                self.at = end;
            }
            '[' if !self.text[self.at..].contains(']') => {
                self.push(next);
                self.at += 1;
            }
            '*' | '?' | '[' => {
                self.parts.push(Part::Glob(next));
                self.at += 1;
            }
            '{' | ',' | '}' => {
                self.parts.push(Part::Brace(next));
                self.at += 1;
            }
            _ => {
                self.push(next);
                self.at += next.len_utf8();
            }
        }
        Ok(())
    }

    /// Inside double quotes, or in a here-document, where a quote is a character as others.
    fn quoted(&mut self, quotes: bool) -> Result<(), Refused> {
        let next = self.next();
        match next {
            '\\' => {
                self.at += 1;
                let escaped = self.next();
                match escaped {
                    '\n' => {}
                    '$' | '`' | '\\' => self.push(escaped),
                    '"' if quotes => self.push(escaped),
                    _ => {
                        self.push('\\');
                        if escaped != '\0' {
                            self.push(escaped);
                        }
                    }
                }
                self.at = (self.at + escaped.len_utf8()).min(self.text.len());
            }
            '$' | '`' => self.expansion(true)?,
            // All of what follows that is text: bodies of here-documents are long.
            _ => {
                let rest = &self.text[self.at..];
                let first = next.len_utf8();
                let end = rest[first..].find(['\\', '$', '`', '"']);
                let run = &rest[..end.map_or(rest.len(), |end| first + end)];
                self.touch();
                if let Some(Part::Text(text)) = self.parts.last_mut() {
                    text.push_str(run);
                }
                self.at += run.len();
            }
        }
        Ok(())
    }

    fn refuse(&self, reason: &str) -> Refused {
        Refused::new("shell:expansion", cut(&self.text[self.at..]), reason)
    }

    /// `$…` and backquotes.
    fn expansion(&mut self, quoted: bool) -> Result<(), Refused> {
        let rest = &self.text[self.at..];
        if rest.starts_with('`') {
            let end = lexer::backquote_end(self.text, self.at + 1)?;
            let inner = &self.text[self.at + 1..end - 1];
            if inner.contains('\\') {
                return Err(self.refuse("escapes between backquotes are not followed"));
            }
            self.parts.push(Part::Output { script: inner.to_owned(), quoted });
            self.at = end;
        } else if rest.starts_with("$((") {
            let end = lexer::arithmetic_end(self.text, self.at + 3)?;
            self.parts.push(Part::Arithmetic(self.text[self.at + 3..end - 2].to_owned()));
            self.at = end;
        } else if rest.starts_with("$(") {
            let end = lexer::parenthesis_end(self.text, self.at + 2, 0)?;
            let script = self.text[self.at + 2..end - 1].to_owned();
            self.parts.push(Part::Output { script, quoted });
            self.at = end;
        } else if rest.starts_with("${") {
            let end = lexer::brace_end(self.text, self.at + 2, 0)?;
            let part = self.parameter(&self.text[self.at + 2..end - 1], quoted)?;
            self.parts.push(part);
            self.at = end;
        } else if rest.starts_with("$[") {
            return Err(self.refuse("the old form of arithmetic is not followed"));
        } else {
            self.at += 1;
            let rest = &self.text[self.at..];
            let first = rest.chars().next().unwrap_or('\0');
            if first.is_ascii_alphabetic() || first == '_' {
                let name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
                let length = rest.bytes().take_while(name).count();
                let name = rest[..length].to_owned();
                self.parts.push(Part::Variable { name, quoted });
                self.at += length;
            } else if "?#$!".contains(first) && first != '\0' {
                self.parts.push(Part::Integer);
                self.at += 1;
            } else if "@*-".contains(first) || first.is_ascii_digit() {
                // Several words even in quotes.
                self.parts.push(Part::Derived { name: first.to_string(), quoted: false });
                self.at += 1;
            } else {
                self.push('$');
            }
        }
        Ok(())
    }

    /// What is in `${…}`.
    fn parameter(&self, inner: &str, quoted: bool) -> Result<Part, Refused> {
        let refuse = || self.refuse("this expansion is not understood");
        if let Some(name) = inner.strip_prefix('#') {
            let name = name.strip_suffix("[@]").or(name.strip_suffix("[*]")).unwrap_or(name);
            return if is_name(name) { Ok(Part::Integer) } else { Err(refuse()) };
        }
        let special = |first: &u8| b"@*?$!-".contains(first) || first.is_ascii_digit();
        let length = match inner.as_bytes().first() {
            Some(first) if special(first) => 1,
            _ => inner.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count(),
        };
        let (name, rest) = inner.split_at(length);
        if !is_name(name) {
            let derived = Part::Derived { name: name.to_owned(), quoted: false };
            return if rest.is_empty() && length == 1 { Ok(derived) } else { Err(refuse()) };
        }
        let name = name.to_owned();
        if rest.is_empty() {
            return Ok(Part::Variable { name, quoted });
        }
        if let Some(index) = rest.strip_prefix('[') {
            let whole = matches!(index, "@]" | "*]");
            let one = index.strip_suffix(']').is_some_and(is_digits);
            return match whole || one {
                true => Ok(Part::Derived { name, quoted: quoted && one }),
                false => Err(refuse()),
            };
        }
        // Assigning (`=`), prompting (`@P`) and stopping (`?`) forms are not among them; an offset
        // is arithmetic and has to be a number.
        let operators =
            [":-", ":+", "-", "+", "##", "#", "%%", "%", "//", "/", "^^", "^", ",,", ","];
        let known = operators.iter().any(|operator| rest.starts_with(operator));
        let substring = rest.strip_prefix(':').is_some_and(|offsets| {
            offsets.split(':').all(|offset| is_digits(offset.trim().trim_start_matches('-')))
        });
        let code = ["$(", "`", "<(", ">(", "$["].iter().any(|code| rest.contains(code));
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let ending = rest.strip_prefix("%%").or(rest.strip_prefix('%'));
        if ending.is_some_and(|ending| ending.bytes().all(plain)) {
            Ok(Part::Beginning { name, quoted })
        } else if (known || substring) && !code {
            Ok(Part::Derived { name, quoted })
        } else {
            Err(refuse())
        }
    }

    /// `$'…'`, with escapes as in C.
    fn ansi(&mut self) -> Result<(), Refused> {
        self.touch();
        self.at += 2;
        loop {
            let next = self.next();
            self.at += next.len_utf8();
            match next {
                '\'' => return Ok(()),
                '\\' => {
                    let character = self.escape()?;
                    self.push(character);
                }
                '\0' => return Err(self.refuse("a quotation is not closed")),
                _ => self.push(next),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Refused> {
        let kind = self.next();
        let simple = match kind {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'a' => '\x07',
            'b' => '\x08',
            'e' | 'E' => '\x1b',
            'f' => '\x0c',
            'v' => '\x0b',
            '\\' | '\'' | '"' | '?' => kind,
            _ => '\0',
        };
        if simple != '\0' {
            self.at += 1;
            return Ok(simple);
        }
        let (prefix, most, radix) = match kind {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => return Err(self.refuse("this escape is not understood")),
        };
        let digits = &self.text[self.at + prefix..];
        let length =
            digits.bytes().take(most).take_while(|b| char::from(*b).is_digit(radix)).count();
        let value = u32::from_str_radix(&digits[..length], radix).unwrap_or(0);
        // A zero ends the text early, and a byte above ASCII makes half a character.
        let character = char::from_u32(value).filter(|_| value != 0 && (value < 128 || most > 3));
        let character = character.ok_or_else(|| self.refuse("this escape is not understood"))?;
        self.at += prefix + length;
        Ok(character)
    }
}

/// Whether a text is a number without a sign.
pub(crate) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
