"""Requests, without input or output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from stigmer import _wire

T = TypeVar("T")

ANSWER_TIMEOUT = 300.0
"""Seconds for an answer to what is no command: a search through millions of files takes minutes."""


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request with one answer."""

    method: str
    """Service and method, as in the path: ``files/read``."""
    body: Mapping[str, Any]
    """The request."""
    reply: type[Any]
    """What the answer is."""
    repeatable: bool
    """Whether it may be sent again when nobody knows whether it arrived."""
    then: Callable[[Any], T] = _same
    """What the caller is given of the answer."""
    timeout: float | None = ANSWER_TIMEOUT
    """Seconds for the answer; none for no end."""
    changes: bool = False
    """Whether it does more than read: what got no answer may have been done."""

    def read(self, text: bytes) -> T:
        """Read the answer."""
        return self.then(_wire.read(self.reply, _wire.read_json(text)))


@dataclass(frozen=True)
class Stream(Generic[T]):
    """One request with a stream of answers."""

    method: str
    """Service and method, as in the path."""
    body: Mapping[str, Any]
    """The request."""
    reply: type[T]
    """What each answer is."""
    resumable: bool
    """Whether it may be asked for again from the last ``next``."""

    def read(self, data: bytes) -> T:
        """Read one answer."""
        return _wire.read(self.reply, _wire.read_json(data))

    def since(self, offset: int) -> Mapping[str, Any]:
        """Return the request that goes on at this offset."""
        return {**self.body, "since": offset}


@dataclass(frozen=True)
class Upload(Generic[T]):
    """Bytes for the server."""

    method: str
    """Service and method, as in the path."""
    query: str
    """What is uploaded where."""
    reply: type[T]
    """What the answer is."""

    def read(self, text: bytes) -> T:
        """Read the answer."""
        return _wire.read(self.reply, _wire.read_json(text))
