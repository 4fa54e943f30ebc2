"""What differs between the two clients beyond `async` and `await`."""

from __future__ import annotations

import asyncio
from asyncio import Lock, sleep
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import IO, TypeVar

import httpx

from stigmer._pieces import pieces_of

T = TypeVar("T")

HttpClient = httpx.AsyncClient
HttpTransport = httpx.AsyncHTTPTransport
Content = bytes | Iterable[bytes] | AsyncIterable[bytes] | IO[bytes]
"""What can be uploaded."""

__all__ = ["Content", "HttpClient", "HttpTransport", "Lock", "body", "in_thread", "sleep"]


async def in_thread(work: Callable[[], T]) -> T:
    """Do what blocks, elsewhere."""
    return await asyncio.to_thread(work)


def body(content: Content) -> bytes | AsyncIterable[bytes]:
    """Return what is sent as a request's body."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    if isinstance(content, AsyncIterable):
        return content
    return _pieces(pieces_of(content))


async def _pieces(content: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Read a file or another blocking source in threads, so that the loop goes on."""
    iterator = iter(content)
    # An empty piece is not the end.
    while (piece := await asyncio.to_thread(next, iterator, None)) is not None:
        yield piece
