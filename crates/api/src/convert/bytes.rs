//! Bytes that are usually text.

use stigmer_core::ByteString;

use crate::wire;
use crate::wire::byte_string::Value;

impl From<ByteString> for wire::ByteString {
    fn from(bytes: ByteString) -> Self {
        let value = match String::from_utf8(bytes.into_bytes()) {
            Ok(text) => Value::Text(text),
            Err(error) => Value::Base64(error.into_bytes().into()),
        };
        Self { value: Some(value) }
    }
}

impl From<wire::ByteString> for ByteString {
    fn from(bytes: wire::ByteString) -> Self {
        match bytes.value {
            Some(Value::Text(text)) => text.into(),
            Some(Value::Base64(bytes)) => Vec::from(bytes).into(),
            None => Self::default(),
        }
    }
}

/// A field that is missing is empty.
pub(super) fn bytes(field: Option<wire::ByteString>) -> ByteString {
    field.map(Into::into).unwrap_or_default()
}

/// Bytes for a field.
pub(super) fn field(bytes: ByteString) -> Option<wire::ByteString> {
    Some(bytes.into())
}

/// Each of a list.
pub(super) fn list<A: Into<B>, B>(all: Vec<A>) -> Vec<B> {
    all.into_iter().map(Into::into).collect()
}
