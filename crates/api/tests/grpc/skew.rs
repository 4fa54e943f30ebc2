//! Clients of another version.

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use prost::Message as _;
use stigmer_api::message_size::MAX_DECODED_REQUEST_BYTES;
use stigmer_api::wire;
use stigmer_core::{ByteString, ErrorCode, ToolError};
use tonic::Status;
use tower::ServiceExt as _;

use crate::place::{Place, error, trials};

trials! {
    a_client_of_our_version_is_not_looked_at,
    a_field_that_is_unknown_is_refused,
    a_field_that_is_unknown_is_refused_within_another,
    every_message_of_a_stream_is_looked_at,
    a_message_that_arrives_in_pieces_is_looked_at,
    what_is_no_message_is_refused_all_the_same,
    a_message_of_too_many_entries_is_refused,
    a_method_that_is_unknown_is_named,
}

const OURS: Option<&str> = Some(env!("CARGO_PKG_VERSION"));

/// A message as gRPC frames it.
fn framed(message: &[u8]) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.extend_from_slice(message);
    frame.freeze()
}

/// What a call fails with whose body is these bytes.
async fn call<B>(place: &Place, path: &str, version: Option<&str>, body: B) -> Result<(), ToolError>
where
    B: http_body::Body<Data = Bytes, Error = std::convert::Infallible> + Send + 'static,
{
    let mut request = http::Request::post(path).header("content-type", "application/grpc");
    if let Some(version) = version {
        request = request.header("stigmer-version", version);
    }
    let response = place.routes.clone().oneshot(request.body(body).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let body = body.collect().await.unwrap();
    let status = Status::from_header_map(body.trailers().unwrap_or(&head.headers)).unwrap();
    match status.code() {
        tonic::Code::Ok => Ok(()),
        _ => Err(error::<()>(Err(status))),
    }
}

/// Lists the workspace's root, and says something that the server does not know.
fn list() -> Vec<u8> {
    let mut message = wire::ListDirectoryRequest::default().encode_to_vec();
    message.extend_from_slice(b"\xf8\x3f\x01");
    message
}

async fn a_client_of_our_version_is_not_looked_at(place: Place) {
    let body = Full::new(framed(&list()));
    call(&place, "/stigmer.v1.Files/List", OURS, body).await.unwrap();
}

async fn a_field_that_is_unknown_is_refused(place: Place) {
    for version in [None, Some("0.0.1"), Some("")] {
        let body = Full::new(framed(&list()));
        let refused = call(&place, "/stigmer.v1.Files/List", version, body).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unsupported);
        assert_eq!(refused.details["field"], 1023);
        assert_eq!(refused.details["message"], "stigmer.v1.ListDirectoryRequest");
        assert_eq!(refused.details["server_version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(refused.details["client_version"], version.unwrap_or("unknown"));
        // What it knows it does.
        let body = Full::new(framed(&wire::ListDirectoryRequest::default().encode_to_vec()));
        call(&place, "/stigmer.v1.Files/List", version, body).await.unwrap();
    }
}

async fn a_field_that_is_unknown_is_refused_within_another(place: Place) {
    // shell = {text = "touch f", 15 = 1}
    let line = b"\x0a\x07touch f\x78\x01";
    let mut start = vec![0x12, 2 + line.len() as u8, 0x0a, line.len() as u8];
    start.extend_from_slice(line);
    wire::StartProcessRequest::decode(start.as_slice()).unwrap();
    let body = Full::new(framed(&start));
    let path = "/stigmer.v1.Processes/Start";
    let refused = call(&place, path, Some("0.0.1"), body).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unsupported);
    assert_eq!(refused.details["message"], "stigmer.v1.ByteString");
    assert!(!place.path("f").exists());
}

fn upload(finish: &[u8]) -> Bytes {
    let begin = wire::UploadBegin {
        path: Some(ByteString::from("f").into()),
        format: wire::TransferFormat::File.into(),
        ..Default::default()
    };
    let part = |part| wire::UploadRequest { part: Some(part) }.encode_to_vec();
    let mut all = BytesMut::new();
    all.extend_from_slice(&framed(&part(wire::upload_request::Part::Begin(begin))));
    all.extend_from_slice(&framed(&part(wire::upload_request::Part::Data("data".into()))));
    all.extend_from_slice(&framed(finish));
    all.freeze()
}

const UPLOAD: &str = "/stigmer.v1.Transfers/Upload";

async fn every_message_of_a_stream_is_looked_at(place: Place) {
    // finish = {1 = 1}
    let refused = call(&place, UPLOAD, None, Full::new(upload(b"\x1a\x02\x08\x01"))).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unsupported);
    assert_eq!(refused.details["message"], "stigmer.v1.UploadFinish");
    assert!(!place.path("f").exists());
    call(&place, UPLOAD, None, Full::new(upload(b"\x1a\x00"))).await.unwrap();
    assert_eq!(std::fs::read_to_string(place.path("f")).unwrap(), "data");
}

async fn a_message_that_arrives_in_pieces_is_looked_at(place: Place) {
    let pieces = |finish| {
        let bytes = upload(finish);
        let pieces = (0..bytes.len()).map(move |at| {
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes.slice(at..=at)))
        });
        http_body_util::StreamBody::new(futures_util::stream::iter(pieces.collect::<Vec<_>>()))
    };
    let refused = call(&place, UPLOAD, None, pieces(b"\x1a\x02\x08\x01")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Unsupported);
    call(&place, UPLOAD, None, pieces(b"\x1a\x00")).await.unwrap();
}

async fn what_is_no_message_is_refused_all_the_same(place: Place) {
    let path = "/stigmer.v1.Files/List";
    let half = framed(&list()).slice(..7);
    let long = Bytes::from_static(b"\x00\xff\xff\xff\xff");
    let compressed = Bytes::from_static(b"\x01\x00\x00\x00\x00");
    let broken = framed(b"\x12\xff");
    for body in [half, long, compressed, broken] {
        call(&place, path, None, Full::new(body)).await.unwrap_err();
    }
}

async fn a_message_of_too_many_entries_is_refused(place: Place) {
    let path = "/stigmer.v1.Processes/Start";
    let variables = Bytes::from(b"\x22\x00".repeat(1 << 20));
    for version in [None, OURS] {
        let body = Full::new(framed(&variables));
        let refused = call(&place, path, version, body).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooLarge, "{refused}");
        assert_eq!(refused.details["message"], "stigmer.v1.StartProcessRequest");
        assert_eq!(refused.details["limit"], MAX_DECODED_REQUEST_BYTES);
    }
}

async fn a_method_that_is_unknown_is_named(place: Place) {
    for path in ["/stigmer.v1.Files/Invent", "/stigmer.v1.Inventions/Invent", "/stigmer.v1.Files"] {
        let refused = call(&place, path, OURS, Full::new(framed(b""))).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Unsupported);
        assert_eq!(refused.details["method"], path[1..]);
        assert_eq!(refused.details["server_version"], env!("CARGO_PKG_VERSION"));
    }
    // Of what is not ours the library speaks.
    let refused = call(&place, "/other.v1.Files/Read", OURS, Full::new(framed(b""))).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Unsupported);
}
