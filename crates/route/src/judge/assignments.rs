//! Variables that are set, and what that may do to the programs that see them.

use crate::shell::Refused;
use crate::shell::word::{is_digits, is_name};

use super::state::State;
use super::word::{Piece, Word};
use super::{By, Judge};

const RULE: &str = "shell:assignment";

/// Variables that shells keep as numbers: what is assigned to one is evaluated, and the commands in its
/// subscripts run. Which they are differs between shells and their versions.
const COUNTED: &[&str] = &[
    "RANDOM",
    "SRANDOM",
    "SECONDS",
    "LINENO",
    "OPTIND",
    "HISTCMD",
    "HISTSIZE",
    "SAVEHIST",
    "EPOCHSECONDS",
    "EPOCHREALTIME",
    "BASHPID",
    "PPID",
    "UID",
    "EUID",
    "COLUMNS",
    "LINES",
    "MAILCHECK",
    "KEYTIMEOUT",
    "LISTMAX",
    "FUNCNEST",
    "ERRNO",
    "TTYIDLE",
    "SHLVL",
];

impl Judge<'_> {
    /// A command's words as they are written: assignments, then the command.
    pub(super) fn words(&mut self, raw: &[&str], state: &mut State) -> Result<(), Refused> {
        let assignments = raw.iter().take_while(|word| split(word).is_some()).count();
        let (assignments, words) = raw.split_at(assignments);
        let before = state.clone();
        // `IFS= read` is the usual way to read a line as it is, and ends with that command.
        let reads = words.first() == Some(&"read");
        for raw in assignments {
            let Some((name, appends, value)) = split(raw) else { continue };
            let value = self.expand_one(value, state)?;
            if !(name == "IFS" && reads) {
                self.assignment_allowed(name, Some(&value), !words.is_empty());
            }
            if appends {
                state.forget(name);
            } else {
                state.set(name, without_patterns(value.pieces));
            }
        }
        if words.is_empty() {
            state.succeeded = None;
            return Ok(());
        }
        // The command's own words do not see them.
        *state = before;
        let mut expanded: Vec<Word> = Vec::new();
        for raw in words {
            match self.expand(raw, state) {
                Ok(words) => expanded.extend(words),
                // What else the command says of itself is still worth knowing.
                Err(refused) => {
                    self.refuse(refused);
                    expanded.push(Word::anything(true));
                }
            }
        }
        self.first_word(words[0], &expanded);
        self.command(&expanded, By::Shell, state);
        Ok(())
    }

    /// A word that is special to the shell is no command's name: where one is found, the line has
    /// been read in another way than the shell's.
    fn first_word(&mut self, raw: &str, expanded: &[Word]) {
        const KEYWORDS: &[&str] = &[
            "if", "then", "else", "elif", "fi", "do", "done", "case", "esac", "while", "until",
            "for", "select", "in", "function", "coproc", "{", "}", "!", "[[", "]]",
        ];
        if KEYWORDS.contains(&raw) {
            self.sandbox("shell:syntax", raw, "a keyword where a command should be");
        } else if expanded.is_empty() {
            self.sandbox("shell:command", raw, "which program runs is not known");
        }
    }

    /// Whether a variable may be set. `exported` is when programs see it in any case; others are
    /// seen only if the caller's environment has them.
    pub(super) fn assignment_allowed(&mut self, name: &str, value: Option<&Word>, exported: bool) {
        let lists = self.policy.lists();
        let exact = value.and_then(Word::exact);
        let number = exact.is_some_and(is_digits)
            || value.is_some_and(|value| value.pieces == [Piece::Integer]);
        if COUNTED.contains(&name) && !number {
            return self.sandbox(RULE, name, "the shell evaluates what is assigned to it");
        }
        let harmless = lists.harmless_variables.iter().any(|known| match known.split_once('=') {
            Some((known, only)) => known == name && exact == Some(only),
            None => known == name,
        });
        let named = exact.is_some_and(|text| {
            lists.harmless_variables.iter().any(|known| known.split_once('=') == Some((name, text)))
        });
        let plain =
            named || exact.is_none_or(|text| !text.starts_with([':', '/']) && !text.contains(".."));
        if harmless && plain && value.is_none_or(|value| !value.pieces.contains(&Piece::Any)) {
            return;
        }
        let influential = &lists.influential_variables;
        if influential.iter().any(|pattern| matches(pattern, name)) || (harmless && !plain) {
            self.sandbox(RULE, name, "this variable decides what programs load, run or reach");
        } else if exported {
            self.workspace(RULE, name, "what programs make of this variable is not known");
        }
    }
}

/// `NAME=value` or `NAME+=value`.
pub(super) fn split(raw: &str) -> Option<(&str, bool, &str)> {
    let (name, value) = raw.split_once('=')?;
    let plain = name.strip_suffix('+').unwrap_or(name);
    is_name(plain).then_some((plain, plain.len() < name.len(), value))
}

/// Names with at most one `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

/// A value is not expanded to names of files when it is assigned, but perhaps when it is used.
fn without_patterns(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut word = Word { pieces: Vec::new(), many: false };
    for piece in pieces {
        word.push(match piece {
            Piece::Glob(character) => Piece::Text(character.to_string()),
            piece => piece,
        });
    }
    if word.pieces.is_empty() {
        word.push(Piece::Text(String::new()));
    }
    word.pieces
}
