//! Positional arguments: which of them is what.

use crate::rules::{Arguments, Kind, Times, Tool};

use super::assignments::split;
use super::state::State;
use super::word::Word;
use super::{By, Judge};

/// What the rule for xargs lets stand for a word from standard input.
const MARKS: &[&str] = &["{}", "%", "@", "FILE"];

/// The positional arguments of a command.
pub(super) struct Positional<'w> {
    words: Vec<&'w Word>,
    pub(super) arguments: &'w Arguments,
    /// The first that is expected has been given as an option.
    pub(super) drops: bool,
    /// They are written, or edited.
    pub(super) changes: Option<&'w Kind>,
}

impl<'w> Positional<'w> {
    pub(super) fn new(tool: &'w Tool) -> Self {
        Self { words: Vec::new(), arguments: &tool.arguments, drops: false, changes: None }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    pub(super) fn push(&mut self, word: &'w Word) {
        self.words.push(word);
    }

    pub(super) fn extend(&mut self, words: &'w [Word]) {
        self.words.extend(words);
    }
}

impl Judge<'_> {
    pub(super) fn positional(
        &mut self,
        tool: &Tool,
        given: Positional<'_>,
        by: By,
        state: &mut State,
    ) {
        let drop = usize::from(given.drops && !given.arguments.0.is_empty());
        let items = &given.arguments.0[drop..];
        if items.iter().any(|(kind, _)| *kind == Kind::Command) {
            return self.wrapped(tool, items, &given.words, by, state);
        }
        if self.is_decided() {
            return;
        }
        if tool.any && items.is_empty() {
            return;
        }
        let first_many = given.words.iter().position(|word| word.many);
        let star = items.iter().position(|(_, times)| *times == Times::Any);
        let total = given.words.len();
        for (index, word) in given.words.iter().enumerate() {
            let possible = match first_many {
                // From here on a word may stand anywhere.
                Some(many) if index >= many || star.is_some_and(|star| star < items.len() - 1) => {
                    let from = many.min(index).min(star.unwrap_or(usize::MAX));
                    items.get(from..).unwrap_or_default()
                }
                _ => one_item(items, star, index, total),
            };
            if possible.is_empty() {
                self.sandbox(&tool.name, &word.show(), "no rule expects this argument");
            }
            for (kind, _) in possible {
                self.value(word, kind, &tool.name, state);
                if let (Some(change), Kind::List | Kind::Read) = (given.changes, kind) {
                    self.value(word, change, &tool.name, state);
                }
            }
        }
        if let (Some(change), true) = (given.changes, given.words.is_empty()) {
            self.value(&Word::exactly("."), change, &tool.name, state);
        }
    }

    /// `env A=b timeout 5 ls`: some arguments, then a command.
    fn wrapped(
        &mut self,
        tool: &Tool,
        items: &[(Kind, Times)],
        words: &[&Word],
        by: By,
        state: &mut State,
    ) {
        let mut at = 0;
        for (kind, times) in items {
            if *kind == Kind::Command {
                let mut command: Vec<Word> =
                    words.get(at..).unwrap_or_default().iter().copied().cloned().collect();
                if tool.fetches {
                    return self.installed(tool, &command, state);
                }
                if tool.appends {
                    // What replaces `{}`, or follows, comes from standard input.
                    if command.is_empty() {
                        command.push(Word::exactly("echo"));
                    }
                    for word in &mut command {
                        for mark in MARKS {
                            *word = super::values::fill(word, mark, None);
                        }
                    }
                    command.push(Word::anything(true));
                    self.reads_unknown = true;
                }
                // These are the shell's own: a `cd` behind them moves the shell.
                if matches!(tool.name.as_str(), "command" | "builtin" | "time") {
                    return self.deeper(|judge| judge.command(&command, by, state));
                }
                let mut inner = state.clone();
                return self.deeper(|judge| judge.command(&command, By::Program, &mut inner));
            }
            while let Some(word) = words.get(at) {
                if *kind == Kind::Assign {
                    let Some((name, _, _)) = split(word.start()) else { break };
                    let value = word.after(word.start().find('=').map_or(0, |at| at + 1));
                    self.assignment_allowed(name, Some(&value), true);
                } else {
                    if word.many {
                        self.sandbox(&tool.name, &word.show(), "this may become several words");
                    }
                    self.value(word, kind, &tool.name, state);
                }
                at += 1;
                if *times != Times::Any {
                    break;
                }
            }
        }
    }
}

impl Judge<'_> {
    /// `npx jest`: a program that is there already runs, one that is not would be fetched.
    fn installed(&mut self, tool: &Tool, command: &[Word], state: &State) {
        let Some((first, rest)) = command.split_first() else { return };
        let name = first.exact().filter(|name| self.facts.installed.iter().any(|has| has == name));
        let Some(name) = name else {
            let reason = tool.reason.as_deref().unwrap_or("it may be fetched");
            return self.sandbox(&tool.name, &first.show(), reason);
        };
        self.workspace(&tool.name, name, "a program of the workspace runs");
        if self.policy.tool(name).is_some() {
            self.deeper(|judge| judge.named(name, name, rest, By::Program, &mut state.clone()));
        } else {
            rest.iter().for_each(|word| self.value(word, &Kind::Argument, &tool.name, state));
        }
    }
}

/// What the argument is, if none before it may become several.
fn one_item(
    items: &[(Kind, Times)],
    star: Option<usize>,
    index: usize,
    total: usize,
) -> &[(Kind, Times)] {
    let at = match star {
        None => index,
        Some(star) => {
            let after = items.len() - star - 1;
            let required = items.iter().filter(|(_, times)| *times == Times::Once).count();
            if total < required {
                // Too few: which is missing is the tool's to say.
                return items;
            }
            if index < star {
                index
            } else if index + after >= total {
                items.len() - (total - index)
            } else {
                star
            }
        }
    };
    items.get(at..=at).unwrap_or_default()
}
