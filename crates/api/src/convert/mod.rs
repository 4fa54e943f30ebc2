//! Between the words of the core and the messages of the contract, both ways.
//!
//! What arrives was written by somebody else, at either end: a value that is missing, unknown or out
//! of range becomes a [`Fault`] that names its field, and never a panic. A server calls [`request`],
//! a client [`reply`], and each gets an error in its own words.

mod bytes;
pub mod errors;
mod files;
mod output;
mod processes;
mod routing;
mod search;
mod server;
mod skills;
mod start;
#[cfg(test)]
mod tests;
mod transfers;
mod workspaces;

use std::fmt;

use stigmer_core::{ErrorCode, ProcessId, Result, ToolError};

pub use self::output::{Position, output_request, split_characters};
pub use self::processes::signal_request;
pub use self::start::{
    execute_from_wire, execute_request, is_traceparent, start_from_wire, start_request,
};
use crate::wire;

/// What is wrong with a message, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    field: String,
    reason: String,
}

impl Fault {
    /// A field, as the contract names it, and what is wrong with it.
    pub fn new(field: &str, reason: impl fmt::Display) -> Self {
        Self { field: field.to_owned(), reason: reason.to_string() }
    }

    fn missing(field: &str) -> Self {
        Self::new(field, "is missing")
    }

    /// The same fault, seen from the message that has this field.
    #[must_use]
    fn within(self, field: &str) -> Self {
        Self { field: format!("{field}.{}", self.field), reason: self.reason }
    }

    /// The fault as an answer to whoever sent the request.
    pub fn in_request(self) -> ToolError {
        ToolError::invalid_argument(&self.field, self.reason)
    }

    /// The fault as an answer that cannot be understood.
    pub fn in_reply(self) -> ToolError {
        let message = format!("the server's answer: {} {}", self.field, self.reason);
        ToolError::new(ErrorCode::Io, message).with_detail("field", self.field)
    }
}

/// Understands a request.
///
/// # Errors
/// `invalid_argument`, naming the field.
pub fn request<W, C: TryFrom<W, Error: Into<Fault>>>(message: W) -> Result<C> {
    C::try_from(message).map_err(|fault| fault.into().in_request())
}

/// Understands a reply.
///
/// # Errors
/// `io`, naming the field.
pub fn reply<W, C: TryFrom<W, Error: Into<Fault>>>(message: W) -> Result<C> {
    C::try_from(message).map_err(|fault| fault.into().in_reply())
}

/// Some messages cannot be wrong; [`request`] and [`reply`] take them all the same.
impl From<std::convert::Infallible> for Fault {
    fn from(never: std::convert::Infallible) -> Self {
        match never {}
    }
}

/// The id of a process, from a field.
pub(crate) fn process_id(field: &str, text: &str) -> Result<ProcessId, Fault> {
    // The text is not repeated: it may be long.
    text.parse().map_err(|_| {
        let form = "ten characters of 0-9 and a-z without i, l, o and u";
        Fault::new(field, format!("is not a process id: {form}"))
    })
}

/// A message that must be there.
fn required<W, C: TryFrom<W, Error: Into<Fault>>>(
    field: &str,
    value: Option<W>,
) -> Result<C, Fault> {
    optional(field, value)?.ok_or_else(|| Fault::missing(field))
}

/// A message that may be missing.
fn optional<W, C: TryFrom<W, Error: Into<Fault>>>(
    field: &str,
    value: Option<W>,
) -> Result<Option<C>, Fault> {
    value.map(|value| C::try_from(value).map_err(|fault| fault.into().within(field))).transpose()
}

/// Messages of a list, each understood.
fn each<W, C: TryFrom<W, Error: Into<Fault>>>(field: &str, all: Vec<W>) -> Result<Vec<C>, Fault> {
    let one = |value| C::try_from(value).map_err(|fault| fault.into().within(field));
    all.into_iter().map(one).collect()
}

/// A value of an enumeration: one that this build knows, and that says something.
fn known<W: TryFrom<i32>, C: TryFrom<W, Error = Fault>>(
    field: &str,
    number: i32,
) -> Result<C, Fault> {
    let unknown = |_| Fault::new(field, format!("has the unknown value {number}"));
    let value = W::try_from(number).map_err(unknown)?;
    C::try_from(value).map_err(|fault| Fault::new(field, fault.reason))
}

/// The same, where 0 stands for none.
fn known_or_none<W: TryFrom<i32>, C: TryFrom<W, Error = Fault>>(
    field: &str,
    number: i32,
) -> Result<Option<C>, Fault> {
    if number == 0 { Ok(None) } else { known(field, number).map(Some) }
}

/// A count that must fit this machine's memory.
fn size(field: &str, number: u64) -> Result<usize, Fault> {
    usize::try_from(number).map_err(|_| Fault::new(field, format!("{number} is too large")))
}

/// A count as it is sent; on no machine that there is does it not fit.
fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Pairs the values of an enumeration of the core's with those of the contract.
macro_rules! pairs {
    ($($core:path = $wire:path { $($variant:ident)+ })+) => {$(
        impl From<$core> for $wire {
            fn from(value: $core) -> Self {
                match value { $(<$core>::$variant => Self::$variant,)+ }
            }
        }
        impl TryFrom<$wire> for $core {
            type Error = $crate::convert::Fault;
            fn try_from(value: $wire) -> Result<Self, $crate::convert::Fault> {
                match value {
                    $(<$wire>::$variant => Ok(Self::$variant),)+
                    <$wire>::Unspecified => Err($crate::convert::Fault::new("", "is not said")),
                }
            }
        }
    )+};
}
use pairs;

/// A message about one workspace, or one that may name it.
pub trait InWorkspace: Sized {
    /// The workspace that it names: an id, an absolute path or nothing.
    fn workspace(&self) -> &str;

    /// The same message about another workspace. Conversions leave it empty.
    #[must_use]
    fn in_workspace(self, workspace: &str) -> Self;
}

macro_rules! in_workspace {
    ($($message:ident)+) => {$(
        impl InWorkspace for wire::$message {
            fn workspace(&self) -> &str {
                &self.workspace
            }
            fn in_workspace(mut self, workspace: &str) -> Self {
                workspace.clone_into(&mut self.workspace);
                self
            }
        }
    )+};
}
in_workspace! {
    ReadFileRequest StatFileRequest WriteFileRequest EditFileRequest DeleteFileRequest
    MovePathRequest MakeDirectoryRequest ListDirectoryRequest SearchFilesRequest GrepSearchRequest
    UploadBegin DownloadRequest WatchRequest StartProcessRequest OutputRequest WriteStdinRequest
    CloseStdinRequest SignalProcessRequest ResizeRequest WaitRequest GetProcessRequest
    ListProcessesRequest GetWorkspaceRequest ForgetWorkspaceRequest
}

/// What to execute says where.
impl InWorkspace for wire::ExecuteRequest {
    fn workspace(&self) -> &str {
        self.start.as_ref().map_or("", |start| &start.workspace)
    }
    fn in_workspace(mut self, workspace: &str) -> Self {
        workspace.clone_into(&mut self.start.get_or_insert_default().workspace);
        self
    }
}
