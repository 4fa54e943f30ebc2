"""File operations of deepagents as steps of the protocol, without input or output.

A plan is a generator: it gives what is to be asked and is sent the answers, or has their failures
thrown in. So what holds with `async` holds without.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, TypeVar

from deepagents.backends.protocol import (
    EditResult,
    FileDownloadResponse,
    FileInfo,
    FileUploadResponse,
    GlobResult,
    GrepResult,
    LsResult,
    ReadResult,
    WriteResult,
)

from stigmer import _glob
from stigmer._operations import Call, Stream, Upload, files, transfers
from stigmer.deepagents._paths import Paths
from stigmer.deepagents._reading import MOST_BYTES, page, preview
from stigmer.errors import (
    ExistsError,
    NotFoundError,
    StigmerError,
    TextNotFoundError,
    TextNotUniqueError,
    TooLargeError,
)
from stigmer.types import Edit, FileContent, GrepMatches, Listing

R = TypeVar("R")


@dataclass(frozen=True)
class Sending:
    """Bytes for the server."""

    asked: Upload[Any]
    content: bytes


@dataclass(frozen=True)
class Fetching:
    """Bytes from the server."""

    body: dict[str, object]


Step = Call[Any] | Stream[Any] | Sending | Fetching
Plan = Generator[Step, Any, R]

_MOST_ENTRIES: Final = 100_000
_MOST_MATCHES: Final = 10_000
_EMPTY: Final = "System reminder: File exists but has empty contents"
"""deepagents' own words, which its prompts know."""
_NAMES: Final = {
    "not_found": "file_not_found",
    "is_directory": "is_directory",
    "permission_denied": "permission_denied",
    "outside_workspace": "invalid_path",
    "not_a_directory": "invalid_path",
    "not_a_file": "invalid_path",
    "invalid_argument": "invalid_path",
}
"""Our codes in deepagents' words."""


def _words(error: StigmerError) -> str:
    return error.message if error.hint is None else f"{error.message} ({error.hint})"


def ls(paths: Paths, path: str) -> Plan[LsResult]:
    """List a directory."""
    try:
        call = files.list_directory(paths.workspace, paths.sent(path), 1, False, _MOST_ENTRIES)
        listing: Listing = yield call
    except StigmerError as error:
        return LsResult(error=f"Path '{path}': {_words(error)}")
    entries: list[FileInfo] = [
        {
            "path": paths.beneath(path, PurePosixPath(entry.path).name),
            "is_dir": entry.kind == "directory",
            "size": entry.size,
        }
        for entry in listing.entries
    ]
    return LsResult(entries=entries)


def read(paths: Paths, path: str, offset: int, limit: int, is_text: bool) -> Plan[ReadResult]:
    """Read a page of a text, or the whole of what is none."""
    try:
        sent = paths.sent(path)
        if is_text:
            found: FileContent | None = yield from _lines(paths, sent, max(0, offset), limit)
            if found is None:
                return ReadResult(
                    error=f"File '{path}': Line {offset + 1} is too large to be read; `head -c` "
                    "and `cut -c` in the shell show parts of it"
                )
            if found.size == 0:
                return ReadResult(file_data={"content": _EMPTY, "encoding": "utf-8"})
            if found.encoding != "base64":
                return page(path, found, max(0, offset), limit)
        size = (yield files.stat_file(paths.workspace, sent)).size
        if size > MOST_BYTES:
            return preview(path)
        content: bytes = yield Fetching(transfers.download(paths.workspace, sent, "file"))
    except StigmerError as error:
        return ReadResult(error=_of_file(error, path))
    text = base64.b64encode(content).decode("ascii")
    return ReadResult(file_data={"content": text, "encoding": "base64"})


def _lines(paths: Paths, sent: str, offset: int, limit: int) -> Plan[FileContent | None]:
    """Read lines, fewer of them if they are too large together; nothing if one alone is."""
    count = max(1, limit)
    while True:
        try:
            found: FileContent = yield files.read_file(
                paths.workspace, sent, offset + 1, offset + count
            )
        except TooLargeError:
            if count == 1:
                return None
            count = max(1, count // 8)
        else:
            return found


def _of_file(error: StigmerError, path: str) -> str:
    if isinstance(error, NotFoundError):
        return f"File '{path}': file_not_found"
    return f"File '{path}': {_words(error)}"


def write(paths: Paths, path: str, content: str) -> Plan[WriteResult]:
    """Make a new file."""
    try:
        yield files.write_file(paths.workspace, paths.sent(path), content, None, True)
    except ExistsError:
        return WriteResult(error=f"Error: File '{path}' already exists; edit it instead")
    except StigmerError as error:
        return WriteResult(error=f"Failed to write file '{path}': {_words(error)}")
    return WriteResult(path=path)


def edit(paths: Paths, path: str, old: str, new: str, replace_all: bool) -> Plan[EditResult]:
    """Replace text. What was read had its line ends made LF, so those of the file are tried too."""
    lf, new_lf = old.replace("\r\n", "\n"), new.replace("\r\n", "\n")
    variants = [(old, new)]
    for variant in ((lf.replace("\n", "\r\n"), new_lf.replace("\n", "\r\n")), (lf, new_lf)):
        if "\n" in old and variant not in variants:
            variants.append(variant)
    failure: TextNotFoundError | None = None
    for one, other in variants:
        try:
            call = files.edit_file(
                paths.workspace, paths.sent(path), [Edit(one, other, replace_all)], None
            )
            summary = yield call
        except TextNotFoundError as error:
            failure = failure or error
        except TextNotUniqueError as error:
            return EditResult(
                error=f"Error: String '{old}' appears multiple times: {_words(error)}. "
                "Use replace_all=True to replace all occurrences."
            )
        except NotFoundError:
            return EditResult(error=f"Error: File '{path}' not found")
        except StigmerError as error:
            return EditResult(error=f"Error editing file '{path}': {_words(error)}")
        else:
            return EditResult(path=path, occurrences=sum(summary.occurrences))
    nearest = f"\n{_words(failure)}" if failure is not None else ""
    return EditResult(error=f"Error: String not found in file: '{old}'{nearest}")


def grep(
    paths: Paths, pattern: str, path: str | None, glob: str | None, ignore_rules: bool
) -> Plan[GrepResult]:
    """Find lines that hold a text."""
    base = path or paths.root
    try:
        found: GrepMatches = yield files.grep(
            paths.workspace,
            pattern,
            literal=True,
            paths=[paths.sent(base)],
            include=[glob] if glob else [],
            no_ignore=not ignore_rules,
            limit=_MOST_MATCHES,
        )
    except StigmerError as error:
        return GrepResult(error=f"Path '{base}': {_words(error)}")
    if found.truncated:
        return GrepResult(
            error=f"Path '{base}': more than {_MOST_MATCHES} lines match; search a part of it, or "
            "for more"
        )
    return GrepResult(
        matches=[
            {
                "path": _sendable(paths.shown(match.path, base)),
                "line": match.line,
                "text": _sendable(match.text),
            }
            for match in found.matches
        ]
    )


def _sendable(text: str) -> str:
    """Return text that a message can hold: a line, or a name, need not be UTF-8."""
    return os.fsencode(text).decode("utf-8", "replace")


def glob(paths: Paths, pattern: str, path: str | None) -> Plan[GlobResult]:
    """Find files and directories by a glob; paths are relative to where it began."""
    base = path or paths.root
    absolute = pattern.startswith("/")
    try:
        if absolute:
            base, pattern = paths.root, paths.relative_pattern(pattern)
        parsed = _glob.parse(pattern)
        start = paths.sent(paths.beneath(base, parsed.base) if parsed.base else base)
        listing: Listing = yield files.list_directory(
            paths.workspace, start, parsed.depth, False, _MOST_ENTRIES
        )
    except NotFoundError:
        return GlobResult(matches=[])
    except StigmerError as error:
        return GlobResult(error=f"Path '{base}': {_words(error)}")
    if listing.truncated:
        return GlobResult(
            error=f"Path '{base}': has more than {_MOST_ENTRIES} entries; search a part of it"
        )
    prefix = paths.inside(base)
    matches: list[FileInfo] = []
    for entry in listing.entries:
        if parsed.only_directories and entry.kind != "directory":
            continue
        name = entry.path[len(prefix) + 1 :] if prefix else entry.path
        if parsed.matches(name):
            shown = paths.beneath(base, name) if absolute else name
            kind = entry.kind == "directory"
            matches.append({"path": shown, "is_dir": kind, "size": entry.size})
    return GlobResult(matches=matches)


def upload(paths: Paths, path: str, content: bytes) -> Plan[FileUploadResponse]:
    """Bring in one file."""
    try:
        sent = paths.sent(path)
        yield Sending(transfers.upload(paths.workspace, sent, "file", None), content)
    except StigmerError as error:
        return FileUploadResponse(path=path, error=_NAMES.get(error.code, _words(error)))
    return FileUploadResponse(path=path)


def download(paths: Paths, path: str) -> Plan[FileDownloadResponse]:
    """Take out one file."""
    try:
        sent = paths.sent(path)
        content: bytes = yield Fetching(transfers.download(paths.workspace, sent, "file"))
    except StigmerError as error:
        return FileDownloadResponse(path=path, error=_NAMES.get(error.code, _words(error)))
    return FileDownloadResponse(path=path, content=content)
