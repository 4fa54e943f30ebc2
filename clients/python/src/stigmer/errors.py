"""What fails, as exceptions: one for each code of the protocol's table.

Where Python has an exception that means the same (`FileNotFoundError`), ours is one, too.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = [
    "BadConfigurationError",
    "BadGlobError",
    "BadRegexError",
    "BusyError",
    "CompletionUnknownError",
    "DeadlineExceededError",
    "DirectoryNotEmptyError",
    "DiskFullError",
    "EmptyOldStringError",
    "ExistsError",
    "IdenticalStringsError",
    "InvalidArgumentError",
    "IsDirectoryError",
    "NotAFileError",
    "NotATerminalError",
    "NotAvailableError",
    "NotDirectoryError",
    "NotFoundError",
    "OperatingSystemError",
    "OutOfResourcesError",
    "OutsideWorkspaceError",
    "PermissionDeniedError",
    "ProcessEndedError",
    "StaleError",
    "StdinClosedError",
    "StigmerError",
    "SupervisorUnreachableError",
    "TextNotFoundError",
    "TextNotUniqueError",
    "TooLargeError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownProcessError",
    "UnknownWorkspaceError",
    "UnsupportedError",
    "error_of",
]


class StigmerError(Exception):
    """An operation failed. A command that fails is none: its exit code is part of the result."""

    code: str = "io"
    """The code, for programs (docs/protocol.md has all)."""
    message: str
    """What happened, naming the thing."""
    hint: str | None
    """What to do about it."""
    retryable: bool
    """Whether the same request may succeed later without anybody's doing."""
    details: dict[str, Any]
    """What the message says, for programs."""

    def __init__(
        self,
        message: str,
        *,
        hint: str | None = None,
        retryable: bool = False,
        details: dict[str, Any] | None = None,
        code: str | None = None,
    ) -> None:
        """Make one. ``code`` is for codes that this version does not know."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.retryable = retryable
        self.details = dict(details or {})
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        """Return the message, with the hint beneath it."""
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"


class InvalidArgumentError(StigmerError, ValueError):
    """A value in the request is not acceptable."""

    code = "invalid_argument"


class BadGlobError(StigmerError):
    """A glob cannot be parsed."""

    code = "bad_glob"


class BadRegexError(StigmerError):
    """A regular expression cannot be parsed or is too large."""

    code = "bad_regex"


class EmptyOldStringError(StigmerError):
    """The text to replace is empty."""

    code = "empty_old_string"


class IdenticalStringsError(StigmerError):
    """The text to replace and its replacement are the same."""

    code = "identical_strings"


class BadConfigurationError(StigmerError, ValueError):
    """A setting has an unknown name or value, or settings contradict each other."""

    code = "bad_configuration"


class NotFoundError(StigmerError, FileNotFoundError):
    """The path does not exist."""

    code = "not_found"


class UnknownProcessError(StigmerError):
    """No process has this id."""

    code = "unknown_process"


class UnknownWorkspaceError(StigmerError):
    """No workspace has this id."""

    code = "unknown_workspace"


class TextNotFoundError(StigmerError):
    """The text to replace does not occur."""

    code = "text_not_found"


class StaleError(StigmerError):
    """The file is not the one the caller read: somebody changed it."""

    code = "stale"


class ExistsError(StigmerError, FileExistsError):
    """The path exists already."""

    code = "exists"


class DirectoryNotEmptyError(StigmerError):
    """The directory is not empty."""

    code = "directory_not_empty"


class TextNotUniqueError(StigmerError):
    """The text to replace occurs more than once."""

    code = "text_not_unique"


class IsDirectoryError(StigmerError, IsADirectoryError):
    """The path is a directory and the operation wants a file."""

    code = "is_directory"


class NotDirectoryError(StigmerError, NotADirectoryError):
    """The path is not a directory and the operation wants one."""

    code = "not_a_directory"


class NotAFileError(StigmerError):
    """The path is a FIFO, a socket or a device."""

    code = "not_a_file"


class ProcessEndedError(StigmerError):
    """The process has ended."""

    code = "process_ended"


class StdinClosedError(StigmerError):
    """The process has no standard input that can be written to, or it was closed."""

    code = "stdin_closed"


class NotATerminalError(StigmerError):
    """The process has no terminal."""

    code = "not_a_terminal"


class OutsideWorkspaceError(StigmerError):
    """The path leads out of the workspace."""

    code = "outside_workspace"


class PermissionDeniedError(StigmerError, PermissionError):
    """The operating system refuses."""

    code = "permission_denied"


class UnauthenticatedError(StigmerError):
    """Who asks has not shown that they may: the token is missing or wrong."""

    code = "unauthenticated"


class TooLargeError(StigmerError):
    """Larger than a limit; the limit and the size are named."""

    code = "too_large"


class UnsupportedError(StigmerError):
    """The backend lacks a capability."""

    code = "unsupported"


class NotAvailableError(StigmerError):
    """The server's build does not have it yet."""

    code = "not_available"


class DiskFullError(StigmerError):
    """No space left, or a quota is used up."""

    code = "disk_full"


class OutOfResourcesError(StigmerError):
    """Out of processes, descriptors or memory."""

    code = "out_of_resources"


class BusyError(StigmerError):
    """Somebody else holds it."""

    code = "busy"


class UnavailableError(StigmerError, ConnectionError):
    """The server cannot be reached, or takes no more requests; nothing was done."""

    code = "unavailable"


class DeadlineExceededError(StigmerError, TimeoutError):
    """No answer came in time; nothing was done, or nothing but reading."""

    code = "deadline_exceeded"


class CompletionUnknownError(StigmerError):
    """The request was sent and no answer came: whether it was done is not known.

    It must not be repeated unseen.
    """

    code = "completion_unknown"


class SupervisorUnreachableError(StigmerError):
    """The supervisor of the process does not answer."""

    code = "supervisor_unreachable"


class OperatingSystemError(StigmerError):
    """The operating system failed in a way that no other code names."""

    code = "io"


_BY_CODE: Final[dict[str, type[StigmerError]]] = {
    kind.code: kind
    for kind in (
        InvalidArgumentError,
        BadGlobError,
        BadRegexError,
        EmptyOldStringError,
        IdenticalStringsError,
        BadConfigurationError,
        NotFoundError,
        UnknownProcessError,
        UnknownWorkspaceError,
        TextNotFoundError,
        StaleError,
        ExistsError,
        DirectoryNotEmptyError,
        TextNotUniqueError,
        IsDirectoryError,
        NotDirectoryError,
        NotAFileError,
        ProcessEndedError,
        StdinClosedError,
        NotATerminalError,
        OutsideWorkspaceError,
        PermissionDeniedError,
        UnauthenticatedError,
        TooLargeError,
        UnsupportedError,
        NotAvailableError,
        DiskFullError,
        OutOfResourcesError,
        BusyError,
        UnavailableError,
        DeadlineExceededError,
        CompletionUnknownError,
        SupervisorUnreachableError,
        OperatingSystemError,
    )
}
"""The exceptions by their codes."""


def error_of(body: object, *, status: int) -> StigmerError:
    """Make the exception of a failed answer's body, ``{"error": {...}}``."""
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return OperatingSystemError(f"the server answered {status} without saying why")
    code: str = error["code"]
    kind = _BY_CODE.get(code, StigmerError)
    details = error.get("details")
    hint = error.get("hint")
    return kind(
        str(error.get("message", code)),
        hint=hint if isinstance(hint, str) else None,
        retryable=error.get("retryable") is True,
        details=details if isinstance(details, dict) else None,
        code=code,
    )
