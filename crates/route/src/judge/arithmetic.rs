//! Arithmetic of the shell, which evaluates the values of variables as expressions again, and runs
//! commands in their subscripts.

use crate::shell::word::is_name;

use super::Judge;
use super::state::{State, is_number};
use super::word::Piece;

impl Judge<'_> {
    /// An expression whose variables are read.
    pub(super) fn arithmetic(&mut self, text: &str, state: &State) {
        const RULE: &str = "shell:arithmetic";
        let plain = |byte: u8| {
            byte.is_ascii_alphanumeric() || b"_ \t+-*/%<>=!&|^~?:,()${}#".contains(&byte)
        };
        if !text.bytes().all(plain) || text.contains("$(") {
            self.sandbox(RULE, text, "this arithmetic is not understood");
            return;
        }
        if let Some(parameter) = positional(text) {
            let reason = "the value is evaluated, and may be more than a number";
            self.workspace(RULE, parameter, reason);
        }
        for (_, name) in operands(text) {
            if !self.is_number(name, state) {
                let reason = "the value is evaluated, and may be more than a number";
                self.workspace(RULE, name, reason);
            }
            let known = state.get(name);
            let code = known.is_some_and(|pieces| {
                pieces.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains('[')))
            });
            if code {
                self.sandbox(RULE, name, "the value is evaluated, and holds a subscript");
            }
        }
    }

    /// An expression that stands by itself and may assign.
    pub(super) fn arithmetic_statement(&mut self, text: &str, state: &mut State) {
        if !text.is_ascii() {
            self.sandbox("shell:arithmetic", text, "this arithmetic is not understood");
            return;
        }
        let changed: Vec<_> = operands(text).map(|(at, name)| (at, name.to_owned())).collect();
        let assigns = text.contains('=') || text.contains("++") || text.contains("--");
        // What is only assigned need not be a number before.
        for (at, name) in &changed {
            let rest = text[at + name.len()..].trim_start();
            if rest.starts_with('=') && !rest.starts_with("==") {
                state.set(name, vec![Piece::Integer]);
            }
        }
        self.arithmetic(text, state);
        if assigns {
            for (_, name) in changed {
                self.assignment_allowed(&name, None, false);
                state.set(&name, vec![Piece::Integer]);
            }
        }
    }

    fn is_number(&self, name: &str, state: &State) -> bool {
        if matches!(name, "RANDOM" | "SECONDS" | "LINENO" | "EPOCHSECONDS" | "UID" | "EUID") {
            return true;
        }
        state.get(name).is_some_and(|value| is_number(value))
    }
}

/// An argument of the script in an expression: `$1`, `${1}`. `${#1}` and `$#` are numbers.
fn positional(text: &str) -> Option<&str> {
    let at = text.match_indices('$').find_map(|(at, _)| {
        let after = text[at + 1..].trim_start_matches('{');
        after.starts_with(|first: char| first.is_ascii_digit() || first == '*').then_some(at)
    })?;
    Some(&text[at..])
}

/// Whether what follows are the digits of a number with a base: `16#ff`.
fn is_digits_of(before: &str) -> bool {
    let base = before.strip_suffix('#').unwrap_or("");
    let digits = base.bytes().rev().take_while(u8::is_ascii_digit).count();
    let first = base.len() - digits;
    digits > 0
        && !base[..first]
            .ends_with(|last: char| last.is_ascii_alphanumeric() || "_$".contains(last))
}

/// The variables in an expression.
fn operands(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        .map(move |word| {
            let start = at;
            // Each separator is one byte: other text has been refused, or is only looked at.
            at += word.len() + 1;
            (start, word)
        })
        .filter(move |(at, word)| is_name(word) && !is_digits_of(&text[..*at]))
}
