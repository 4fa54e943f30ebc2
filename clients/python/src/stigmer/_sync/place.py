# Derived by scripts/derive_sync.py. Change stigmer/_aio and derive again.
"""The way to what is done in a workspace, which sees to it that its place is as was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from typing import Any, TypeVar

from stigmer._sync import _runtime
from stigmer._sync.transport import Transport
from stigmer._operations import Call, Stream, Upload
from stigmer.types import Preparing

T = TypeVar("T")


class Place:
    """Sends requests, and first has the place made with the settings that were said for it.

    A server keeps these no longer than it runs, and forgets those that a place could not be made
    with. A command that comes later would have another place than was asked for.
    """

    def __init__(self, transport: Transport, preparing: Stream[Preparing] | None) -> None:
        self._transport = transport
        self._preparing = preparing
        self._made_by: int | None = None

    def is_gone(self) -> None:
        """Have it made again by the next request."""
        self._made_by = None

    def _ready(self) -> None:
        if self._preparing is None:
            return
        server = self._transport.server()
        if server is not None and server == self._made_by:
            return
        for _ in self._transport.stream(self._preparing):
            pass
        self._made_by = self._transport.server()

    def call(self, call: Call[T]) -> T:
        """Send a request and return the answer."""
        self._ready()
        return self._transport.call(call)

    def stream(self, asked: Stream[T]) -> Generator[T, None, None]:
        """Send a request and give the answers."""
        self._ready()
        with contextlib.closing(self._transport.stream(asked)) as answers:
            for answer in answers:
                yield answer

    def download(self, body: Mapping[str, Any]) -> Generator[bytes, None, None]:
        """Give the bytes of a download."""
        self._ready()
        with contextlib.closing(self._transport.download(body)) as pieces:
            for piece in pieces:
                yield piece

    def upload(self, asked: Upload[T], content: _runtime.Content) -> T:
        """Send bytes and return the answer."""
        self._ready()
        return self._transport.upload(asked, content)
