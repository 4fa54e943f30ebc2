//! Errors on the wire.

use proptest::prelude::*;
use stigmer_core::{ErrorCode, ToolError};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::any;
use crate::convert::errors::{
    ERROR_TRAILER, from_status, grpc_code, http_status, status, status_within,
};
use crate::message_size::{MAX_ERROR_BYTES, MAX_FOREIGN_ERROR_BYTES};
use crate::wire;

proptest! {
    #[test]
    fn an_error_arrives_whole(error in any::error()) {
        let status = status(&error);
        prop_assert_eq!(status.code(), grpc_code(error.code));
        prop_assert_eq!(from_status(&status), error);
    }

    #[test]
    fn a_trailer_of_anything_does_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut status = Status::new(Code::NotFound, "x");
        status.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&bytes));
        from_status(&status);
    }
}

#[test]
fn every_code_is_an_error_to_grpc_and_to_http() {
    for code in ErrorCode::ALL {
        assert_ne!(grpc_code(*code), Code::Ok);
        assert!(http_status(*code).is_client_error() || http_status(*code).is_server_error());
    }
}

#[test]
fn an_error_that_is_too_long_loses_its_longest_details_first() {
    let error = ToolError::new(ErrorCode::TextNotFound, "short")
        .with_hint("hint")
        .with_detail("lines", "x".repeat(MAX_FOREIGN_ERROR_BYTES))
        .with_detail("path", "p");
    assert_eq!(from_status(&status(&error)), error);
    let cut = from_status(&status_within(&error, MAX_FOREIGN_ERROR_BYTES));
    assert_eq!((cut.message.as_str(), cut.hint.as_deref()), ("short", Some("hint")));
    assert_eq!(cut.details.keys().collect::<Vec<_>>(), ["path"]);
}

#[test]
fn no_error_is_longer_than_its_room() {
    let long = "ä".repeat(MAX_ERROR_BYTES);
    let error = ToolError::new(ErrorCode::Io, long.clone()).with_hint(long.clone());
    let error = error.with_detail("a", long.clone()).with_detail("b", long);
    for most in [MAX_FOREIGN_ERROR_BYTES, MAX_ERROR_BYTES] {
        let status = status_within(&error, most);
        let trailer = status.metadata().get_bin(ERROR_TRAILER).unwrap().to_bytes().unwrap();
        assert!(trailer.len() <= most, "{}", trailer.len());
        assert!(status.message().len() < 600);
        let arrived = from_status(&status);
        assert!(arrived.message.ends_with('…') && arrived.hint.is_some_and(|it| it.ends_with('…')));
    }
}

#[test]
fn a_code_of_a_newer_server_is_io_and_named() {
    let error = wire::Error { code: "new_code".into(), message: "m".into(), ..Default::default() };
    let error = ToolError::from(error);
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::Io, "m (new_code)"));
}

#[test]
fn details_that_are_no_object_are_left_out() {
    for details_json in ["", "[1]", "{", "null", &"[".repeat(100_000)] {
        let details_json = details_json.to_owned();
        let error = wire::Error { code: "io".into(), details_json, ..Default::default() };
        assert!(ToolError::from(error).details.is_empty());
    }
}

#[test]
fn a_status_without_an_error_means_what_its_code_means() {
    for (code, expected) in [
        (Code::Unimplemented, ErrorCode::Unsupported),
        (Code::Unavailable, ErrorCode::Unavailable),
        (Code::DeadlineExceeded, ErrorCode::DeadlineExceeded),
        (Code::Unauthenticated, ErrorCode::Unauthenticated),
        (Code::ResourceExhausted, ErrorCode::OutOfResources),
        (Code::OutOfRange, ErrorCode::TooLarge),
        (Code::Cancelled, ErrorCode::CompletionUnknown),
        (Code::Unknown, ErrorCode::CompletionUnknown),
    ] {
        let error = from_status(&Status::new(code, "what it said"));
        assert_eq!((error.code, error.message.as_str()), (expected, "what it said"));
    }
    assert!(!from_status(&Status::new(Code::Unknown, "")).message.is_empty());
    // Nor does a trailer that is too long count.
    let mut status = Status::new(Code::NotFound, "x");
    let bytes = vec![0; MAX_ERROR_BYTES + 100];
    status.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&bytes));
    assert_eq!(from_status(&status).code, ErrorCode::NotFound);
}
