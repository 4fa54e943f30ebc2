//! Values that must not be shown.

use std::borrow::Cow;
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

/// A text that may be an address, without what an address may keep secret: whatever stands before
/// its last `@` (a password may have `/` and `@` in it, so nothing is parsed), and the query of one
/// with a scheme.
///
/// For what is quoted *because* it is wrong, and may be wrong for having a password in it.
pub(crate) fn without_secrets(text: &str) -> Cow<'_, str> {
    let start = text.find("//").map_or(0, |slashes| slashes + 2);
    let (before, rest) = text.split_at(start);
    let (user, rest) = match rest.rsplit_once('@') {
        Some((_, host)) => ("…@", host),
        None => ("", rest),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((address, _)) if start > 0 => (address, "?…"),
        _ => (rest, ""),
    };
    if user.is_empty() && query.is_empty() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{before}{user}{rest}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_quoted_without_its_password() {
        for (text, shown) in [
            ("https://me:hunter2@x.io", "https://…@x.io"),
            ("https://me:hun/ter2@x.io/api", "https://…@x.io/api"),
            ("https://me:hun@ter2@x.io", "https://…@x.io"),
            ("https://me:hun?ter2@x.io", "https://…@x.io"),
            ("https://x.io/api?token=hunter2", "https://x.io/api?…"),
            ("//me:hunter2@x.io", "//…@x.io"),
            (":hunter2@x.io", "…@x.io"),
            ("https://x.io/api", "https://x.io/api"),
            ("what?", "what?"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(text), shown);
        }
    }

    #[test]
    fn no_way_of_printing_shows_it() {
        let secret = Secret::new("hunter2");
        let shown = format!("{secret} {secret:?} {:#?}", Some(&secret));
        let json = serde_json::to_string(&secret).unwrap();
        assert!(!shown.contains("hunter2") && !json.contains("hunter2"), "{shown} {json}");
        assert_eq!(secret.expose(), "hunter2");
    }
}
