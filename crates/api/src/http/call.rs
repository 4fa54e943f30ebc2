//! A call of the gRPC services from inside: what HTTP is translated to.

use bytes::{Buf, BufMut, Bytes};
use futures_util::Stream;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Uri};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use super::contract::Operation;

/// The header that names a request in logs and events.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The headers of a request that its call has, too.
const PASSED_ON: &[&str] =
    &["authorization", "grpc-timeout", "traceparent", "tracestate", "x-request-id"];

/// The header in which a client says which contract it knows.
const VERSION: HeaderName = HeaderName::from_static("stigmer-version");

/// How many random bytes make a request's id: enough that none occurs twice.
const REQUEST_ID_BYTES: usize = 8;

/// A call before its messages are known.
pub(super) struct Call {
    pub(super) operation: &'static Operation,
    grpc: Grpc<Routes>,
    metadata: HeaderMap,
    extensions: Extensions,
}

impl Call {
    /// The call that stands for an HTTP request.
    pub(super) fn new(
        operation: &'static Operation,
        routes: Routes,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Self {
        let mut metadata = HeaderMap::new();
        for name in PASSED_ON {
            if let Some(value) = headers.get(*name) {
                metadata.insert(*name, value.clone());
            }
        }
        // Fields that this build does not know were refused when the JSON was read.
        metadata.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        let mut extensions = extensions.clone();
        extensions.remove::<hyper::upgrade::OnUpgrade>();
        // The replies come from this process, and what they hold is bounded where they are made.
        let grpc = Grpc::with_origin(routes, Uri::from_static("http://localhost"))
            .max_decoding_message_size(usize::MAX);
        Self { operation, grpc, metadata, extensions }
    }

    /// Calls an operation that has one reply.
    pub(super) async fn one<S>(mut self, messages: S) -> Result<Bytes, Status>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let request = self.request(messages);
        let path = self.operation.grpc.clone();
        self.ready().await?;
        self.grpc.client_streaming(request, path, Raw).await.map(Response::into_inner)
    }

    /// Calls an operation that has a stream of replies. Dropping the stream ends the call.
    pub(super) async fn many<S>(mut self, messages: S) -> Result<Streaming<Bytes>, Status>
    where
        S: Stream<Item = Bytes> + Send + 'static,
    {
        let request = self.request(messages);
        let path = self.operation.grpc.clone();
        self.ready().await?;
        self.grpc.streaming(request, path, Raw).await.map(Response::into_inner)
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.grpc.ready().await.map_err(|never| match never {})
    }

    fn request<S>(&mut self, messages: S) -> Request<S> {
        let metadata = MetadataMap::from_headers(std::mem::take(&mut self.metadata));
        Request::from_parts(metadata, std::mem::take(&mut self.extensions), messages)
    }
}

/// The id of a request whose client gave it none.
pub(super) fn new_request_id() -> HeaderValue {
    let mut random = [0; REQUEST_ID_BYTES];
    // Without randomness the id is of no use, but the request is none the worse.
    let _ = getrandom::fill(&mut random);
    let id = format!("{:016x}", u64::from_be_bytes(random));
    HeaderValue::try_from(id).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// Messages as the bytes that they are.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.len());
        out.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
