//! From the text of a word to what a program would get.

use crate::shell::Refused;
use crate::shell::lexer::cut;
use crate::shell::word::{self, Part, is_digits};

use super::state::State;
use super::word::{Piece, Word};
use super::{Judge, MOST_EXPANDED};

/// More words from one word's braces are no convenience any more.
const MOST_WORDS: usize = 64;

/// Nor are more braces in one word.
const MOST_BRACES: usize = 32;

impl Judge<'_> {
    /// Expands a word. Substitutions in it are judged on the way.
    pub(super) fn expand(&mut self, raw: &str, state: &State) -> Result<Vec<Word>, Refused> {
        let parts = word::parts(raw)?;
        let braces_open = parts.iter().filter(|part| **part == Part::Brace('{')).count();
        if braces_open > MOST_BRACES {
            return Err(Refused::new("shell:braces", cut(raw), "there are too many braces"));
        }
        let mut words = Vec::new();
        for parts in braces(parts).ok_or_else(|| {
            Refused::new("shell:braces", cut(raw), "these braces are not understood")
        })? {
            let word = self.resolve(parts, state);
            // Nothing without quotes is no word: the second of `{a,}`.
            if !word.pieces.is_empty() || word.many {
                words.push(word);
            }
        }
        self.note_words(&words);
        Ok(words)
    }

    /// Expands where neither braces nor names of files are: a value that is assigned, a
    /// redirection's target.
    pub(super) fn expand_one(&mut self, raw: &str, state: &State) -> Result<Word, Refused> {
        let word = self.resolve(word::parts(raw)?, state);
        self.note_words(std::slice::from_ref(&word));
        Ok(word)
    }

    /// What the shell does in the body of a here-document.
    pub(super) fn here_document(&mut self, body: &str, state: &State) {
        match word::quoted_parts(body) {
            Ok(parts) => {
                let word = self.resolve(parts, state);
                self.note_words(&[word]);
            }
            Err(refused) => self.refuse(refused),
        }
    }

    /// Remembers whether a secret's name has been said: whoever reads a file whose name comes from
    /// elsewhere may mean it.
    pub(super) fn note_words(&mut self, words: &[Word]) {
        for word in words {
            let shown = word.show();
            self.expanded += shown.len();
            self.words += 1;
            if self.expanded > MOST_EXPANDED || self.words > super::MOST_WORDS {
                return self.exhaust("");
            }
            if self.secret.is_some() {
                continue;
            }
            // The separators of lists and options as well; all are ASCII, and no part of a letter.
            let separates = |byte: &u8| b" \n\t:='\";()".contains(byte);
            let mut names =
                shown.as_bytes().split(separates).filter_map(|name| str::from_utf8(name).ok());
            let credentials = self.policy.credentials();
            let searched = is_searched_for(&shown);
            if let Some(found) =
                names.find(|name| credentials.hold(name) && !(searched && name.contains(".*")))
            {
                self.secret = Some(found.to_owned());
            }
        }
    }

    fn resolve(&mut self, parts: Vec<Part>, state: &State) -> Word {
        let mut word = Word { pieces: Vec::new(), many: false };
        let mut parts = parts.into_iter().peekable();
        while let Some(part) = parts.next() {
            match part {
                Part::Text(text) => word.push(Piece::Text(text)),
                Part::Brace(character) => word.push(Piece::Text(character.to_string())),
                Part::Glob(character) => {
                    word.push(Piece::Glob(character));
                    word.many = true;
                }
                Part::Tilde(name) => {
                    let home = self.facts.home.as_deref().and_then(|home| home.to_str());
                    word.push(match home {
                        Some(home) if name.is_empty() => Piece::Text(home.to_owned()),
                        _ => Piece::Any,
                    });
                }
                Part::Variable { name, quoted } => self.variable(&name, quoted, state, &mut word),
                Part::Derived { quoted, .. } => {
                    word.push(Piece::Any);
                    word.many |= !quoted;
                }
                Part::Beginning { name, quoted } => {
                    // Nothing may be left of it, and a `/` after it would lead to the top.
                    let alone = match parts.peek() {
                        None => true,
                        Some(Part::Text(text)) => !text.starts_with('/'),
                        Some(_) => false,
                    };
                    word.push(match (quoted && alone, state.get(&name).map(Vec::as_slice)) {
                        // The beginning of a path that leads nowhere but down does so, too.
                        (true, Some([Piece::Below, rest @ ..])) if is_plain_name(rest) => {
                            Piece::Below
                        }
                        _ => Piece::Any,
                    });
                    word.many |= !quoted;
                }
                Part::Integer => word.push(Piece::Integer),
                Part::Arithmetic(text) => {
                    self.arithmetic(&text, state);
                    word.push(Piece::Integer);
                }
                Part::Output { script, quoted } => {
                    let mut inner = state.clone();
                    self.script(&script, &mut inner);
                    match &state.directories[..] {
                        [directory] if quoted && script.trim() == "pwd" => {
                            word.push(Piece::Text(directory.to_string_lossy().into_owned()));
                        }
                        _ => {
                            word.push(if is_count(&script) { Piece::Integer } else { Piece::Any });
                            word.many |= !quoted;
                        }
                    }
                }
                Part::Pipe { script } => {
                    let mut inner = state.clone();
                    self.script(&script, &mut inner);
                    word.push(Piece::Text("/dev/fd/63".to_owned()));
                }
            }
        }
        // Empty quotes count only where nothing else is.
        if word.pieces.len() > 1 {
            word.pieces.retain(|piece| !matches!(piece, Piece::Text(text) if text.is_empty()));
        }
        word
    }

    fn variable(&mut self, name: &str, quoted: bool, state: &State, word: &mut Word) {
        let text = |path: &std::path::Path| path.to_str().map(|path| Piece::Text(path.to_owned()));
        let known = match (state.get(name), name, &state.directories[..]) {
            (Some(pieces), ..) => pieces.clone(),
            (None, "HOME", _) => self.facts.home.as_deref().and_then(text).into_iter().collect(),
            (None, "PWD", [directory]) => text(directory).into_iter().collect(),
            _ => Vec::new(),
        };
        if known.is_empty() {
            word.push(Piece::Any);
            word.many |= !quoted;
            return;
        }
        for piece in known {
            match piece {
                // Without quotes a value is taken apart at blanks, and its patterns count.
                Piece::Text(text) if !quoted && text.contains([' ', '\t', '\n', '*', '?', '[']) => {
                    word.push(Piece::Any);
                    word.many = true;
                }
                Piece::Text(text) if !quoted && text.is_empty() => word.many = true,
                Piece::Below | Piece::Any | Piece::Glob(_) if !quoted => {
                    word.push(Piece::Any);
                    word.many = true;
                }
                // A pattern in quotes is no pattern.
                Piece::Glob(character) => word.push(Piece::Text(character.to_string())),
                piece => word.push(piece),
            }
        }
    }
}

/// Whether what follows the unknown part of a name is text without another directory.
fn is_plain_name(pieces: &[Piece]) -> bool {
    pieces.iter().all(|piece| matches!(piece, Piece::Text(text) if !text.contains('/')))
}

/// Whether a script prints nothing but numbers: `seq 1 5`.
fn is_count(script: &str) -> bool {
    let mut words = script.split_whitespace();
    words.next() == Some("seq") && words.all(is_digits)
}

/// Braces are expanded before all else, as text: `{$x,}y` is `$xy` and `y`, and `{~,x}` is a home
/// directory. Only where nothing new can come together are they followed.
fn is_plain(parts: &[Part]) -> bool {
    let meets = parts.windows(2).any(|pair| match pair {
        [Part::Text(text), Part::Brace(_)] => text.ends_with('$'),
        [Part::Variable { quoted: false, .. }, Part::Brace(_)] => true,
        _ => false,
    });
    let tilde = |part: &Part| match part {
        Part::Text(text) => text.starts_with('~'),
        Part::Tilde(_) => true,
        _ => false,
    };
    let pairs = parts.contains(&Part::Brace(','));
    !(pairs && (meets || parts.iter().any(tilde)))
}

/// Whether a word looks like what is searched for and not like the name of a file: then its `.*` is no
/// pattern of the shell. The last are what excludes hidden files.
fn is_searched_for(word: &str) -> bool {
    word.contains([' ', '^', '$', '\\', '(', '|', '+'])
        || matches!(word, "*/.*" | "./.*" | "**/.*" | "*/.*/*" | "./.*/*")
}

/// Expands the braces of a word. `None` if they are too many or nest.
fn braces(parts: Vec<Part>) -> Option<Vec<Vec<Part>>> {
    let Some(open) = parts.iter().position(|part| *part == Part::Brace('{')) else {
        return Some(vec![parts]);
    };
    let rest = &parts[open + 1..];
    let Some(close) = rest.iter().position(|part| *part == Part::Brace('}')) else {
        return Some(vec![parts]);
    };
    let inner = &rest[..close];
    if !is_plain(&parts) {
        return None;
    }
    if inner.contains(&Part::Brace('{')) {
        return None;
    }
    let mut alternatives: Vec<Vec<Part>> = Vec::new();
    if inner.contains(&Part::Brace(',')) {
        alternatives.extend(inner.split(|part| *part == Part::Brace(',')).map(<[Part]>::to_vec));
    } else if let [Part::Text(text)] = inner
        && let Some((first, last)) = text.split_once("..")
    {
        let number = |text: &str| is_digits(text.strip_prefix('-').unwrap_or(text));
        if !number(first) || !number(last) {
            return None;
        }
        // As many words as there are numbers, all of one kind.
        alternatives.push(vec![Part::Integer]);
        alternatives.push(vec![Part::Integer]);
    } else if inner.iter().all(|part| matches!(part, Part::Text(text) if !text.contains(".."))) {
        // `{}` and `{x}` are text, unless a later brace makes a pair with the first.
        if rest[close + 1..].contains(&Part::Brace('}')) {
            return None;
        }
        let mut literal = parts[..open].to_vec();
        literal.push(Part::Text("{".to_owned()));
        literal.extend_from_slice(inner);
        literal.push(Part::Text("}".to_owned()));
        let after = braces(rest[close + 1..].to_vec())?;
        return Some(after.into_iter().map(|after| [literal.clone(), after].concat()).collect());
    } else {
        return None;
    }
    let after = braces(rest[close + 1..].to_vec())?;
    if alternatives.len() * after.len() > MOST_WORDS {
        return None;
    }
    let mut words = Vec::new();
    for alternative in &alternatives {
        for after in &after {
            words.push([&parts[..open], alternative, after].concat());
        }
    }
    Some(words)
}
