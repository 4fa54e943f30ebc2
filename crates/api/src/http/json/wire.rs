//! The protobuf encoding, as far as messages that are looked through in place need it.

use prost::encoding::{
    WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint, key_len,
};

/// Bytes that are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are no message")]
pub(crate) struct Broken;

/// The value of one field as it stands in an encoded message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// A number, a bool or an enum.
    Varint(u64),
    /// Text, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
    /// A fixed number; the contract has none.
    Other,
}

/// The fields of an encoded message, in the order in which they stand there.
pub(crate) fn fields(mut rest: &[u8]) -> impl Iterator<Item = Result<(u32, Value<'_>), Broken>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_err() {
            rest = &[];
        }
        Some(field)
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Result<(u32, Value<'a>), Broken> {
    let (number, wire_type) = decode_key(rest).map_err(|_| Broken)?;
    let value = match wire_type {
        WireType::Varint => Value::Varint(varint(rest)?),
        WireType::LengthDelimited => {
            let length = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
            Value::Bytes(take(rest, length)?)
        }
        WireType::SixtyFourBit => take(rest, 8).map(|_| Value::Other)?,
        WireType::ThirtyTwoBit => take(rest, 4).map(|_| Value::Other)?,
        // A group is an error here: proto3 has none.
        WireType::StartGroup | WireType::EndGroup => return Err(Broken),
    };
    Ok((number, value))
}

/// The next varint.
pub(super) fn varint(rest: &mut &[u8]) -> Result<u64, Broken> {
    decode_varint(rest).map_err(|_| Broken)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], Broken> {
    let (head, tail) = rest.split_at_checked(length).ok_or(Broken)?;
    *rest = tail;
    Ok(head)
}

/// The last value of a field, which is the one that counts.
pub(crate) fn last(message: &[u8], number: u32) -> Option<Value<'_>> {
    let of_number = fields(message).filter_map(Result::ok).filter(|(found, _)| *found == number);
    of_number.last().map(|(_, value)| value)
}

/// Appends a number.
pub(crate) fn put_varint(message: &mut Vec<u8>, number: u32, value: u64) {
    encode_key(number, WireType::Varint, message);
    encode_varint(value, message);
}

/// Appends text, bytes or a message.
pub(crate) fn put_bytes(message: &mut Vec<u8>, number: u32, value: &[u8]) {
    message.reserve(bytes_len(number, value.len()));
    encode_key(number, WireType::LengthDelimited, message);
    encode_varint(value.len() as u64, message);
    message.extend_from_slice(value);
}

/// How long a field with so many bytes is when it is encoded.
pub(crate) fn bytes_len(number: u32, length: usize) -> usize {
    key_len(number) + encoded_len_varint(length as u64) + length
}
