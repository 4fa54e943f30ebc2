"""A skill's directory as an archive."""

from __future__ import annotations

import io
import os
import tarfile
from typing import Final

from stigmer._wire import StrPath
from stigmer.errors import NotFoundError, OperatingSystemError, TooLargeError

MOST: Final = 64 << 20
"""Bytes after which no more is read: the server takes half as much, and says so of what is less."""


def archive(path: StrPath) -> bytes:
    """Return a directory as a tar archive, or the archive that a file is.

    Raises:
        NotFoundError: Nothing is there.
        OperatingSystemError: It cannot be read.
        TooLargeError: It is far more than a skill may be.
    """
    shown = os.fsdecode(path)
    try:
        if os.path.isdir(path):
            return _packed(shown)
        with open(path, "rb") as file:
            content = file.read(MOST + 1)
    except FileNotFoundError as error:
        raise NotFoundError(f"{shown}: no such file or directory") from error
    except (OSError, tarfile.TarError) as error:
        raise OperatingSystemError(f"{shown}: cannot be read: {error}") from error
    if len(content) > MOST:
        raise _too_large(shown)
    return content


def _packed(directory: str) -> bytes:
    packed = io.BytesIO()

    def entry(info: tarfile.TarInfo) -> tarfile.TarInfo:
        if packed.tell() + info.size > MOST:
            raise _too_large(directory)
        return info

    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        tar.add(directory, arcname=".", filter=entry)
    return packed.getvalue()


def _too_large(shown: str) -> TooLargeError:
    return TooLargeError(
        f"{shown}: has more than {MOST} bytes",
        hint="a skill has instructions and small files; leave out what can be fetched or made",
    )
