//! Encoded messages of any shape, made from bytes.

use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};

/// The most fields that are written into one message.
const MAX_FIELDS: u8 = 6;

/// The most entries that are written behind each other.
const MAX_ENTRIES: u8 = 12;

/// A message with fields, lists and texts as the bytes say.
pub(crate) fn message(message: &MessageDescriptor, entropy: &[u8]) -> Vec<u8> {
    fill(message, &mut entropy.iter().copied())
}

fn fill(message: &MessageDescriptor, entropy: &mut impl Iterator<Item = u8>) -> Vec<u8> {
    let fields: Vec<_> = message.fields().collect();
    let mut encoded = Vec::new();
    let count = entropy.next().unwrap_or_default() % MAX_FIELDS;
    for _ in 0..count {
        let which = usize::from(entropy.next().unwrap_or_default());
        let Some(field) = fields.get(which % fields.len().max(1)) else { break };
        let times =
            if field.is_list() { entropy.next().unwrap_or_default() % MAX_ENTRIES } else { 1 };
        for _ in 0..times {
            write(field, &mut encoded, entropy);
        }
    }
    encoded
}

fn write(field: &FieldDescriptor, encoded: &mut Vec<u8>, entropy: &mut impl Iterator<Item = u8>) {
    let content = match field.kind() {
        Kind::Message(inner) => fill(&inner, entropy),
        Kind::String | Kind::Bytes => {
            let length = entropy.next().unwrap_or_default() % 40;
            (0..length).map(|_| entropy.next().unwrap_or_default() & 0x7f).collect()
        }
        _ if field.is_packed() => {
            let length = entropy.next().unwrap_or_default() % 40;
            (0..length).map(|_| entropy.next().unwrap_or_default() & 0x7f).collect()
        }
        _ => {
            encode_key(field.number(), WireType::Varint, encoded);
            encode_varint(entropy.next().unwrap_or_default().into(), encoded);
            return;
        }
    };
    encode_key(field.number(), WireType::LengthDelimited, encoded);
    encode_varint(content.len() as u64, encoded);
    encoded.extend(content);
}

/// For each list of the message, and of those that stand in it: a message of so many bytes with
/// nothing but its empty entries.
pub(crate) fn densest(message: &MessageDescriptor, bytes: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for field in message.fields() {
        match field.kind() {
            _ if field.is_packed() => all.push(within(&field, vec![1; bytes])),
            Kind::Message(_) | Kind::String | Kind::Bytes if field.is_list() => {
                let mut entry = Vec::new();
                encode_key(field.number(), WireType::LengthDelimited, &mut entry);
                entry.push(0);
                all.push(entry.repeat(bytes / entry.len()));
            }
            Kind::Message(inner) => {
                all.extend(densest(&inner, bytes).into_iter().map(|dense| within(&field, dense)));
            }
            _ => {}
        }
    }
    all
}

fn within(field: &FieldDescriptor, content: Vec<u8>) -> Vec<u8> {
    let mut encoded = Vec::new();
    encode_key(field.number(), WireType::LengthDelimited, &mut encoded);
    encode_varint(content.len() as u64, &mut encoded);
    encoded.extend(content);
    encoded
}
