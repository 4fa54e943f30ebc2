//! From JSON to an encoded message.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use stigmer_core::ToolError;

use super::scalar::{put_text, varint};
use super::wire::{put_bytes, put_varint};
use super::{MAX_DEPTH, MAX_VALUES};
use crate::http::contract::{Field, Kind, Message, Special, contract};

/// How much of a name that we do not know is said again.
const SHOWN_NAME: usize = 64;

/// The protobuf encoding of a message given as JSON; no text at all is the empty message.
///
/// # Errors
/// `invalid_argument`, naming the field, for what the message does not have or hold. Values are
/// never said again: they may be secrets.
pub(crate) fn decode(message: &'static Message, json: &[u8]) -> Result<Vec<u8>, ToolError> {
    let mut out = Vec::with_capacity(json.len());
    if json.iter().all(u8::is_ascii_whitespace) {
        return Ok(out);
    }
    let mut reader = Reader::default();
    let mut json = serde_json::Deserializer::from_slice(json);
    let whole = AnyMessage { message, out: &mut out, reader: &mut reader }.deserialize(&mut json);
    match whole.and_then(|()| json.end()) {
        Ok(()) => Ok(out),
        Err(error) => Err(reader.failure(&error)),
    }
}

/// Bytes in base64: the standard alphabet or the one for URLs, padded or not.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let for_urls = text.bytes().any(|byte| matches!(byte, b'-' | b'_'));
    let alphabet = if for_urls { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, config).decode(text).ok()
}

/// What is known while a document is read.
#[derive(Default)]
struct Reader {
    /// The names and places that lead to the value being read; on a failure, to the one at fault.
    path: Vec<Step>,
    values: usize,
    /// What is wrong, if it is we who say so and not the JSON parser.
    reason: Option<String>,
}

enum Step {
    Name(&'static str),
    Unknown(String),
    Element(usize),
}

impl Reader {
    fn fail<E: serde::de::Error>(&mut self, reason: impl Into<String>) -> E {
        self.reason = Some(reason.into());
        E::custom("refused")
    }

    fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.fail(format!("more than {MAX_VALUES} values in one request")));
        }
        if self.path.len() > 2 * MAX_DEPTH {
            return Err(self.fail(format!("more than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    fn failure(self, error: &serde_json::Error) -> ToolError {
        let mut name = String::new();
        for step in &self.path {
            match step {
                Step::Element(index) => name.push_str(&format!("[{index}]")),
                Step::Name(step) => name.push_str(&format!(".{step}")),
                Step::Unknown(step) => name.push_str(&format!(".{step}")),
            }
        }
        let name = if name.is_empty() { "body" } else { name.trim_start_matches('.') };
        let error = match self.reason {
            Some(reason) => ToolError::invalid_argument(name, reason)
                .with_detail("line", error.line())
                .with_detail("column", error.column()),
            // The parser's own words name a place and what it wanted, never what it found.
            None => ToolError::invalid_argument(name, format!("not JSON: {error}")),
        };
        error.with_hint("docs/protocol.md and /openapi.json say what each operation takes")
    }
}

/// Any message, from an object.
struct AnyMessage<'a> {
    message: &'static Message,
    out: &'a mut Vec<u8>,
    reader: &'a mut Reader,
}

impl<'de> DeserializeSeed<'de> for AnyMessage<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Self { message, out, reader } = self;
        json.deserialize_any(OneValue { kind: Take::Fields(message), out, reader }).map(|_| ())
    }
}

/// The value of a field: one, or a list if it is repeated.
struct FieldValue<'a> {
    field: &'static Field,
    out: &'a mut Vec<u8>,
    reader: &'a mut Reader,
}

impl<'de> DeserializeSeed<'de> for FieldValue<'_> {
    /// Whether there was a value: `null` is none.
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        let Self { field, out, reader } = self;
        let kind = if field.repeated { Take::List(field) } else { Take::One(field) };
        json.deserialize_any(OneValue { kind, out, reader })
    }
}

/// What is to be taken from the next value.
#[derive(Clone, Copy)]
enum Take {
    Fields(&'static Message),
    List(&'static Field),
    One(&'static Field),
}

impl Take {
    /// What the value must be.
    fn wanted(self) -> String {
        match self {
            Self::Fields(_) => "must be an object".to_owned(),
            Self::List(_) => "must be a list".to_owned(),
            Self::One(field) => wanted(field.kind),
        }
    }
}

/// What a value of this kind must be.
pub(super) fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Bool => "must be true or false".to_owned(),
        Kind::Int32 => format!("must be a whole number from {} to {}", i32::MIN, i32::MAX),
        Kind::Int64 => format!("must be a whole number from {} to {}", i64::MIN, i64::MAX),
        Kind::Uint32 => format!("must be a whole number from 0 to {}", u32::MAX),
        Kind::Uint64 => format!("must be a whole number from 0 to {}", u64::MAX),
        Kind::String => "must be a string".to_owned(),
        Kind::Bytes => "must be a string in base64".to_owned(),
        Kind::Enum(of) => format!("must be one of {}", contract().enums[of].names()),
        Kind::Message(of) if is_byte_string(of) => {
            "must be a string, or an object {\"base64\": \"…\"}".to_owned()
        }
        Kind::Message(_) => "must be an object".to_owned(),
    }
}

fn is_byte_string(message: usize) -> bool {
    contract().messages[message].special == Some(Special::ByteString)
}

/// Takes one value, of whatever kind the document has there.
struct OneValue<'a> {
    kind: Take,
    out: &'a mut Vec<u8>,
    reader: &'a mut Reader,
}

impl OneValue<'_> {
    fn wrong<E: serde::de::Error>(self) -> E {
        let wanted = self.kind.wanted();
        self.reader.fail(wanted)
    }

    fn number<E: serde::de::Error>(self, number: i128) -> Result<bool, E> {
        self.reader.count()?;
        let Take::One(field) = self.kind else { return Err(self.wrong()) };
        match varint(field.kind, number) {
            Some(varint) => put_varint(self.out, field.number, varint),
            None => return Err(self.wrong()),
        }
        Ok(true)
    }
}

impl<'de> Visitor<'de> for OneValue<'_> {
    /// Whether there was a value: `null` is none.
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value of the contract's type")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<bool, E> {
        self.reader.count()?;
        // `null` is a field that is not there. In a list it would be an element without a value.
        let element = matches!(self.reader.path.last(), None | Some(Step::Element(_)));
        if element { Err(self.wrong()) } else { Ok(false) }
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<bool, E> {
        self.reader.count()?;
        match self.kind {
            Take::One(Field { kind: Kind::Bool, number, .. }) => {
                put_varint(self.out, *number, u64::from(value));
                Ok(true)
            }
            _ => Err(self.wrong()),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<bool, E> {
        self.number(value.into())
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<bool, E> {
        self.number(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<bool, E> {
        // Up to 2^53 a float that is whole is exactly the number that was meant.
        #[allow(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        match value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
            true => self.number(value as i128),
            false => Err(self.wrong()),
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<bool, E> {
        self.reader.count()?;
        let Take::One(field) = self.kind else { return Err(self.wrong()) };
        match put_text(self.out, field, text.as_bytes()) {
            true => Ok(true),
            false => Err(self.wrong()),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let Take::List(field) = self.kind else { return Err(self.wrong()) };
        self.reader.count()?;
        let mut index = 0;
        loop {
            self.reader.path.push(Step::Element(index));
            let kind = Take::One(field);
            let element = Element(OneValue { kind, out: self.out, reader: self.reader });
            let more = list.next_element_seed(element)?;
            self.reader.path.pop();
            if more.is_none() {
                return Ok(true);
            }
            index += 1;
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<bool, A::Error> {
        self.reader.count()?;
        match self.kind {
            Take::Fields(message) => self.fields(message, map)?,
            Take::One(Field { kind: Kind::Message(of), number, .. }) => {
                let mut nested = Vec::new();
                let inner = OneValue { kind: self.kind, out: &mut nested, reader: self.reader };
                inner.fields(&contract().messages[*of], map)?;
                put_bytes(self.out, *number, &nested);
            }
            _ => return Err(self.wrong()),
        }
        Ok(true)
    }
}

impl OneValue<'_> {
    /// Takes the fields of an object.
    fn fields<'de, A: MapAccess<'de>>(
        self,
        message: &'static Message,
        mut map: A,
    ) -> Result<(), A::Error> {
        let Self { out, reader, .. } = self;
        let mut seen: Vec<(&'static Field, bool)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let Some(field) = message.field(&name) else {
                reader.path.push(Step::Unknown(name.chars().take(SHOWN_NAME).collect()));
                let known: Vec<&str> = message.fields.iter().map(|f| f.name.as_str()).collect();
                let known = match known.as_slice() {
                    [] => "it has none".to_owned(),
                    known => format!("it has {}", known.join(", ")),
                };
                return Err(reader.fail(format!("{} has no such field; {known}", message.name)));
            };
            reader.path.push(Step::Name(&field.name));
            if seen.iter().any(|(other, _)| other.number == field.number) {
                return Err(reader.fail("is given twice"));
            }
            let given = map.next_value_seed(FieldValue { field, out, reader })?;
            let mut rivals = seen.iter().filter(|(_, given)| *given).map(|(other, _)| other);
            let rival = rivals.find(|other| field.oneof.is_some() && other.oneof == field.oneof);
            if let Some(rival) = rival.filter(|_| given) {
                return Err(reader.fail(format!("cannot be given with {}", rival.name)));
            }
            seen.push((field, given));
            reader.path.pop();
        }
        Ok(())
    }
}

/// An element of a list.
struct Element<'a>(OneValue<'a>);

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self.0)
    }
}
