//! Whatever a server says of a failure becomes an error of bounded size, and one that is sent again
//! is the same.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use stigmer_api::convert::errors::{ERROR_TRAILER, disarm, from_status, status};
use stigmer_api::message_size::MAX_ERROR_BYTES;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

#[derive(Arbitrary, Debug)]
struct Answer {
    code: i32,
    message: String,
    /// The trailer's bytes, encoded as they should be.
    error: Option<Vec<u8>>,
    /// Headers as a server might send them, the trailer among them.
    headers: Vec<(Name, Vec<u8>)>,
}

#[derive(Arbitrary, Debug)]
enum Name {
    Error,
    Status,
    Message,
    Details,
}

impl Name {
    fn text(&self) -> &'static str {
        match self {
            Self::Error => ERROR_TRAILER,
            Self::Status => "grpc-status",
            Self::Message => "grpc-message",
            Self::Details => "grpc-status-details-bin",
        }
    }
}

/// Understands a status, and sees that what came of it travels on.
fn check(given: &Status) {
    let error = from_status(given);
    assert!(error.message.len() <= 2 * MAX_ERROR_BYTES);
    assert!(error.hint.as_ref().is_none_or(|hint| hint.len() <= 2 * MAX_ERROR_BYTES));
    let sent = status(&error);
    let encoded = sent.metadata().get_bin(ERROR_TRAILER).unwrap().to_bytes().unwrap();
    assert!(encoded.len() <= MAX_ERROR_BYTES, "{} bytes", encoded.len());
    let again = from_status(&sent);
    assert_eq!((again.code, again.retryable), (error.code, error.retryable));
    if error.message.len() < MAX_ERROR_BYTES / 3 {
        assert_eq!(again.message, error.message);
    }
}

fuzz_target!(|answer: Answer| {
    let mut given = Status::new(Code::from_i32(answer.code), &answer.message);
    if let Some(error) = &answer.error {
        given.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(error));
    }
    check(&given);
    let mut headers = http::HeaderMap::new();
    for (name, value) in &answer.headers {
        if let Ok(value) = http::HeaderValue::from_bytes(value) {
            headers.append(name.text(), value);
        }
    }
    disarm(&mut headers);
    if let Some(given) = Status::from_header_map(&headers) {
        check(&given);
    }
});
