//! Simple commands: their words, assignments and redirections.

use std::ops::Range;

use crate::rules::Kind;
use crate::shell::Refused;
use crate::shell::lexer::Kind as Token;
use crate::shell::lexer::cut;

use super::Judge;
use super::script::{Source, disagreement};
use super::state::State;

const RULE: &str = "shell:redirect";

impl Judge<'_> {
    /// One command with all that belongs to it. Which words are assignments and where redirections
    /// lead is read from the tokens: the grammar takes a word after a target for another target.
    pub(super) fn simple(
        &mut self,
        span: Range<usize>,
        source: &mut Source<'_>,
        state: &mut State,
    ) -> Result<(), Refused> {
        if !self.count() {
            source.tokens_in(span)?;
            return Ok(());
        }
        let mut words: Vec<&str> = Vec::new();
        let mut arrays = Vec::new();
        let mut at = source.tokens_in(span.clone())?;
        let tokens = &source.lexed.tokens;
        while let Some(index) = at.next() {
            let raw = &source.text[tokens[index].span.clone()];
            match tokens[index].kind {
                Token::Word => words.push(raw),
                Token::Redirect => {
                    let target = at.next().filter(|next| tokens[*next].kind == Token::Word);
                    let target = target.ok_or_else(|| disagreement(raw))?;
                    self.redirect(raw, &source.text[tokens[target].span.clone()], state)?;
                }
                // `name=(a b)`.
                Token::Control if raw == "(" => {
                    let name = words.pop().and_then(|word| word.strip_suffix('='));
                    let adjacent =
                        index > 0 && tokens[index - 1].span.end == tokens[index].span.start;
                    let name = name.map(|name| name.strip_suffix('+').unwrap_or(name));
                    let name = name.filter(|name| adjacent && crate::shell::word::is_name(name));
                    arrays.push(name.ok_or_else(|| disagreement(raw))?);
                    loop {
                        let next = at.next().ok_or_else(|| disagreement(raw))?;
                        let raw = &source.text[tokens[next].span.clone()];
                        match tokens[next].kind {
                            Token::Word => {
                                self.subscript(raw);
                                drop(self.expand(raw, state)?);
                            }
                            Token::Newline => {}
                            Token::Control if raw == ")" => break,
                            _ => return Err(disagreement(raw)),
                        }
                    }
                }
                _ => return Err(disagreement(cut(&source.text[span]))),
            }
        }
        if !arrays.is_empty() && !words.is_empty() {
            return Err(disagreement(words[0]));
        }
        for name in arrays {
            self.assignment_allowed(name, None, false);
            state.forget(name);
        }
        self.words(&words, state)
    }

    /// `[x]=1` in the list of an array: the shell evaluates what is in the brackets, and runs the
    /// commands that a value of it holds.
    fn subscript(&mut self, raw: &str) {
        let Some(inner) = raw.strip_prefix('[') else { return };
        let Some((index, _)) = inner.split_once("]=").or_else(|| inner.split_once("]+=")) else {
            return;
        };
        if !crate::shell::word::is_digits(index) {
            self.sandbox("shell:arithmetic", raw, "what is in the brackets is evaluated");
        }
    }

    /// What follows a group: redirections and nothing else.
    pub(super) fn only_redirects(
        &mut self,
        span: Range<usize>,
        source: &mut Source<'_>,
        state: &State,
    ) -> Result<(), Refused> {
        let mut at = source.tokens_in(span)?;
        let tokens = &source.lexed.tokens;
        while let Some(index) = at.next() {
            let raw = &source.text[tokens[index].span.clone()];
            let target = at.next().filter(|next| tokens[*next].kind == Token::Word);
            match (tokens[index].kind, target) {
                (Token::Redirect, Some(target)) => {
                    self.redirect(raw, &source.text[tokens[target].span.clone()], state)?;
                }
                _ => return Err(disagreement(raw)),
            }
        }
        Ok(())
    }

    fn redirect(&mut self, operator: &str, target: &str, state: &State) -> Result<(), Refused> {
        let kind = operator.trim_start_matches(|first: char| first.is_ascii_digit());
        let mut words = self.expand(target, state)?;
        let (Some(word), true) = (words.pop(), words.is_empty()) else {
            self.sandbox(RULE, target, "a redirection has to lead to one file");
            return Ok(());
        };
        let descriptor = |text: &str| {
            let digits = text.strip_suffix('-').unwrap_or(text);
            digits.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty()
        };
        match kind {
            "<<<" => {}
            "<&" | ">&" if word.exact().is_some_and(descriptor) => {}
            "<" if word.many => self.sandbox(RULE, target, "a redirection has to lead to one file"),
            "<" => self.value(&word, &Kind::Read, RULE, state),
            ">" | ">>" | ">|" | "<>" | "&>" | "&>>" | ">&" if !word.many => {
                self.value(&word, &Kind::Write, RULE, state);
            }
            _ => self.sandbox(RULE, target, "this redirection is not understood"),
        }
        Ok(())
    }
}
