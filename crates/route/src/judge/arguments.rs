//! Options, after the grammar that a rule gives.

use stigmer_core::Lane;

use crate::rules::{Accepted, Found, Kind, Tool, Value};

use super::positional::Positional;
use super::state::State;
use super::word::Word;
use super::{By, Judge};

/// Options of one letter that may stand in one word: as many as there are letters.
const MOST_LETTERS: usize = 52;

/// The words of one command, as they are gone through.
struct Words<'w> {
    words: &'w [Word],
    at: usize,
}

impl<'w> Words<'w> {
    fn next(&mut self) -> Option<&'w Word> {
        let word = self.words.get(self.at)?;
        self.at += 1;
        Some(word)
    }

    fn rest(&self) -> &'w [Word] {
        &self.words[self.at.min(self.words.len())..]
    }
}

impl Judge<'_> {
    /// Judges the words after a tool's name.
    pub(super) fn arguments(
        &mut self,
        tool: &Tool,
        token: &str,
        words: &[Word],
        by: By,
        state: &mut State,
    ) {
        let mut positional = Positional::new(tool);
        let mut words = Words { words, at: 0 };
        let mut options = true;
        if tool.cluster
            && let Some(first) = words.rest().first()
            && first.exact().is_some_and(|text| !text.starts_with('-'))
        {
            words.next();
            self.cluster(tool, first, &mut words, &mut positional, state);
        }
        while let Some(word) = words.next() {
            if self.exhausted {
                return;
            }
            let start = word.start();
            let exact = word.exact();
            if exact.is_some_and(|text| tool.operators.iter().any(|known| known == text)) {
                continue;
            }
            let option = options && start.starts_with('-') && exact != Some("-");
            if options && exact == Some("--") && !tool.single_dash {
                options = false;
            } else if option {
                options &= self.option(tool, word, &mut words, &mut positional, state);
            } else if options && tool.plus && start.starts_with('+') {
                // A toolchain, or where to begin.
            } else {
                if options && word.may_be_option() {
                    self.possible_option(tool, word);
                }
                if tool.subcommands && positional.is_empty() {
                    return self.subcommand(tool, word, words.rest(), by, state);
                }
                positional.push(word);
                if tool.posix {
                    positional.extend(words.rest());
                    break;
                }
            }
        }
        if tool.subcommands {
            self.least(tool, tool.lane, token);
        }
        if positional.is_empty() && positional.arguments == &tool.arguments {
            if let Some(default) = &tool.default {
                let name = format!("{} {default}", tool.name);
                return self.named(&name, token, &[], by, state);
            }
            self.least(tool, tool.bare, token);
        }
        self.positional(tool, positional, by, state);
    }

    fn subcommand(&mut self, tool: &Tool, word: &Word, rest: &[Word], by: By, state: &mut State) {
        match word.exact() {
            Some(text) => {
                let name = format!("{} {text}", tool.name);
                // One that is not for the host at all gives the better reason.
                if tool.lane == Lane::Sandbox && self.policy.tool(&name).is_none() {
                    self.least(tool, tool.lane, text);
                }
                self.named(&name, text, rest, by, state);
            }
            None => self.sandbox(&tool.name, &word.show(), "what it does is not known"),
        }
    }

    /// A word that may turn out to be an option.
    fn possible_option(&mut self, tool: &Tool, word: &Word) {
        if tool.harmless || tool.any {
            return;
        }
        let token = word.show();
        if word.begins_with_name() {
            let reason = "a file may be named like an option; put -- or ./ before the pattern";
            self.workspace(&tool.name, &token, reason);
        } else {
            let reason = "this may turn out to be an option; put -- before it";
            self.workspace(&tool.name, &token, reason);
        }
    }

    /// One word that begins with `-`. `false` if no more options follow.
    fn option<'w>(
        &mut self,
        tool: &'w Tool,
        word: &'w Word,
        words: &mut Words<'w>,
        positional: &mut Positional<'w>,
        state: &mut State,
    ) -> bool {
        let start = word.start();
        let digits = start[1..].bytes().all(|byte| byte.is_ascii_digit());
        if tool.numeric && digits && word.exact().is_some() {
            return true;
        }
        if let Some(body) = start.strip_prefix("--") {
            return self.long(tool, word, 2, body, words, positional, state);
        }
        if tool.single_dash {
            return self.long(tool, word, 1, &start[1..], words, positional, state);
        }
        self.cluster(tool, &word.after(1), words, positional, state)
    }

    #[expect(clippy::too_many_arguments, reason = "what one word may touch")]
    fn long<'w>(
        &mut self,
        tool: &'w Tool,
        word: &Word,
        dashes: usize,
        body: &str,
        words: &mut Words<'w>,
        positional: &mut Positional<'w>,
        state: &mut State,
    ) -> bool {
        let (name, attached) = match body.split_once('=') {
            Some((name, _)) => (name, Some(word.after(dashes + name.len() + 1))),
            None => (body, None),
        };
        let whole = attached.is_some() || word.exact().is_some();
        let found = if whole && !name.is_empty() { tool.long(name) } else { Found::Unknown };
        let Found::One(accepted) = found else {
            if !(tool.any && whole) {
                self.sandbox(&tool.name, &word.show(), "no rule knows this option");
            }
            return true;
        };
        match (accepted.value, attached) {
            (Value::None, Some(_)) => {
                self.sandbox(&tool.name, &word.show(), "this option takes no value");
            }
            (Value::None | Value::Attached, None) => {}
            (Value::Attached | Value::Required, Some(value)) => {
                self.option_values(tool, accepted, Some(value), words, state);
            }
            (Value::Required, None) => self.option_values(tool, accepted, None, words, state),
        }
        self.taken(tool, accepted, &word.show(), positional)
    }

    /// Options of one letter, without their `-`.
    fn cluster<'w>(
        &mut self,
        tool: &'w Tool,
        word: &Word,
        words: &mut Words<'w>,
        positional: &mut Positional<'w>,
        state: &mut State,
    ) -> bool {
        let token = || format!("-{}", word.show());
        let mut more = true;
        let text = word.start();
        for (count, (at, letter)) in text.char_indices().enumerate() {
            if count >= MOST_LETTERS {
                self.sandbox(&tool.name, &token(), "these are too many options in one word");
                return more;
            }
            let Found::One(accepted) = tool.short(letter) else {
                if tool.any {
                    return more;
                }
                self.sandbox(&tool.name, &token(), "no rule knows this option");
                return more;
            };
            let after = at + letter.len_utf8();
            let attached = after < text.len() || word.pieces.len() > 1;
            more &= self.taken(tool, accepted, &token(), positional);
            match accepted.value {
                Value::None => {}
                Value::Attached => {
                    if attached {
                        self.option_values(tool, accepted, Some(word.after(after)), words, state);
                    }
                    return more;
                }
                // tar's first word takes the values of its letters from the words that follow.
                Value::Required if attached && !tool.cluster => {
                    self.option_values(tool, accepted, Some(word.after(after)), words, state);
                    return more;
                }
                Value::Required => self.option_values(tool, accepted, None, words, state),
            }
            if accepted.value == Value::Required && !tool.cluster {
                return more;
            }
        }
        if word.pieces.len() > 1 || word.exact().is_none() {
            self.sandbox(&tool.name, &token(), "which option this is shows only when it runs");
        }
        more
    }

    fn taken<'w>(
        &mut self,
        tool: &Tool,
        accepted: &'w Accepted,
        token: &str,
        positional: &mut Positional<'w>,
    ) -> bool {
        let reason = match accepted.lane {
            Lane::Sandbox => "this option is not for the host",
            _ => "this option changes files or runs programs",
        };
        self.raise(accepted.lane, &tool.name, token, reason);
        positional.drops |= accepted.drops;
        positional.changes = positional.changes.take().or(accepted.changes.as_ref());
        if let Some(arguments) = &accepted.arguments {
            positional.arguments = arguments;
        }
        !accepted.last
    }

    fn option_values<'w>(
        &mut self,
        tool: &Tool,
        accepted: &Accepted,
        attached: Option<Word>,
        words: &mut Words<'w>,
        state: &mut State,
    ) {
        let mut attached = attached;
        for kind in &accepted.kinds {
            if *kind == Kind::Exec {
                self.exec(tool, words, state);
                continue;
            }
            if *kind == Kind::ExecThere {
                // Where that is, is only known when it runs.
                let mut there = state.clone();
                there.forget_directories();
                self.exec(tool, words, &mut there);
                continue;
            }
            let taken = attached.take();
            let word = match &taken {
                Some(word) => word,
                None => match words.next() {
                    Some(word) => word,
                    // The tool will say that a value is missing.
                    None => return,
                },
            };
            if word.many {
                // How many words it becomes decides which of them is the value.
                self.possible_option(tool, &Word { pieces: word.pieces.clone(), many: true });
                if !tool.harmless && !tool.any && !word.begins_with_name() {
                    self.sandbox(&tool.name, &word.show(), "this may become several words");
                }
            }
            self.value(word, kind, &tool.name, state);
            if *kind == Kind::Module {
                self.module(tool, word, words.rest(), state);
            }
        }
    }

    /// `-exec … ;`: a command in which `{}` is a path beneath where find starts.
    fn exec(&mut self, tool: &Tool, words: &mut Words<'_>, state: &mut State) {
        let starts: Vec<String> = words
            .words
            .iter()
            .take_while(|word| !word.start().starts_with(['-', '(', '!']))
            .map(Word::show)
            .collect();
        let mut inner: Vec<Word> = Vec::new();
        let mut ended = false;
        while let Some(word) = words.next() {
            let last = inner.last().is_some_and(|word| word.exact() == Some("{}"));
            match word.exact() {
                Some(";") => ended = true,
                Some("+") if last => ended = true,
                _ => inner.push(word.clone()),
            }
            if ended {
                break;
            }
        }
        if !ended || inner.is_empty() {
            return self.sandbox(&tool.name, "-exec", "the end of the command is not found");
        }
        // A link that is followed may lead anywhere.
        let follows = words.words.iter().any(|word| matches!(word.exact(), Some("-L" | "-follow")));
        let starts = if starts.is_empty() { vec![".".to_owned()] } else { starts };
        for start in starts.iter().take(4) {
            let known = !follows && starts.len() <= 4 && !start.contains('*');
            let command: Vec<_> = inner
                .iter()
                .map(|word| super::values::fill(word, "{}", known.then_some(start.as_str())))
                .collect();
            self.deeper(|judge| judge.command(&command, By::Program, &mut state.clone()));
        }
    }
}
