//! How operations fail: one table of codes, one shape of error.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ByteString, Capability, ProcessId};

/// The result of a tool operation.
pub type Result<T, E = ToolError> = std::result::Result<T, E>;

macro_rules! error_codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal, exit $exit:literal, $retry:ident;)+) => {
        /// Why an operation failed. The same codes in every backend and on every wire.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum ErrorCode {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ErrorCode {
            /// All codes, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name on the wire.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The exit code of a CLI command that failed with this code.
            ///
            /// 2 the request is wrong, 3 a thing is not there, 4 a conflict with what is there,
            /// 5 not allowed, 6 too large, 7 this build or backend cannot, 8 the machine is out of
            /// something, 9 try again, 10 a fault of stigmer or of the machine.
            pub fn exit_code(self) -> i32 {
                match self { $(Self::$variant => $exit,)+ }
            }

            /// Whether the same request may succeed later without anybody's doing.
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => error_codes!(@$retry),)+ }
            }
        }
    };
    (@retry) => { true };
    (@final) => { false };
}

error_codes! {
    /// A value in the request is not acceptable.
    InvalidArgument = "invalid_argument", exit 2, final;
    /// A glob cannot be parsed.
    BadGlob = "bad_glob", exit 2, final;
    /// A regular expression cannot be parsed or is too large.
    BadRegex = "bad_regex", exit 2, final;
    /// The text to replace is empty.
    EmptyOldString = "empty_old_string", exit 2, final;
    /// The text to replace and its replacement are the same.
    IdenticalStrings = "identical_strings", exit 2, final;
    /// A setting has an unknown name or value, or settings contradict each other.
    BadConfiguration = "bad_configuration", exit 2, final;
    /// The path does not exist.
    NotFound = "not_found", exit 3, final;
    /// No process has this id.
    UnknownProcess = "unknown_process", exit 3, final;
    /// No workspace has this id.
    UnknownWorkspace = "unknown_workspace", exit 3, final;
    /// The text to replace does not occur.
    TextNotFound = "text_not_found", exit 3, final;
    /// The file is not the one the caller read: somebody changed it.
    Stale = "stale", exit 4, final;
    /// The path exists already.
    Exists = "exists", exit 4, final;
    /// The directory is not empty.
    DirectoryNotEmpty = "directory_not_empty", exit 4, final;
    /// The text to replace occurs more than once.
    TextNotUnique = "text_not_unique", exit 4, final;
    /// The path is a directory and the operation wants a file.
    IsDirectory = "is_directory", exit 4, final;
    /// The path is not a directory and the operation wants one.
    NotADirectory = "not_a_directory", exit 4, final;
    /// The path is a FIFO, a socket or a device.
    NotAFile = "not_a_file", exit 4, final;
    /// The process has ended.
    ProcessEnded = "process_ended", exit 4, final;
    /// The process has no standard input that can be written to, or it was closed.
    StdinClosed = "stdin_closed", exit 4, final;
    /// The process has no terminal.
    NotATerminal = "not_a_terminal", exit 4, final;
    /// The path leads out of the workspace.
    OutsideWorkspace = "outside_workspace", exit 5, final;
    /// The operating system refuses.
    PermissionDenied = "permission_denied", exit 5, final;
    /// Who asks has not shown that they may: the token is missing or wrong.
    Unauthenticated = "unauthenticated", exit 5, final;
    /// Larger than a limit; the limit and the size are named.
    TooLarge = "too_large", exit 6, final;
    /// The backend lacks a capability.
    Unsupported = "unsupported", exit 7, final;
    /// This build does not have it yet.
    NotAvailable = "not_available", exit 7, final;
    /// No space left, or a quota is used up.
    DiskFull = "disk_full", exit 8, retry;
    /// Out of processes, descriptors or memory.
    OutOfResources = "out_of_resources", exit 8, retry;
    /// Somebody else holds it.
    Busy = "busy", exit 9, retry;
    /// The server cannot be reached, or takes no more requests; nothing was done.
    Unavailable = "unavailable", exit 9, retry;
    /// No answer came in time; nothing was done, or nothing but reading.
    DeadlineExceeded = "deadline_exceeded", exit 9, retry;
    /// The request was sent and no answer came: whether it was done is not known. It must not be
    /// repeated unseen.
    CompletionUnknown = "completion_unknown", exit 10, final;
    /// The supervisor of the process does not answer.
    SupervisorUnreachable = "supervisor_unreachable", exit 10, final;
    /// The operating system failed in a way that no other code names.
    Io = "io", exit 10, final;
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A failed operation, as data: it is shown to agents and crosses wires unchanged.
///
/// `message` names the thing and the limit; `hint` says what to do next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ToolError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// What happened, naming the path, id or value. Lower case, no full stop.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The same facts for programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, Value>,
}

impl ToolError {
    /// An error without hint or details.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            hint: None,
            retryable: code.retryable(),
            details: BTreeMap::new(),
        }
    }

    /// Says what to do next.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a fact for programs.
    #[must_use]
    pub fn with_detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.details.insert(key.to_owned(), value.into());
        self
    }

    fn at(code: ErrorCode, path: &ByteString, what: &str) -> Self {
        // Relative to the workspace, the workspace itself has an empty path.
        let root = ByteString::from(".");
        let path = if path.is_empty() { &root } else { path };
        Self::new(code, format!("{path}: {what}")).with_detail("path", path)
    }

    /// The path does not exist.
    pub fn not_found(path: &ByteString) -> Self {
        Self::at(ErrorCode::NotFound, path, "no such file or directory")
            .with_hint("`stigmer find` looks for names")
    }

    /// The path is a directory.
    pub fn is_directory(path: &ByteString) -> Self {
        Self::at(ErrorCode::IsDirectory, path, "is a directory")
            .with_hint("list it with `stigmer fs ls`")
    }

    /// The path is not a directory.
    pub fn not_a_directory(path: &ByteString) -> Self {
        Self::at(ErrorCode::NotADirectory, path, "is not a directory")
            .with_hint("name the directory that holds it")
    }

    /// The path is a FIFO, socket or device; `kind` names which.
    pub fn not_a_file(path: &ByteString, kind: &str) -> Self {
        Self::at(ErrorCode::NotAFile, path, &format!("is a {kind}, not a regular file"))
            .with_detail("kind", kind)
    }

    /// The path leads out of the workspace at `root`.
    pub fn outside_workspace(path: &ByteString, root: &ByteString) -> Self {
        Self::at(ErrorCode::OutsideWorkspace, path, &format!("is outside the workspace {root}"))
            .with_detail("workspace", root)
            .with_hint("name a path beneath the workspace, or choose another workspace")
    }

    /// The path exists already.
    pub fn exists(path: &ByteString) -> Self {
        Self::at(ErrorCode::Exists, path, "exists already")
            .with_hint("choose another name, or ask to replace it if its content may go")
    }

    /// The directory has entries.
    pub fn directory_not_empty(path: &ByteString) -> Self {
        Self::at(ErrorCode::DirectoryNotEmpty, path, "is a directory that is not empty")
            .with_hint("ask for recursive deletion if its whole content may go")
    }

    /// The file changed since the caller read it.
    pub fn stale(path: &ByteString, expected: &str, actual: Option<&str>) -> Self {
        Self::at(ErrorCode::Stale, path, "was changed since it was read; nothing was written")
            .with_detail("expected_sha256", expected)
            .with_detail("actual_sha256", actual)
            .with_hint("read the file again and repeat the change on its new content")
    }

    /// Larger than a limit, both in bytes.
    pub fn too_large(path: &ByteString, size: u64, limit: u64) -> Self {
        Self::at(
            ErrorCode::TooLarge,
            path,
            &format!("{size} bytes are more than the limit of {limit}"),
        )
        .with_detail("size", size)
        .with_detail("limit", limit)
    }

    /// A value in the request is not acceptable.
    pub fn invalid_argument(name: &str, reason: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidArgument, format!("{name}: {reason}"))
            .with_detail("argument", name)
    }

    /// No process has this id.
    pub fn unknown_process(id: &str) -> Self {
        Self::new(ErrorCode::UnknownProcess, format!("no process has the id {id}"))
            .with_detail("process", id)
            .with_hint("`stigmer ps --all` lists the processes that are kept")
    }

    /// The process has ended.
    pub fn process_ended(id: &ProcessId) -> Self {
        Self::new(ErrorCode::ProcessEnded, format!("process {id} has ended"))
            .with_detail("process", id.as_str())
    }

    /// Standard input cannot be written to.
    pub fn stdin_closed(id: &ProcessId) -> Self {
        Self::new(ErrorCode::StdinClosed, format!("process {id} has no open standard input"))
            .with_detail("process", id.as_str())
            .with_hint("start the command with streamed standard input (`--interactive`)")
    }

    /// The process has no terminal.
    pub fn not_a_terminal(id: &ProcessId) -> Self {
        Self::new(ErrorCode::NotATerminal, format!("process {id} has no terminal"))
            .with_detail("process", id.as_str())
            .with_hint("start the command with a terminal (`--tty`)")
    }

    /// The supervisor of the process does not answer.
    pub fn supervisor_unreachable(id: &ProcessId, reason: impl fmt::Display) -> Self {
        Self::new(
            ErrorCode::SupervisorUnreachable,
            format!("the supervisor of process {id} does not answer: {reason}"),
        )
        .with_detail("process", id.as_str())
    }

    /// The backend lacks a capability.
    pub fn unsupported(capability: Capability, backend: &str) -> Self {
        Self::new(ErrorCode::Unsupported, format!("the {backend} backend has no {capability}"))
            .with_detail("capability", capability.name())
            .with_detail("backend", backend)
    }

    /// This build does not have it yet.
    pub fn not_available(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotAvailable, format!("{what}: not available in this build"))
    }

    /// What the operating system said of `path` during `operation`.
    pub fn from_io(operation: &str, path: &ByteString, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        match error.kind() {
            Kind::NotFound => Self::not_found(path),
            Kind::AlreadyExists => Self::exists(path),
            Kind::IsADirectory => Self::is_directory(path),
            Kind::NotADirectory => Self::not_a_directory(path),
            Kind::DirectoryNotEmpty => Self::directory_not_empty(path),
            Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
                Self::at(ErrorCode::PermissionDenied, path, &format!("cannot {operation}: {error}"))
            }
            Kind::StorageFull | Kind::QuotaExceeded => {
                Self::at(ErrorCode::DiskFull, path, &format!("cannot {operation}: {error}"))
                    .with_hint("free space on this file system, then repeat the request")
            }
            Kind::OutOfMemory => {
                Self::at(ErrorCode::OutOfResources, path, &format!("cannot {operation}: {error}"))
            }
            _ => Self::at(ErrorCode::Io, path, &format!("cannot {operation}: {error}")),
        }
    }

    /// The exit code of a CLI command that failed with this error.
    pub fn exit_code(&self) -> i32 {
        self.code.exit_code()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_serde_says_and_are_unique() {
        for (index, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!(serde_json::to_string(code).unwrap(), format!("\"{}\"", code.name()));
            assert!(ErrorCode::ALL[..index].iter().all(|other| other.name() != code.name()));
            assert!((2..=10).contains(&code.exit_code()), "{code}");
        }
    }

    #[test]
    fn an_error_survives_the_wire() {
        let path = ByteString::from(&b"a\xff"[..]);
        let error = ToolError::too_large(&path, 11, 10);
        let json = serde_json::to_string(&error).unwrap();
        assert_eq!(serde_json::from_str::<ToolError>(&json).unwrap(), error);
    }

    #[test]
    fn a_path_that_is_no_text_loses_no_byte() {
        let path = ByteString::from(&b"a\xff"[..]);
        let error = ToolError::not_found(&path);
        assert_eq!(error.details["path"], serde_json::to_value(&path).unwrap());
        assert_eq!(ToolError::not_found(&"f".into()).details["path"], "f");
        let error = ToolError::outside_workspace(&"f".into(), &path);
        assert_eq!(error.details["workspace"], serde_json::json!({ "base64": "Yf8=" }));
    }

    #[test]
    fn the_root_has_a_name() {
        let error = ToolError::is_directory(&"".into());
        assert_eq!(
            (error.message.as_str(), &error.details["path"]),
            (".: is a directory", &".".into())
        );
        assert!(error.hint.is_some_and(|hint| hint.contains("fs ls")));
    }

    #[test]
    fn a_full_disk_is_told_apart_and_may_be_tried_again() {
        let error = std::io::Error::from_raw_os_error(28);
        let error = ToolError::from_io("write", &ByteString::from("f"), &error);
        assert_eq!(error.code, ErrorCode::DiskFull);
        assert!(error.retryable && error.hint.is_some());
    }
}
