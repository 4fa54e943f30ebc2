//! The shell's language: tokens, words, here-documents and the grammar's tree.
//!
//! Text comes in, data goes out. Nothing here knows a tool, a lane or a rule.

pub(crate) mod heredoc;
pub(crate) mod lexer;
pub(crate) mod parser;
pub(crate) mod word;

/// Text of the shell that is not understood, and therefore not run on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Which rule refuses.
    pub(crate) rule: &'static str,
    /// The text in question.
    pub(crate) token: String,
    /// Why.
    pub(crate) reason: String,
}

impl Refused {
    pub(crate) fn new(rule: &'static str, token: &str, reason: impl Into<String>) -> Self {
        Self { rule, token: token.to_owned(), reason: reason.into() }
    }
}
