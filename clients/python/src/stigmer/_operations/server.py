"""The server itself."""

from __future__ import annotations

from typing import Any

from stigmer._operations.call import Call, Stream
from stigmer.types.server import Event, ServerInfo


def info() -> Call[ServerInfo]:
    return Call("server/info", {}, ServerInfo, repeatable=True)


def events(since: int | None, follow: bool) -> Stream[Event]:
    body: dict[str, Any] = {"no_follow": not follow}
    if since is not None:
        body["since"] = since
    return Stream("server/events", body, Event, resumable=True)
