//! A word as a program would get it, as far as that is known.

/// A part of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Text that is known.
    Text(String),
    /// A character of a pattern that the shell expands to names of files.
    Glob(char),
    /// A whole number.
    Integer,
    /// The rest of a path, which leads nowhere but down.
    Below,
    /// Anything.
    Any,
}

/// A word: one argument, or several if `many`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
    /// It may become several words, or none.
    pub(super) many: bool,
}

impl Word {
    pub(super) fn exactly(text: &str) -> Self {
        Self { pieces: vec![Piece::Text(text.to_owned())], many: false }
    }

    pub(super) fn anything(many: bool) -> Self {
        Self { pieces: vec![Piece::Any], many }
    }

    /// The text, if all of it is known.
    pub(super) fn exact(&self) -> Option<&str> {
        match &self.pieces[..] {
            [] => Some(""),
            [Piece::Text(text)] if !self.many => Some(text),
            _ => None,
        }
    }

    /// The text that it begins with.
    pub(super) fn start(&self) -> &str {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text,
            _ => "",
        }
    }

    /// It may turn out to begin with `-`, though it does not show.
    pub(super) fn may_be_option(&self) -> bool {
        match self.pieces.first() {
            Some(Piece::Text(text)) => text.is_empty() && self.pieces.len() > 1,
            Some(Piece::Integer) | None => false,
            Some(Piece::Glob(_) | Piece::Below | Piece::Any) => true,
        }
    }

    /// What it begins with is a name in the current directory, not just anything.
    pub(super) fn begins_with_name(&self) -> bool {
        matches!(self.pieces.first(), Some(Piece::Glob(_) | Piece::Below))
            && !self.pieces.contains(&Piece::Any)
    }

    /// The word without its first bytes, which have to be text.
    pub(super) fn after(&self, bytes: usize) -> Self {
        let mut pieces = self.pieces.clone();
        if let Some(Piece::Text(text)) = pieces.first_mut() {
            text.drain(..bytes.min(text.len()));
            if text.is_empty() && pieces.len() > 1 {
                pieces.remove(0);
            }
        }
        Self { pieces, many: self.many }
    }

    /// For messages, and for a look at the names in it.
    pub(super) fn show(&self) -> String {
        let mut shown = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => shown.push_str(text),
                Piece::Glob(character) => shown.push(*character),
                Piece::Integer => shown.push_str("<number>"),
                Piece::Below | Piece::Any => shown.push('*'),
            }
        }
        shown
    }

    /// Adds a piece; text joins text.
    pub(super) fn push(&mut self, piece: Piece) {
        match (self.pieces.last_mut(), piece) {
            (Some(Piece::Text(text)), Piece::Text(more)) => text.push_str(&more),
            (_, piece) => self.pieces.push(piece),
        }
    }

    /// What a variable of a loop over this word holds: the name of one file instead of a pattern.
    pub(super) fn matched(&self) -> Vec<Piece> {
        if self.pieces.contains(&Piece::Any) {
            return vec![Piece::Any];
        }
        let mut pieces = Vec::new();
        for (at, piece) in self.pieces.iter().enumerate() {
            if !matches!(piece, Piece::Glob(_) | Piece::Below) {
                pieces.push(piece.clone());
                continue;
            }
            // `.*` may be `..`, and a `..` after it would lead up from who knows where.
            let before = match &pieces.last() {
                Some(Piece::Text(text)) => text.rsplit('/').next().unwrap_or("").to_owned(),
                _ => String::new(),
            };
            let up = self.pieces[at..].iter().any(|later| match later {
                Piece::Text(text) => text.contains(".."),
                _ => false,
            });
            if before.starts_with('.') || up {
                return vec![Piece::Any];
            }
            pieces.push(Piece::Below);
            break;
        }
        pieces
    }
}
