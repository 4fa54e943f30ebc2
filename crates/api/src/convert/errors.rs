//! Errors: data at both ends, a status between them.
//!
//! The whole error is in the trailer `stigmer-error-bin`. The status has the nearest gRPC code and
//! the beginning of the message, for clients that know nothing else.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode};
use prost::Message;
use serde_json::Value;
use stigmer_core::{ErrorCode, ToolError};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::message_size::{MAX_ERROR_BYTES, MAX_STATUS_MESSAGE_BYTES};
use crate::wire;

/// The trailer that holds an error.
pub const ERROR_TRAILER: &str = "stigmer-error-bin";

/// Another trailer for details, which this contract does not use.
const OTHER_DETAILS: &str = "grpc-status-details-bin";

/// Marks where a text was cut.
const CUT: &str = " …";

macro_rules! statuses {
    ($($error:ident = $grpc:ident, $http:ident;)+) => {
        /// The gRPC code that comes nearest.
        pub fn grpc_code(code: ErrorCode) -> Code {
            match code { $(ErrorCode::$error => Code::$grpc,)+ }
        }

        /// The HTTP status that comes nearest.
        pub fn http_status(code: ErrorCode) -> StatusCode {
            match code { $(ErrorCode::$error => StatusCode::$http,)+ }
        }
    };
}

statuses! {
    InvalidArgument = InvalidArgument, BAD_REQUEST;
    BadGlob = InvalidArgument, BAD_REQUEST;
    BadRegex = InvalidArgument, BAD_REQUEST;
    EmptyOldString = InvalidArgument, BAD_REQUEST;
    IdenticalStrings = InvalidArgument, BAD_REQUEST;
    BadConfiguration = InvalidArgument, BAD_REQUEST;
    NotFound = NotFound, NOT_FOUND;
    UnknownProcess = NotFound, NOT_FOUND;
    UnknownWorkspace = NotFound, NOT_FOUND;
    TextNotFound = NotFound, NOT_FOUND;
    Stale = Aborted, CONFLICT;
    Exists = AlreadyExists, CONFLICT;
    DirectoryNotEmpty = FailedPrecondition, CONFLICT;
    TextNotUnique = FailedPrecondition, CONFLICT;
    IsDirectory = FailedPrecondition, CONFLICT;
    NotADirectory = FailedPrecondition, CONFLICT;
    NotAFile = FailedPrecondition, CONFLICT;
    ProcessEnded = FailedPrecondition, CONFLICT;
    StdinClosed = FailedPrecondition, CONFLICT;
    NotATerminal = FailedPrecondition, CONFLICT;
    OutsideWorkspace = PermissionDenied, FORBIDDEN;
    PermissionDenied = PermissionDenied, FORBIDDEN;
    Unauthenticated = Unauthenticated, UNAUTHORIZED;
    TooLarge = OutOfRange, PAYLOAD_TOO_LARGE;
    Unsupported = Unimplemented, NOT_IMPLEMENTED;
    NotAvailable = Unimplemented, NOT_IMPLEMENTED;
    DiskFull = ResourceExhausted, INSUFFICIENT_STORAGE;
    OutOfResources = ResourceExhausted, SERVICE_UNAVAILABLE;
    Busy = Aborted, LOCKED;
    Unavailable = Unavailable, SERVICE_UNAVAILABLE;
    DeadlineExceeded = DeadlineExceeded, GATEWAY_TIMEOUT;
    CompletionUnknown = Unknown, BAD_GATEWAY;
    SupervisorUnreachable = Internal, BAD_GATEWAY;
    Io = Internal, INTERNAL_SERVER_ERROR;
}

/// What a status means that says nothing itself: it comes from a library, a proxy or an older
/// server.
///
/// `unavailable` and `deadline_exceeded` say that nothing was done. A client that had sent a request
/// which changes something knows better than the status, and says `completion_unknown`.
fn code_of(code: Code) -> ErrorCode {
    match code {
        // An answer that is both good and bad.
        Code::Ok => ErrorCode::Io,
        Code::InvalidArgument | Code::FailedPrecondition => ErrorCode::InvalidArgument,
        Code::NotFound => ErrorCode::NotFound,
        Code::AlreadyExists => ErrorCode::Exists,
        Code::PermissionDenied => ErrorCode::PermissionDenied,
        Code::Unauthenticated => ErrorCode::Unauthenticated,
        // The code of the library for a message over its limit.
        Code::OutOfRange => ErrorCode::TooLarge,
        Code::ResourceExhausted => ErrorCode::OutOfResources,
        Code::Unimplemented => ErrorCode::Unsupported,
        Code::Unavailable => ErrorCode::Unavailable,
        Code::DeadlineExceeded => ErrorCode::DeadlineExceeded,
        Code::Cancelled | Code::Unknown | Code::Aborted | Code::Internal | Code::DataLoss => {
            ErrorCode::CompletionUnknown
        }
    }
}

impl From<&ToolError> for wire::Error {
    fn from(error: &ToolError) -> Self {
        let details = match serde_json::to_string(&error.details) {
            Ok(json) if !error.details.is_empty() => json,
            _ => String::new(),
        };
        Self {
            code: error.code.name().to_owned(),
            message: error.message.clone(),
            hint: error.hint.clone(),
            retryable: error.retryable,
            details_json: details,
        }
    }
}

/// An error always becomes one: a code that this build does not know is `io`, and named; details
/// that are no object are left out.
impl From<wire::Error> for ToolError {
    fn from(error: wire::Error) -> Self {
        let known = ErrorCode::ALL.iter().find(|code| code.name() == error.code);
        let message = match known {
            Some(_) => error.message,
            None => format!("{} ({})", error.message, cut(&error.code, MAX_STATUS_MESSAGE_BYTES)),
        };
        let details: BTreeMap<String, Value> =
            serde_json::from_str(&error.details_json).unwrap_or_default();
        Self {
            code: known.copied().unwrap_or(ErrorCode::Io),
            message,
            hint: error.hint,
            retryable: error.retryable,
            details,
        }
    }
}

/// The status that carries an error to a client of ours.
pub fn status(error: &ToolError) -> Status {
    status_within(error, MAX_ERROR_BYTES)
}

/// The status that carries an error in at most so many bytes. If it has more, its longest details
/// go, and then its texts are cut.
pub fn status_within(error: &ToolError, most: usize) -> Status {
    let message = cut(&error.message, MAX_STATUS_MESSAGE_BYTES);
    let mut status = Status::new(grpc_code(error.code), message);
    let encoded = fitting(error, most).encode_to_vec();
    status.metadata_mut().insert_bin(ERROR_TRAILER, MetadataValue::from_bytes(&encoded));
    status
}

fn fitting(error: &ToolError, most: usize) -> wire::Error {
    let mut whole = wire::Error::from(error);
    if whole.encoded_len() <= most {
        return whole;
    }
    let mut smaller = error.clone();
    while whole.encoded_len() > most {
        let longest = smaller.details.iter().max_by_key(|(_, value)| value.to_string().len());
        let Some(name) = longest.map(|(name, _)| name.clone()) else { break };
        smaller.details.remove(&name);
        whole = wire::Error::from(&smaller);
    }
    if whole.encoded_len() > most {
        // A third each leaves room for the code and the lengths.
        whole.hint = whole.hint.map(|hint| cut(&hint, most / 3));
        whole.message = cut(&whole.message, most / 3);
    }
    whole
}

/// The beginning of a text, in at most so many bytes.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(most.saturating_sub(CUT.len()));
    format!("{}{CUT}", &text[..end])
}

/// Takes out of the headers or trailers of a response what gRPC's library must not see: it panics
/// at details that are not in base64.
pub fn disarm(headers: &mut HeaderMap) {
    headers.remove(OTHER_DETAILS);
}

/// The error that a status carries, or, if it carries none, the one that its code stands for.
pub fn from_status(status: &Status) -> ToolError {
    carried(status).unwrap_or_else(|| {
        let message = match cut(status.message(), MAX_ERROR_BYTES) {
            empty if empty.is_empty() => status.code().description().to_lowercase(),
            message => message,
        };
        ToolError::new(code_of(status.code()), message)
            .with_detail("grpc_code", i32::from(status.code()))
    })
}

fn carried(status: &Status) -> Option<ToolError> {
    let value = status.metadata().get_bin(ERROR_TRAILER)?;
    // In base64 four bytes hold three.
    if value.as_encoded_bytes().len() > MAX_ERROR_BYTES.div_ceil(3) * 4 + 4 {
        return None;
    }
    let error = wire::Error::decode(value.to_bytes().ok()?).ok()?;
    Some(error.into())
}
