//! From an encoded message to JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::MAX_DEPTH;
use super::wire::{Value, fields, last, varint};
use crate::http::contract::{Field, Kind, Message, Special, contract};

/// An encoded message, seen as JSON. What is not what the contract says fails to serialise.
pub(crate) struct Encoded<'a> {
    message: &'static Message,
    bytes: &'a [u8],
    depth: usize,
}

impl<'a> Encoded<'a> {
    /// The JSON of these bytes.
    pub(crate) fn new(message: &'static Message, bytes: &'a [u8]) -> Self {
        Self { message, bytes, depth: 0 }
    }

    /// The JSON, in one line.
    pub(crate) fn to_vec(&self) -> serde_json::Result<Vec<u8>> {
        // Most of a large message is text that is escaped here and there.
        let mut json = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 8 + 64);
        serde_json::to_writer(&mut json, self)?;
        Ok(json)
    }
}

impl Serialize for Encoded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.message.special == Some(Special::ByteString) {
            return self.byte_string(serializer);
        }
        if self.depth > MAX_DEPTH {
            return Err(S::Error::custom("too deep"));
        }
        let mut map = serializer.serialize_map(None)?;
        // One look at each field, so that what is broken is found even in fields nobody asks for.
        for field in fields(self.bytes) {
            field.map_err(S::Error::custom)?;
        }
        for field in &self.message.fields {
            let value = FieldOf { field, of: self };
            if field.repeated {
                map.serialize_entry(&field.name, &Elements(value))?;
            } else if let Some(found) = last(self.bytes, field.number) {
                map.serialize_entry(&field.name, &One { value: found, field: &value })?;
            } else if !field.presence {
                map.serialize_entry(&field.name, &Zero(field.kind))?;
            }
        }
        map.end()
    }
}

impl Encoded<'_> {
    fn byte_string<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes: &[u8] = &[];
        for field in fields(self.bytes) {
            if let (1 | 2, Value::Bytes(found)) = field.map_err(S::Error::custom)? {
                bytes = found;
            }
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(bytes))?;
                map.end()
            }
        }
    }
}

/// A field of a message.
struct FieldOf<'a> {
    field: &'static Field,
    of: &'a Encoded<'a>,
}

/// All values of a repeated field.
struct Elements<'a>(FieldOf<'a>);

impl Serialize for Elements<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let field = &self.0;
        let mut list = serializer.serialize_seq(None)?;
        for found in fields(field.of.bytes) {
            let (number, value) = found.map_err(S::Error::custom)?;
            if number != field.field.number {
                continue;
            }
            match value {
                Value::Bytes(mut packed) if is_number(field.field.kind) => {
                    while !packed.is_empty() {
                        let value = varint(&mut packed).map_err(S::Error::custom)?;
                        list.serialize_element(&One { value: Value::Varint(value), field })?;
                    }
                }
                value => list.serialize_element(&One { value, field })?,
            }
        }
        list.end()
    }
}

fn is_number(kind: Kind) -> bool {
    !matches!(kind, Kind::String | Kind::Bytes | Kind::Message(_))
}

/// One value of a field.
struct One<'a> {
    value: Value<'a>,
    field: &'a FieldOf<'a>,
}

impl Serialize for One<'_> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "protobuf defines the narrower number as the lower bits of the varint"
    )]
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.field.field.kind, self.value) {
            (Kind::Bool, Value::Varint(value)) => serializer.serialize_bool(value != 0),
            (Kind::Int32, Value::Varint(value)) => serializer.serialize_i32(value as i32),
            (Kind::Int64, Value::Varint(value)) => serializer.serialize_i64(value as i64),
            (Kind::Uint32, Value::Varint(value)) => serializer.serialize_u32(value as u32),
            (Kind::Uint64, Value::Varint(value)) => serializer.serialize_u64(value),
            (Kind::Enum(of), Value::Varint(value)) => {
                match contract().enums[of].by_number(value as i32) {
                    Some(known) => serializer.serialize_str(&known.name),
                    None => serializer.serialize_i32(value as i32),
                }
            }
            (Kind::String, Value::Bytes(text)) => {
                serializer.serialize_str(std::str::from_utf8(text).map_err(S::Error::custom)?)
            }
            (Kind::Bytes, Value::Bytes(bytes)) => serializer.serialize_str(&STANDARD.encode(bytes)),
            (Kind::Message(of), Value::Bytes(bytes)) => {
                let message = &contract().messages[of];
                Encoded { message, bytes, depth: self.field.of.depth + 1 }.serialize(serializer)
            }
            _ => Err(S::Error::custom(format!("{}: another type", self.field.field.name))),
        }
    }
}

/// The value of a field that is not there.
struct Zero(Kind);

impl Serialize for Zero {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Kind::Bool => serializer.serialize_bool(false),
            Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 => serializer.serialize_u8(0),
            Kind::String | Kind::Bytes => serializer.serialize_str(""),
            Kind::Enum(of) => match contract().enums[of].by_number(0) {
                Some(zero) => serializer.serialize_str(&zero.name),
                None => serializer.serialize_u8(0),
            },
            // A message tells missing from empty, and is not printed.
            Kind::Message(_) => serializer.serialize_unit(),
        }
    }
}
