"""Reading, writing, editing, listing and searching files."""

from __future__ import annotations

from collections.abc import Iterable

from stigmer._operations.call import Call
from stigmer._wire import StrPath, byte_string, path_string, without_none
from stigmer.types import files as types


def _nothing(_answer: object) -> None:
    return None


def read_file(
    workspace: str, path: StrPath, first_line: int | None, last_line: int | None
) -> Call[types.FileContent]:
    body = without_none(
        {
            "workspace": workspace,
            "path": path_string(path),
            "first_line": first_line,
            "last_line": last_line,
        }
    )
    return Call("files/read", body, types.FileContent, repeatable=True)


def stat_file(workspace: str, path: StrPath) -> Call[types.FileStat]:
    body = {"workspace": workspace, "path": path_string(path)}
    return Call("files/stat", body, types.FileStat, repeatable=True)


def write_file(
    workspace: str,
    path: StrPath,
    content: str | bytes,
    expected_sha256: str | None,
    create_only: bool,
) -> Call[types.WriteSummary]:
    body = without_none(
        {
            "workspace": workspace,
            "path": path_string(path),
            "content": byte_string(content),
            "expected_sha256": expected_sha256,
            "create_only": create_only,
        }
    )
    return Call("files/write", body, types.WriteSummary, repeatable=False)


def edit_file(
    workspace: str, path: StrPath, edits: Iterable[types.Edit], expected_sha256: str | None
) -> Call[types.EditSummary]:
    replacements = [
        {
            "old": byte_string(edit.old),
            "new": byte_string(edit.new),
            "replace_all": edit.replace_all,
        }
        for edit in edits
    ]
    body = without_none(
        {
            "workspace": workspace,
            "path": path_string(path),
            "edits": replacements,
            "expected_sha256": expected_sha256,
        }
    )
    return Call("files/edit", body, types.EditSummary, repeatable=False)


def delete_file(workspace: str, path: StrPath, recursive: bool) -> Call[types.DeleteSummary]:
    body = {"workspace": workspace, "path": path_string(path), "recursive": recursive}
    return Call("files/delete", body, types.DeleteSummary, repeatable=False)


def move_path(workspace: str, source: StrPath, to: StrPath, replace: bool) -> Call[None]:
    body = {
        "workspace": workspace,
        "from": path_string(source),
        "to": path_string(to),
        "replace": replace,
    }
    return Call("files/move", body, types.Done, repeatable=False, then=_nothing)


def make_directory(workspace: str, path: StrPath, parents: bool) -> Call[None]:
    body = {"workspace": workspace, "path": path_string(path), "parents": parents}
    return Call("files/make_directory", body, types.Done, repeatable=False, then=_nothing)


def list_directory(
    workspace: str, path: StrPath, depth: int, ignore_rules: bool, limit: int | None
) -> Call[types.Listing]:
    body = without_none(
        {
            "workspace": workspace,
            "path": path_string(path),
            "depth": depth,
            "ignore_rules": ignore_rules,
            "limit": limit,
        }
    )
    return Call("files/list", body, types.Listing, repeatable=True)


def find(
    workspace: str,
    query: str,
    kind: str,
    directories: Iterable[StrPath],
    ignore_rules: bool,
    limit: int | None,
) -> Call[types.FoundFiles]:
    body = without_none(
        {
            "workspace": workspace,
            "query": query,
            "kind": kind,
            "directories": [path_string(path) for path in directories],
            "ignore_rules": ignore_rules,
            "limit": limit,
        }
    )
    return Call("search/find", body, types.FoundFiles, repeatable=True)


def grep(
    workspace: str,
    pattern: str | bytes,
    *,
    literal: bool = False,
    case: types.CaseRule = "sensitive",
    paths: Iterable[StrPath] = (),
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
    no_ignore: bool = False,
    before: int = 0,
    after: int = 0,
    limit: int | None = None,
) -> Call[types.GrepMatches]:
    body = without_none(
        {
            "workspace": workspace,
            "pattern": byte_string(pattern),
            "literal": literal,
            "case": case,
            "paths": [path_string(path) for path in paths],
            "include": list(include),
            "exclude": list(exclude),
            "no_ignore": no_ignore,
            "before": before,
            "after": after,
            "limit": limit,
        }
    )
    return Call("search/grep", body, types.GrepMatches, repeatable=True)
