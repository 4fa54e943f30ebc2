//! How requests fail, and what is known of them then.

use std::time::Duration;

use stigmer_core::{ErrorCode, ProcessId, ToolError};
use tonic::{Code, Status};

use super::VERSION;
use crate::convert::errors::{ERROR_TRAILER, from_status};
use crate::resilience::Repeat;

/// What went wrong below gRPC.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct Trouble {
    error: ToolError,
    /// The server has not seen the request.
    unseen: bool,
    /// Another try cannot help.
    for_good: bool,
}

impl Trouble {
    /// The request was not sent.
    pub(super) fn unseen(error: ToolError) -> Self {
        Self { error, unseen: true, for_good: false }
    }

    /// The request was not sent, and never will be.
    pub(super) fn for_good(error: ToolError) -> Self {
        Self { error, unseen: true, for_good: true }
    }

    /// The connection broke after the request was sent.
    pub(super) fn broken(reason: String) -> Self {
        Self {
            error: ToolError::new(ErrorCode::Unavailable, reason),
            unseen: false,
            for_good: false,
        }
    }
}

/// A request, as its errors name it.
pub(super) struct Asked<'a> {
    /// What people call it.
    pub(super) operation: String,
    /// Whether it may be repeated.
    pub(super) repeat: Repeat,
    /// Whether a connection broke after it was sent.
    pub(super) was_broken: bool,
    /// The command that it is about.
    pub(super) process: Option<&'a ProcessId>,
    /// How long it was to take.
    pub(super) deadline: Option<Duration>,
}

/// Why a request has no answer.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// It has: the server says that it failed.
    Answered(ToolError),
    /// The server has done nothing.
    Unseen {
        /// What to tell.
        error: ToolError,
        /// Whether the server itself said so.
        answered: bool,
        /// Another try cannot help.
        for_good: bool,
    },
    /// It was sent, and the connection broke.
    Broken(String),
    /// No answer came in time.
    Late,
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        let Trouble { error, unseen, for_good } = trouble;
        if unseen {
            Self::Unseen { error, answered: false, for_good }
        } else {
            Self::Broken(error.message)
        }
    }
}

impl Failure {
    /// The request was not sent, and shall not be tried again.
    pub(super) fn refused(error: ToolError) -> Self {
        Self::Unseen { error, answered: false, for_good: true }
    }

    /// What a request needs could not be had.
    pub(super) fn before_sending(error: ToolError) -> Self {
        match error.code {
            ErrorCode::Unavailable => Self::Unseen { error, answered: false, for_good: false },
            _ => Self::Answered(error),
        }
    }

    /// What happened, whatever it means for the request.
    pub(super) fn into_reason(self) -> ToolError {
        match self {
            Self::Answered(error) | Self::Unseen { error, .. } => error,
            Self::Broken(reason) => ToolError::new(ErrorCode::Unavailable, reason),
            Self::Late => ToolError::new(ErrorCode::DeadlineExceeded, "no answer came in time"),
        }
    }

    /// What to tell of a request that is not sent again.
    pub(super) fn into_error(self, asked: &Asked<'_>) -> ToolError {
        let operation = &asked.operation;
        let (code, reason) = match self {
            Self::Answered(error) => return error,
            Self::Unseen { error, .. } if !asked.was_broken || asked.repeat == Repeat::Reads => {
                return error;
            }
            Self::Unseen { error, .. } => (ErrorCode::Unavailable, error.message),
            Self::Broken(reason) => (ErrorCode::Unavailable, reason),
            Self::Late => {
                let deadline = asked.deadline.unwrap_or_default().as_millis();
                let reason = format!("{operation}: no answer within {deadline} ms");
                (ErrorCode::DeadlineExceeded, reason)
            }
        };
        if asked.repeat == Repeat::Reads {
            return ToolError::new(code, reason);
        }
        let message =
            format!("{operation} was sent, and whether it was done is not known: {reason}");
        let error = ToolError::new(ErrorCode::CompletionUnknown, message)
            .with_detail("operation", operation.as_str());
        let error = match asked.process {
            Some(id) => error.with_detail("process", id.as_str()),
            None => error,
        };
        error.with_hint(match (asked.repeat, asked.process) {
            (_, Some(id)) => {
                format!("`stigmer ps --all` lists process {id} if it is there, `stigmer logs {id}` has its output")
            }
            (Repeat::Idempotent, None) => "the same request may be sent again".to_owned(),
            _ => "look at what it was to change before you repeat it".to_owned(),
        })
    }

    /// Whether the server is to blame for its silence: such failures open the circuit. One that
    /// answers is healthy, whatever it says, and one that takes long may be working.
    pub(super) fn is_of_the_transport(&self) -> bool {
        match self {
            Self::Answered(_) | Self::Late => false,
            Self::Unseen { answered, .. } => !answered,
            Self::Broken(_) => true,
        }
    }

    /// What a status of gRPC says of a request.
    pub(super) fn of(status: &Status, operation: &str, server: Option<&str>) -> Self {
        if let Some(trouble) = trouble(status) {
            return trouble.clone().into();
        }
        if status.metadata().get_bin(ERROR_TRAILER).is_some() {
            let error = from_status(status);
            // Nothing was done: the server is on its way out, or full.
            return match error.code {
                ErrorCode::Unavailable => Self::Unseen { error, answered: true, for_good: false },
                _ => Self::Answered(error),
            };
        }
        let said = |code| ToolError::new(code, format!("{operation}: {}", status.message()));
        match status.code() {
            Code::Unimplemented => Self::Answered(lacks(operation, server)),
            Code::Unauthenticated => Self::Answered(
                said(ErrorCode::Unauthenticated).with_hint("set STIGMER_API_KEY to the token"),
            ),
            Code::PermissionDenied => Self::Answered(said(ErrorCode::PermissionDenied)),
            Code::InvalidArgument => Self::Answered(said(ErrorCode::InvalidArgument)),
            // A message over the limit of one of the two sides.
            Code::OutOfRange | Code::ResourceExhausted => Self::Answered(said(ErrorCode::TooLarge)),
            Code::DeadlineExceeded => Self::Late,
            // Our own side of gRPC says this of an answer that it cannot decode.
            Code::Internal => Self::Answered(
                said(ErrorCode::Io).with_hint("is there a stigmer server behind this endpoint?"),
            ),
            // Whatever stands between us and the server may say anything; it does not know what
            // the server has done.
            _ => Self::Broken(format!("{operation}: {}", status.message())),
        }
    }
}

fn trouble(status: &Status) -> Option<&Trouble> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if let Some(trouble) = error.downcast_ref() {
            return Some(trouble);
        }
        cause = error.source();
    }
    None
}

/// The server has no such operation.
fn lacks(operation: &str, server: Option<&str>) -> ToolError {
    let server = server.map_or_else(|| "the server".to_owned(), |it| format!("the server {it}"));
    let message = format!("{server} has no {operation}; this client is {VERSION}");
    ToolError::new(ErrorCode::Unsupported, message)
        .with_detail("operation", operation)
        .with_detail("client_version", VERSION)
        .with_hint("start a server of the client's version: `stigmer server stop` and `start`")
}
