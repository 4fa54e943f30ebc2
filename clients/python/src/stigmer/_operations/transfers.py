"""Moving files in and out, and watching them change."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from typing import Literal

from stigmer._operations.call import Stream, Upload
from stigmer._wire import StrPath, path_bytes, path_string
from stigmer.types.files import UploadSummary
from stigmer.types.server import WatchEvent

TransferFormat = Literal["file", "tar"]
"""The content of one file, or a tar archive."""


def _query(fields: dict[str, str | bytes]) -> str:
    return urllib.parse.urlencode(fields)


def upload(
    workspace: str, path: StrPath, form: TransferFormat, mode: int | None
) -> Upload[UploadSummary]:
    fields: dict[str, str | bytes] = {
        "workspace": workspace,
        "path": path_bytes(path),
        "format": form,
    }
    if mode is not None:
        fields["mode"] = str(mode)
    return Upload("transfers/upload", _query(fields), UploadSummary)


def download(workspace: str, path: StrPath, form: TransferFormat) -> dict[str, object]:
    """Return the request's body; the answer is bytes as they are."""
    return {"workspace": workspace, "path": path_string(path), "format": form}


def watch(workspace: str, directories: Iterable[StrPath], ignore_rules: bool) -> Stream[WatchEvent]:
    body = {
        "workspace": workspace,
        "directories": [path_string(path) for path in directories],
        "ignore_rules": ignore_rules,
    }
    return Stream("transfers/watch", body, WatchEvent, resumable=False)
