"""What differs between the two clients beyond `async` and `await`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from time import sleep
from typing import IO, TypeVar

import httpx

from stigmer._pieces import pieces_of

T = TypeVar("T")

HttpClient = httpx.Client
HttpTransport = httpx.HTTPTransport
Content = bytes | Iterable[bytes] | IO[bytes]
"""What can be uploaded."""

__all__ = ["Content", "HttpClient", "HttpTransport", "Lock", "body", "in_thread", "sleep"]


def in_thread(work: Callable[[], T]) -> T:
    """Do what blocks."""
    return work()


def body(content: Content) -> bytes | Iterable[bytes]:
    """Return what is sent as a request's body."""
    if isinstance(content, (bytes, bytearray, memoryview)):
        return bytes(content)
    return pieces_of(content)
