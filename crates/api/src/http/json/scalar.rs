//! Plain values, from JSON and from queries alike.

use prost::encoding::{WireType, encode_key, encode_varint};

use super::decode::from_base64;
use super::wire::{bytes_len, put_bytes, put_varint};
use crate::http::contract::{Field, Kind, Special, contract};

/// A number as the varint of its kind, if the kind is a number's and has room for it.
pub(super) fn varint(kind: Kind, number: i128) -> Option<u64> {
    match kind {
        Kind::Int32 => i32::try_from(number).ok().map(|number| i64::from(number).cast_unsigned()),
        Kind::Int64 => i64::try_from(number).ok().map(i64::cast_unsigned),
        Kind::Uint32 => u32::try_from(number).ok().map(u64::from),
        Kind::Uint64 => u64::try_from(number).ok(),
        Kind::Enum(of) => {
            let number = i32::try_from(number).ok()?;
            contract().enums[of].by_number(number).map(|_| i64::from(number).cast_unsigned())
        }
        Kind::Bool | Kind::String | Kind::Bytes | Kind::Message(_) => None,
    }
}

/// Appends the value that a text means; `false` if it means none.
pub(super) fn put_text(out: &mut Vec<u8>, field: &Field, bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes);
    match (field.kind, text) {
        (Kind::String, Ok(_)) => put_bytes(out, field.number, bytes),
        (Kind::Message(of), _) if contract().messages[of].special == Some(Special::ByteString) => {
            // The text is the first field of a `ByteString`, bytes that are none the second.
            let inner = if text.is_ok() { 1 } else { 2 };
            out.reserve(bytes.len() + 16);
            encode_key(field.number, WireType::LengthDelimited, out);
            encode_varint(bytes_len(inner, bytes.len()) as u64, out);
            put_bytes(out, inner, bytes);
        }
        (Kind::Bytes, Ok(text)) => match from_base64(text) {
            Some(bytes) => put_bytes(out, field.number, &bytes),
            None => return false,
        },
        (Kind::Enum(of), Ok(text)) if contract().enums[of].by_name(text).is_some() => {
            let number = contract().enums[of].by_name(text).map_or(0, |value| value.number);
            put_varint(out, field.number, i64::from(number).cast_unsigned());
        }
        (Kind::Int32 | Kind::Int64 | Kind::Uint32 | Kind::Uint64 | Kind::Enum(_), Ok(text)) => {
            let plain = text
                .bytes()
                .enumerate()
                .all(|(index, byte)| byte.is_ascii_digit() || (byte == b'-' && index == 0));
            let number = text.parse().ok().filter(|_| plain);
            match number.and_then(|number| varint(field.kind, number)) {
                Some(value) => put_varint(out, field.number, value),
                None => return false,
            }
        }
        _ => return false,
    }
    true
}
