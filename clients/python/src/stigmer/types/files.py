"""Files, directories and searches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileKind = Literal["file", "directory", "symlink", "fifo", "socket", "device"]
"""What a path can be. A newer server may say more."""
CaseRule = Literal["sensitive", "insensitive", "smart"]
"""Upper and lower case in a search; ``smart`` minds it if the pattern has an upper-case letter."""


@dataclass(frozen=True)
class Done:
    """It was done, and there is nothing to tell."""


@dataclass(frozen=True)
class FileContent:
    """What was read of a file."""

    content: bytes = b""
    """The lines asked for, with their line ends."""
    encoding: str = "unspecified"
    """``utf8`` if the content is text, else ``base64``."""
    total_lines: int = 0
    """How many lines the whole file has."""
    start_line: int = 0
    """First line in the content, from 1; 0 when there is none."""
    end_line: int = 0
    """Last line in the content; 0 when there is none."""
    next_line: int | None = None
    """The line to ask for next, if there is more."""
    size: int = 0
    """Size of the whole file in bytes."""
    sha256: str = ""
    """SHA-256 of the whole file, for ``expected_sha256`` of a later write or edit."""

    @property
    def text(self) -> str:
        """The content as text; ``UnicodeDecodeError`` if it is none."""
        return self.content.decode("utf-8")


@dataclass(frozen=True)
class FileStat:
    """What is known of a path; of a symbolic link itself."""

    path: str = ""
    """The path, relative to the workspace's root."""
    kind: str = "unspecified"
    """What it is (`FileKind`)."""
    size: int = 0
    """Size in bytes."""
    modified_ms: int = 0
    """Time of the last change of content, milliseconds since 1970."""
    mode: int = 0
    """Permission bits, as in chmod."""
    symlink_target: str | None = None
    """Where a symbolic link leads."""


@dataclass(frozen=True)
class WriteSummary:
    """What was written."""

    is_new_file: bool = False
    """Whether there was no file before."""
    lines_added: int = 0
    """Lines in the new content that the old did not have."""
    lines_removed: int = 0
    """Lines in the old content that the new does not have."""
    sha256: str = ""
    """SHA-256 of the new content."""


@dataclass(frozen=True)
class Edit:
    """One replacement."""

    old: str | bytes
    """The text to replace; it must occur exactly once unless ``replace_all``."""
    new: str | bytes
    """What takes its place."""
    replace_all: bool = False
    """Replace every occurrence."""


@dataclass(frozen=True)
class EditSummary:
    """What was edited."""

    occurrences: tuple[int, ...] = ()
    """How many places each edit replaced."""
    lines_added: int = 0
    """Lines added in all."""
    lines_removed: int = 0
    """Lines removed in all."""
    diff: str = ""
    """The whole change as a unified diff."""
    sha256: str = ""
    """SHA-256 of the new content."""


@dataclass(frozen=True)
class DeleteSummary:
    """What was deleted."""

    was_already_deleted: bool = False
    """There was nothing to delete; that is a success."""


@dataclass(frozen=True)
class DirectoryEntry:
    """One entry of a directory."""

    path: str = ""
    """The path, relative to the workspace's root."""
    kind: str = "unspecified"
    """What it is (`FileKind`)."""
    size: int = 0
    """Size in bytes."""


@dataclass(frozen=True)
class Listing:
    """What a directory holds."""

    entries: tuple[DirectoryEntry, ...] = ()
    """The entries, sorted by path."""
    truncated: bool = False
    """Whether there are more than the limit."""
    unreadable: tuple[str, ...] = ()
    """Directories that could not be looked into, each with the reason."""


@dataclass(frozen=True)
class FoundFiles:
    """The files that were found by name."""

    paths: tuple[str, ...] = ()
    """Paths relative to the workspace's root: fuzzy best first, glob sorted."""
    truncated: bool = False
    """Whether there are more than the limit."""
    unreadable: tuple[str, ...] = ()
    """Directories that could not be looked into, each with the reason."""


@dataclass(frozen=True)
class GrepMatch:
    """One matching line."""

    path: str = ""
    """The file, relative to the workspace's root."""
    line: int = 0
    """The line's number, from 1."""
    column: int = 0
    """Where the first match begins in the line, in bytes, from 1."""
    text: str = ""
    """The line without its line feed."""
    before: tuple[str, ...] = ()
    """Lines before it, as asked for."""
    after: tuple[str, ...] = ()
    """Lines after it, as asked for."""


@dataclass(frozen=True)
class GrepMatches:
    """The lines that were found."""

    matches: tuple[GrepMatch, ...] = ()
    """The matches, sorted by path, then by line."""
    truncated: bool = False
    """Whether there are more than the limit."""
    binary: tuple[str, ...] = ()
    """Files that match but hold a NUL byte, so that not all of their matching lines are shown."""
    unreadable: tuple[str, ...] = ()
    """Files that could not be read, each with the reason; the others were searched."""


@dataclass(frozen=True)
class UploadSummary:
    """What was uploaded."""

    files: int = 0
    """Files written."""
    directories: int = 0
    """Directories made or already there."""
    symlinks: int = 0
    """Symbolic links made."""
    bytes: int = 0
    """Bytes of content."""
