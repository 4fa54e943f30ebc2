# Derived by scripts/derive_sync.py. Change stigmer/_aio and derive again.
"""The files of a workspace."""

from __future__ import annotations

from collections.abc import Iterator, Iterable

from stigmer._sync import _runtime
from stigmer._sync.place import Place
from stigmer._operations import files as operations
from stigmer._operations import transfers
from stigmer._operations.transfers import TransferFormat
from stigmer._wire import StrPath
from stigmer.types import (
    Change,
    DeleteSummary,
    Edit,
    EditSummary,
    FileContent,
    FileStat,
    FoundFiles,
    GrepMatches,
    Listing,
    UploadSummary,
    WriteSummary,
)
from stigmer.types.files import CaseRule


class Files:
    """File operations. Paths are relative to the workspace's root, or absolute beneath it."""

    def __init__(self, place: Place, id: str) -> None:
        self._place = place
        self._id = id

    def read_file(
        self, path: StrPath, *, first_line: int | None = None, last_line: int | None = None
    ) -> FileContent:
        """Read a file, whole or by lines, which are counted from 1. The limit is 10 MiB."""
        return self._place.call(operations.read_file(self._id, path, first_line, last_line))

    def stat_file(self, path: StrPath) -> FileStat:
        """Describe a path; a symbolic link is described itself."""
        return self._place.call(operations.stat_file(self._id, path))

    def write_file(
        self,
        path: StrPath,
        content: str | bytes,
        *,
        expected_sha256: str | None = None,
        create_only: bool = False,
    ) -> WriteSummary:
        """Replace or create a file; a reader or a crash sees the old content or the new.

        Args:
            path: The file. Missing parent directories are created.
            content: The new content, at most 64 MiB; `upload` has no limit.
            expected_sha256: Write only if the file has this SHA-256 now (`StaleError`).
            create_only: Write only if nothing is there (`ExistsError`).
        """
        return self._place.call(
            operations.write_file(self._id, path, content, expected_sha256, create_only)
        )

    def edit_file(
        self,
        path: StrPath,
        old: str | bytes | None = None,
        new: str | bytes | None = None,
        *,
        replace_all: bool = False,
        edits: Iterable[Edit] = (),
        expected_sha256: str | None = None,
    ) -> EditSummary:
        """Replace text in a file: ``old`` by ``new``, or all ``edits`` in order, or nothing at all.

        Args:
            path: The file.
            old: The text to replace; it must occur exactly once unless ``replace_all``.
            new: What takes its place.
            replace_all: Replace every occurrence.
            edits: Several replacements, each on the result of the one before it.
            expected_sha256: Edit only if the file has this SHA-256 now (`StaleError`).
        """
        if (old is None) != (new is None):
            raise TypeError("edit_file needs `old` and `new`, or `edits`")
        first = [] if old is None or new is None else [Edit(old, new, replace_all)]
        return self._place.call(
            operations.edit_file(self._id, path, [*first, *edits], expected_sha256)
        )

    def delete_file(self, path: StrPath, *, recursive: bool = False) -> DeleteSummary:
        """Delete a path; one that is not there is a success."""
        return self._place.call(operations.delete_file(self._id, path, recursive))

    def move_path(self, source: StrPath, to: StrPath, *, replace: bool = False) -> None:
        """Move or rename a path. ``replace`` allows to replace a file that is there."""
        self._place.call(operations.move_path(self._id, source, to, replace))

    def make_directory(self, path: StrPath, *, parents: bool = False) -> None:
        """Make a directory; with ``parents`` missing ones too, and one that exists will do."""
        self._place.call(operations.make_directory(self._id, path, parents))

    def list_directory(
        self,
        path: StrPath = "",
        *,
        depth: int = 1,
        ignore_rules: bool = False,
        limit: int | None = None,
    ) -> Listing:
        """List a directory, sorted by path.

        Args:
            path: The directory; the workspace's root if empty.
            depth: How many levels deep.
            ignore_rules: Leave out what .gitignore and its like name, and hidden files.
            limit: The most entries to return (default 10,000, at most 100,000).
        """
        return self._place.call(
            operations.list_directory(self._id, path, depth, ignore_rules, limit)
        )

    def find(
        self,
        query: str,
        *,
        glob: bool = False,
        directories: Iterable[StrPath] = (),
        ignore_rules: bool = True,
        limit: int | None = None,
    ) -> FoundFiles:
        """Find files by name: characters in order with gaps, the best first; or by a glob.

        Args:
            query: What to look for.
            glob: The query is a glob.
            directories: Where to look; the whole workspace if there are none.
            ignore_rules: Leave out what .gitignore and its like name, and hidden files.
            limit: The most paths to return (default 100, at most 100,000).
        """
        kind = "glob" if glob else "fuzzy"
        return self._place.call(
            operations.find(self._id, query, kind, directories, ignore_rules, limit)
        )

    def grep(
        self,
        pattern: str | bytes,
        *,
        literal: bool = False,
        case: CaseRule = "sensitive",
        paths: Iterable[StrPath] = (),
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        no_ignore: bool = False,
        before: int = 0,
        after: int = 0,
        limit: int | None = None,
    ) -> GrepMatches:
        """Find lines by content, with ripgrep's engine and rules. No match is a success with none.

        Args:
            pattern: A regular expression in ripgrep's syntax, or a literal.
            literal: Take the pattern as it stands.
            case: Whether upper and lower case differ.
            paths: Files or directories to search; the whole workspace if there are none.
            include: Only files that one of these globs names.
            exclude: No file that one of these globs names.
            no_ignore: Search hidden files and those that ignore rules name, too.
            before: Lines shown before each match.
            after: Lines shown after each match.
            limit: The most matches in all (default 1,000).
        """
        return self._place.call(
            operations.grep(
                self._id,
                pattern,
                literal=literal,
                case=case,
                paths=paths,
                include=include,
                exclude=exclude,
                no_ignore=no_ignore,
                before=before,
                after=after,
                limit=limit,
            )
        )

    def upload(
        self,
        path: StrPath,
        content: _runtime.Content,
        *,
        format: TransferFormat = "file",
        mode: int | None = None,
    ) -> UploadSummary:
        """Bring in a file of any size, or a tar archive's entries beneath a directory.

        Args:
            path: The file, or the directory that receives the entries.
            content: Bytes, an open file, or pieces as they come. One that breaks off changes
                nothing.
            format: ``file`` or ``tar``.
            mode: Permission bits for a file that is not there yet.
        """
        return self._place.upload(transfers.upload(self._id, path, format, mode), content)

    def download(self, path: StrPath, *, format: TransferFormat = "file") -> Iterator[bytes]:
        """Give the bytes of a file of any size, or a tar archive of a file or directory."""
        return self._place.download(transfers.download(self._id, path, format))

    def download_bytes(self, path: StrPath, *, format: TransferFormat = "file") -> bytes:
        """Return the bytes of a file of any size, or a tar archive of a file or directory."""
        return b"".join([piece for piece in self.download(path, format=format)])

    def watch(
        self, directories: Iterable[StrPath] = (), *, ignore_rules: bool = True
    ) -> Iterator[Change]:
        """Wait until a watch is in place, and give the changes from then on until it is closed.

        Args:
            directories: What to watch, each with all beneath it; the whole workspace if empty.
            ignore_rules: Leave out what .gitignore and its like name, and hidden files.
        """
        events = self._place.stream(transfers.watch(self._id, directories, ignore_rules))
        next(events)  # the first says that the watch is in place

        def changes() -> Iterator[Change]:
            for event in events:
                if event.change is not None:
                    yield event.change

        return changes()
