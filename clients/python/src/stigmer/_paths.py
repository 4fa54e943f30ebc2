"""Paths of this machine."""

from __future__ import annotations

import os

from stigmer._wire import StrPath
from stigmer.errors import InvalidArgumentError


def absolute(path: StrPath, *, here: bool) -> str:
    """Return a directory's absolute path. A server elsewhere has no current directory of ours."""
    text = os.fsdecode(path)
    if here:
        return os.path.abspath(os.path.expanduser(text))
    if not os.path.isabs(text):
        raise InvalidArgumentError(
            f"{text}: is relative, and the server is elsewhere", hint="name an absolute path"
        )
    return text
