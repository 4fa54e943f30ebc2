"""Server-Sent Events: bytes to events, without input or output."""

from __future__ import annotations

from collections.abc import Iterator

from stigmer.errors import TooLargeError

LARGEST_EVENT = 96 * 1024 * 1024
"""Bytes of the largest event that is taken: the largest result that the server sends, with room."""


class Events:
    """Takes bytes as they come and gives events as they are complete.

    Only the line feed ends a line: JSON may hold other separators as they are.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._name = b"message"

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Take the next bytes, and give the name and data of the events that they complete."""
        *complete, rest = data.split(b"\n")
        for line in complete:
            whole = b"".join([*self._pieces, line])
            self._pieces.clear()
            self._size = 0
            # What the protocol sends has its name before its data, and its data on one line.
            if whole.startswith(b"event: "):
                self._name = whole[7:]
            elif whole.startswith(b"data: "):
                yield self._name.decode("utf-8", "replace"), whole[6:]
            elif not whole:
                self._name = b"message"
        if rest:
            self._pieces.append(rest)
            self._size += len(rest)
            if self._size > LARGEST_EVENT:
                raise TooLargeError(f"an event is larger than {LARGEST_EVENT} bytes")
