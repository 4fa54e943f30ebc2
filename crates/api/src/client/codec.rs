//! Messages on their way: a request is encoded once, however often it is sent.

use std::marker::PhantomData;

use bytes::{BufMut as _, Bytes};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};

use crate::codec::Decodes;

/// Sends encoded messages and decodes answers.
pub(super) struct Encoded<R>(PhantomData<fn() -> R>);

impl<R> Default for Encoded<R> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

/// Puts encoded messages on the wire.
pub(super) struct Passes;

impl<R: Message + Name + Default + Send + 'static> Codec for Encoded<R> {
    type Encode = Bytes;
    type Decode = R;
    type Encoder = Passes;
    type Decoder = Decodes<R>;

    fn encoder(&mut self) -> Passes {
        Passes
    }

    fn decoder(&mut self) -> Decodes<R> {
        Decodes::default()
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
