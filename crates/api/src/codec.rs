//! How messages come off the wire: measured first, then decoded.
//!
//! The limits on encoded messages do not bound what they become. A few MiB of tiny entries grow a
//! hundredfold, on a server as on the client of a hostile one, so both look at what they decode.

use std::marker::PhantomData;

use bytes::Buf;
use prost::{Message, Name};
use stigmer_core::{ErrorCode, ToolError};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::ProstEncoder;

use crate::convert::errors;
use crate::message_size::{
    MAX_DECODED_REPLY_BYTES, MAX_DECODED_REQUEST_BYTES, MAX_FOREIGN_ERROR_BYTES,
    MAX_UNMEASURED_BYTES,
};
use crate::shape::{Shape, Unfit};

/// The codec of the generated clients and servers.
pub(crate) struct Guarded<T, U>(PhantomData<fn(T) -> U>);

impl<T, U> Default for Guarded<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for Guarded<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Decodes<U>;

    fn encoder(&mut self) -> ProstEncoder<T> {
        ProstEncoder::default()
    }

    fn decoder(&mut self) -> Decodes<U> {
        Decodes::default()
    }
}

/// Takes messages off the wire.
pub(crate) struct Decodes<U>(PhantomData<fn() -> U>);

impl<U> Default for Decodes<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Name + Default> Decoder for Decodes<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let decoded = if buffer.remaining() > MAX_UNMEASURED_BYTES {
            let whole = buffer.copy_to_bytes(buffer.remaining());
            check::<U>(&whole)?;
            U::decode(whole)
        } else {
            U::decode(buffer)
        };
        // What gRPC says of a message that cannot be decoded.
        decoded.map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// Refuses an encoded message that would take too much memory.
///
/// # Errors
/// The status of `too_large`; `INTERNAL`, which is what gRPC says of a message that cannot be
/// decoded.
pub fn check<U: Name>(encoded: &[u8]) -> Result<(), Status> {
    let name = U::full_name();
    let unknown = || Status::internal(format!("the contract has no {name}"));
    let shape = Shape::of(&name).ok_or_else(unknown)?;
    let limit =
        if shape.is_request() { MAX_DECODED_REQUEST_BYTES } else { MAX_DECODED_REPLY_BYTES };
    match shape.measure(encoded, limit) {
        Ok(_) => Ok(()),
        Err(Unfit::Broken) => Err(Status::internal(format!("{name}: cannot be decoded"))),
        Err(Unfit::TooLarge) => {
            let size = encoded.len();
            let text = format!(
                "{name}: a message of {size} bytes would take more than the {limit} bytes of \
                 memory that one may take: it has too many entries"
            );
            let error = ToolError::new(ErrorCode::TooLarge, text)
                .with_hint("ask with fewer or larger entries")
                .with_detail("message", name)
                .with_detail("size", size)
                .with_detail("limit", limit);
            Err(errors::status_within(&error, MAX_FOREIGN_ERROR_BYTES))
        }
    }
}
