//! Commands of the shell itself that change what follows, and its tests.

use crate::path;
use crate::rules::Kind;
use crate::shell::lexer;
use crate::shell::word::{is_digits, is_name};

use super::Judge;
use super::assignments::split;
use super::state::State;
use super::word::{Piece, Word};

/// Options of `set` that neither define nor export anything.
const SET: &[&str] = &[
    "-e", "-u", "-x", "-f", "-v", "+e", "+u", "+x", "+f", "+v", "-eu", "-ex", "-ux", "-eux",
    "-euo", "-eo", "-uo", "-o", "+o", "-xe", "-xeuo", "-euxo", "-exo", "-exuo", "pipefail",
    "errexit", "nounset", "xtrace", "noglob",
];

/// Options of `shopt` that are about patterns.
const SHOPT: &[&str] = &[
    "-s",
    "-u",
    "globstar",
    "nullglob",
    "failglob",
    "dotglob",
    "nocaseglob",
    "extglob",
    "nocasematch",
];

/// Commands of the shell's own that are judged here: what they change is followed.
pub(super) const FOLLOWED: &[&str] = &[
    "cd", "chdir", "export", "declare", "typeset", "local", "readonly", "unset", "set", "shopt",
    "read", "test", "[", "eval", "source", ".", "kill", "pushd", "popd",
];

impl Judge<'_> {
    /// Judges a command of the shell's own; `false` if it is none of them.
    pub(super) fn builtin(&mut self, name: &str, words: &[Word], state: &mut State) -> bool {
        let rest = &words[1..];
        match name {
            "cd" | "chdir" => self.cd(rest, state),
            "pushd" => match rest {
                [word] if word.exact().is_some_and(|text| !text.starts_with(['-', '+'])) => {
                    self.cd(rest, state);
                }
                _ => self.sandbox(name, name, "one directory is expected"),
            },
            "popd" if rest.is_empty() => {
                self.moved = true;
                state.change_directory(None);
            }
            "popd" => self.sandbox(name, name, "no argument is expected"),
            "export" | "declare" | "typeset" | "local" | "readonly" => {
                self.declare(name, rest, state);
            }
            "unset" => {
                for word in rest {
                    match word.exact() {
                        Some("-v") => {}
                        Some(variable) if is_name(variable) => {
                            self.assignment_allowed(variable, None, false);
                            state.forget(variable);
                        }
                        _ => self.sandbox("unset", &word.show(), "this is not a plain name"),
                    }
                }
            }
            "set" => self.switches(name, rest, SET),
            "shopt" => self.switches(name, rest, SHOPT),
            "read" => self.read(rest, state),
            "test" | "[" => self.test(rest),
            "eval" => match rest.iter().map(Word::exact).collect::<Option<Vec<_>>>() {
                Some(texts) => {
                    // Its parts may be separated where quotes were.
                    let text = texts.join(" ");
                    self.script(&text, state);
                }
                None => self.sandbox("eval", "eval", "what it runs is not known"),
            },
            "source" | "." => self.source(rest, state),
            "kill" => self.kill(rest),
            _ => return false,
        }
        self.accept(name, name);
        true
    }

    fn switches(&mut self, name: &str, words: &[Word], known: &[&str]) {
        for word in words {
            if !word.exact().is_some_and(|text| known.contains(&text)) {
                self.sandbox(name, &word.show(), "what this changes is not followed");
            }
        }
    }

    fn cd(&mut self, words: &[Word], state: &mut State) {
        self.moved = true;
        let mut words =
            words.iter().filter(|word| !matches!(word.exact(), Some("--" | "-P" | "-L" | "-e")));
        let to = match (words.next(), words.next()) {
            (None, _) => self.facts.home.clone().map(|home| vec![home]),
            (Some(word), None) => match word.exact() {
                Some("-") | Some("") => None,
                Some(text) if text.len() > path::MOST_PATH => None,
                Some(text) if text.starts_with('/') => {
                    Some(vec![path::resolve(std::path::Path::new("/"), text)])
                }
                Some(text) if !state.directories.is_empty() => {
                    let from = state.directories.iter();
                    Some(from.map(|from| path::resolve(from, text)).collect())
                }
                _ => None,
            },
            _ => return self.sandbox("cd", "cd", "one directory is expected"),
        };
        state.change_directory(to);
    }

    fn declare(&mut self, name: &str, words: &[Word], state: &mut State) {
        let export = |word: &Word| word.exact().is_some_and(|text| text.starts_with('-'));
        let exported =
            name == "export" || words.iter().any(|word| export(word) && word.start().contains('x'));
        for word in words {
            let text = word.start();
            if let (Some(option), Some(_)) = (text.strip_prefix('-'), word.exact()) {
                // `-n` makes a name stand for another, `-i` evaluates, `-f` is about functions.
                if !option.bytes().all(|letter| b"xrgaAp-".contains(&letter)) {
                    self.sandbox(name, text, "what this changes is not followed");
                }
                continue;
            }
            if let Some((variable, appends, _)) = split(text) {
                let value = word.after(text.find('=').map_or(0, |at| at + 1));
                self.assignment_allowed(variable, Some(&value), exported);
                if appends || value.many {
                    state.forget(variable);
                } else {
                    state.set(variable, value.pieces);
                }
            } else if word.exact().is_some_and(is_name) {
                self.assignment_allowed(text, None, exported);
                if name != "export" {
                    state.forget(text);
                }
            } else {
                self.sandbox(name, &word.show(), "this is not a plain name");
            }
        }
    }

    fn read(&mut self, words: &[Word], state: &mut State) {
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let Some(text) = word.exact() else {
                self.sandbox("read", &word.show(), "which variable it sets is not known");
                return;
            };
            if let Some(options) = text.strip_prefix('-') {
                let Some(last) = options.chars().last() else { continue };
                let flags = &options[..options.len() - last.len_utf8()];
                let known = flags.chars().all(|flag| "rs".contains(flag));
                let valued = "dntNpu".contains(last);
                if !known || !(valued || "rsa".contains(last)) {
                    self.sandbox("read", text, "this option is not known");
                } else if valued {
                    words.next();
                }
            } else if is_name(text) {
                self.assignment_allowed(text, None, false);
                state.forget(text);
            } else {
                self.sandbox("read", text, "this is not a plain name");
            }
        }
    }

    /// `test` and `[`. With `-v` the shell evaluates a subscript.
    fn test(&mut self, words: &[Word]) {
        let mut variable = false;
        for (index, word) in words.iter().enumerate() {
            let text = word.exact();
            if variable && !text.is_some_and(is_name) {
                self.sandbox("test", &word.show(), "the subscript would be evaluated");
            }
            variable = matches!(text, Some("-v" | "-R"));
            let hidden = word.many || (index == 0 && words.len() <= 3);
            if hidden && word.pieces.first() == Some(&Piece::Any) {
                // An operator may come out of it.
                let decides = word.many || words.get(1).is_none_or(|next| next.exact().is_none());
                if decides {
                    self.workspace("test", &word.show(), "what is tested is not known");
                }
            }
        }
    }

    /// `[[ … ]]`. Comparing numbers evaluates both sides.
    pub(super) fn double_bracket(&mut self, text: &str, state: &State) {
        const RULE: &str = "shell:test";
        let words = match lexer::bracket_words(text) {
            Ok(words) => words,
            Err(refused) => return self.refuse(refused),
        };
        let mut expanded = Vec::new();
        for raw in &words {
            let operator = matches!(*raw, "&&" | "||" | "!" | "(" | ")" | "<" | ">");
            let plain = raw.trim_start_matches('(');
            let word =
                if operator { Ok(Word::exactly(raw)) } else { self.expand_one(plain, state) };
            match word {
                Ok(word) => expanded.push(word),
                Err(refused) => return self.refuse(refused),
            }
        }
        for (index, raw) in words.iter().enumerate() {
            let numeric = matches!(*raw, "-eq" | "-ne" | "-lt" | "-le" | "-gt" | "-ge");
            if numeric {
                for side in [index.wrapping_sub(1), index + 1] {
                    let Some(word) = expanded.get(side) else { continue };
                    self.number(word);
                }
            }
            let variable = raw.trim_start_matches('(');
            if matches!(variable, "-v" | "-R") {
                let next = expanded.get(index + 1).map(Word::show).unwrap_or_default();
                if !is_name(next.trim_end_matches(')')) {
                    self.sandbox(RULE, &next, "the subscript would be evaluated");
                }
            }
        }
        self.accept(RULE, "[[");
    }

    fn number(&mut self, word: &Word) {
        const RULE: &str = "shell:arithmetic";
        let shown = word.show();
        let plain = shown.trim_end_matches(')');
        let number = is_digits(plain.strip_prefix('-').unwrap_or(plain));
        if number || word.pieces == [Piece::Integer] {
            return;
        }
        if shown.contains('[') {
            self.sandbox(RULE, &shown, "a subscript would be evaluated");
        } else {
            self.workspace(RULE, &shown, "the value is evaluated, and may be more than a number");
        }
    }

    /// Runs a file's commands in this shell: they may define anything.
    fn source(&mut self, words: &[Word], state: &mut State) {
        match words.first() {
            Some(word) => self.value(word, &Kind::Run, "source", state),
            None => self.sandbox("source", "source", "which file it runs is not known"),
        }
        // The lane is enforced for whatever it runs; files that activate an environment leave the
        // directory alone.
        let directories = std::mem::take(&mut state.directories);
        state.forget_all();
        state.directories = directories;
    }

    /// Ends processes. In the workspace lane there are only the command's own.
    fn kill(&mut self, words: &[Word]) {
        for word in words {
            let own = match word.exact() {
                Some(text) => {
                    text.starts_with('-') && !is_digits(&text[1..])
                        || text.starts_with('%')
                        || matches!(text, "-9" | "-15" | "-2")
                }
                None => word.pieces == [Piece::Integer],
            };
            if !own || !self.background {
                let token = word.show();
                return self.sandbox("kill", &token, "it may end processes of others");
            }
        }
        self.workspace("kill", "kill", "it ends what this command has started");
    }
}
