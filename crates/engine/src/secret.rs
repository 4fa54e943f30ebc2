//! Values that must not be shown.

use std::fmt;

use serde::{Serialize, Serializer};

/// What is shown in place of a secret.
pub const REDACTED: &str = "(set)";

/// A key, password or token. Whatever prints it prints [`REDACTED`]; only [`Secret::expose`] gives
/// the text, so that a search for that word finds every use.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_printing_shows_it() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret} {secret:?} {:#?}", Some(&secret));
        let json = serde_json::to_string(&secret).unwrap();
        assert!(!shown.contains("hunter2") && !json.contains("hunter2"), "{shown} {json}");
        assert_eq!(secret.expose(), "hunter2");
    }
}
