//! Messages on their way: a request is encoded once, however often it is sent.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends encoded messages and decodes answers.
pub(super) struct Encoded<R>(PhantomData<fn() -> R>);

impl<R> Default for Encoded<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// Puts encoded messages on the wire.
pub(super) struct Passes;

/// Takes messages off the wire.
pub(super) struct Decodes<R>(PhantomData<fn() -> R>);

impl<R: Message + Default + Send + 'static> Codec for Encoded<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Passes;
    type Decoder = Decodes<R>;

    fn encoder(&mut self) -> Passes {
        Passes
    }

    fn decoder(&mut self) -> Decodes<R> {
        Decodes(PhantomData)
    }
}

impl Encoder for Passes {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl<R: Message + Default> Decoder for Decodes<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        R::decode(buffer).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
