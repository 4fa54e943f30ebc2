"""The way to what is done in a workspace, which sees to it that its place is as was asked for."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any, TypeVar

from stigmer._aio import _runtime
from stigmer._aio.transport import AsyncTransport
from stigmer._operations import Call, Stream, Upload
from stigmer.types import Preparing

T = TypeVar("T")


class AsyncPlace:
    """Sends requests, and first has the place made with the settings that were said for it.

    A server keeps these no longer than it runs, and forgets those that a place could not be made
    with. A command that comes later would have another place than was asked for.
    """

    def __init__(self, transport: AsyncTransport, preparing: Stream[Preparing] | None) -> None:
        self._transport = transport
        self._preparing = preparing
        self._made_by: int | None = None

    def is_gone(self) -> None:
        """Have it made again by the next request."""
        self._made_by = None

    async def _ready(self) -> None:
        if self._preparing is None:
            return
        server = await self._transport.server()
        if server is not None and server == self._made_by:
            return
        async for _ in self._transport.stream(self._preparing):
            pass
        self._made_by = await self._transport.server()

    async def call(self, call: Call[T]) -> T:
        """Send a request and return the answer."""
        await self._ready()
        return await self._transport.call(call)

    async def stream(self, asked: Stream[T]) -> AsyncGenerator[T, None]:
        """Send a request and give the answers."""
        await self._ready()
        async with contextlib.aclosing(self._transport.stream(asked)) as answers:
            async for answer in answers:
                yield answer

    async def download(self, body: Mapping[str, Any]) -> AsyncGenerator[bytes, None]:
        """Give the bytes of a download."""
        await self._ready()
        async with contextlib.aclosing(self._transport.download(body)) as pieces:
            async for piece in pieces:
                yield piece

    async def upload(self, asked: Upload[T], content: _runtime.Content) -> T:
        """Send bytes and return the answer."""
        await self._ready()
        return await self._transport.upload(asked, content)
