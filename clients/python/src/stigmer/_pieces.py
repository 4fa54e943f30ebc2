"""What is uploaded, piece by piece."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO

from stigmer.errors import InvalidArgumentError

_PIECE = 1024 * 1024


def pieces_of(content: Iterable[bytes] | IO[bytes]) -> Iterator[bytes]:
    """Give the pieces of a file, or of what gives them itself.

    Raises:
        InvalidArgumentError: It is neither, or a piece is no bytes.
    """
    read = getattr(content, "read", None)
    if (read is None and not isinstance(content, Iterable)) or isinstance(content, str):
        raise InvalidArgumentError(
            f"content: {type(content).__name__} cannot be uploaded",
            hint="give bytes, a file that was opened in binary mode, or pieces of bytes",
        )
    return _checked(iter(content) if read is None else _read(read))


def _read(read: object) -> Iterator[bytes]:
    assert callable(read)
    while piece := read(_PIECE):
        yield piece


def _checked(pieces: Iterator[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if not isinstance(piece, (bytes, bytearray, memoryview)):
            raise InvalidArgumentError(
                f"content: a piece is {type(piece).__name__} and no bytes",
                hint="open the file in binary mode",
            )
        yield bytes(piece)
