//! Messages as JSON: straight from one encoding to the other, without a tree in between, so that
//! what a message takes in memory is in proportion to its size.

mod decode;
mod encode;
mod query;
mod scalar;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use decode::decode;
pub(crate) use encode::Encoded;
pub(crate) use query::decode_query;
pub(crate) use wire::{Value, last, put_bytes, put_varint};

/// The most values (objects, elements and plain values) in one request. Two bytes of JSON can become
/// a hundred in memory, so that the limit on a request's size does not bound what it takes. The
/// largest honest request is a caller's environment or a list of arguments, with some thousands.
pub(crate) const MAX_VALUES: usize = 200_000;

/// How deep messages may lie in each other. The contract's deepest has five levels.
const MAX_DEPTH: usize = 32;
