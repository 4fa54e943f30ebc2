"""What is tried again, how often and when. Pure functions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

import httpx

from stigmer.errors import (
    CompletionUnknownError,
    DeadlineExceededError,
    StigmerError,
    UnavailableError,
)

TRIES: Final = 4
"""How often a request is sent at most."""
_BASE: Final = 0.1
_FACTOR: Final = 3.0
QUIET: Final = 60.0
"""Seconds after which a stream without a word is broken: the server comments every 15 seconds."""


def delays() -> Iterator[float]:
    """Give the seconds before each further try: they grow, and have full jitter."""
    longest = _BASE
    for _ in range(TRIES - 1):
        yield random.uniform(longest / 10, longest)
        longest *= _FACTOR


def was_not_sent(error: httpx.TransportError) -> bool:
    """Whether the server cannot have seen the request."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout))


def may_repeat(error: httpx.TransportError | StigmerError, repeatable: bool) -> bool:
    """Whether the same request may be sent again now."""
    if isinstance(error, UnavailableError):
        return True  # nothing was done
    if isinstance(error, (StigmerError, httpx.ReadTimeout)):
        return False
    return repeatable or was_not_sent(error)


def verdict(
    error: httpx.TransportError, repeatable: bool, where: str, *, reading: bool = False
) -> StigmerError:
    """Say what the failure of a connection means for the request.

    ``reading`` says that the request does nothing but that.
    """
    what = str(error) or type(error).__name__
    if was_not_sent(error):
        return UnavailableError(
            f"{where}: cannot be reached: {what}",
            hint="`stigmer server status` says whether a daemon runs",
            retryable=True,
        )
    if reading:
        return UnavailableError(f"{where}: the connection broke: {what}", retryable=True)
    if isinstance(error, httpx.TimeoutException) and repeatable:
        return DeadlineExceededError(f"{where}: no answer came in time", retryable=True)
    return CompletionUnknownError(
        f"{where}: the connection broke before the answer came: {what}",
        hint="whether it was done is not known; look before you repeat it",
    )
