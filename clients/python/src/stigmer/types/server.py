"""The server itself, and what happens in it."""

from __future__ import annotations

from dataclasses import dataclass

from stigmer.types.processes import ExitStatus


@dataclass(frozen=True)
class ServerInfo:
    """What a server is."""

    version: str = ""
    """Its version."""
    kind: str = "unspecified"
    """``daemon`` or ``sidecar``."""
    pid: int = 0
    """Its process id on its machine."""
    uid: int = 0
    """The user it runs as."""
    started_ms: int = 0
    """When it was started, milliseconds since 1970."""
    descriptor_socket: str | None = None
    """The socket that takes descriptors, for clients on the same machine."""


@dataclass(frozen=True)
class ProcessStarted:
    """A command was started."""

    id: str = ""
    """Its id."""
    place: str = "unspecified"
    """Where it runs."""
    detached: bool = False
    """Whether it goes on without a client."""


@dataclass(frozen=True)
class ProcessEnded:
    """A command ended."""

    id: str = ""
    """Its id."""
    exit: ExitStatus | None = None
    """How."""


@dataclass(frozen=True)
class CommandRouted:
    """Auto mode chose a command's lane."""

    id: str = ""
    """Its id."""
    lane: str = "unspecified"
    """The lane that it runs in (`Lane`)."""
    rule: str = ""
    """The rule that decided."""
    reason: str = ""
    """Why, in plain words."""
    fell_over: tuple[str, ...] = ()
    """The kinds of calls that were refused to a first try, which was then discarded."""


@dataclass(frozen=True)
class WorkspaceOpened:
    """A workspace was opened for the first time."""

    id: str = ""
    """Its id."""


@dataclass(frozen=True)
class WorkspaceForgotten:
    """A workspace was forgotten."""

    id: str = ""
    """Its id."""


@dataclass(frozen=True)
class FilesChanged:
    """An operation changed files."""

    operation: str = ""
    """The operation, for example ``edit_file``."""
    path: str = ""
    """The path, as the caller named it."""


@dataclass(frozen=True)
class EventsLost:
    """Events are gone."""


@dataclass(frozen=True)
class Event:
    """One thing that happened: at most one of the cases. A newer server may have others."""

    next: int = 0
    """The offset after this event: what a resumed request gives as ``since``."""
    at_ms: int = 0
    """When, milliseconds since 1970."""
    workspace: str = ""
    """The root of the workspace it happened in."""
    request_id: str | None = None
    """The request that it belongs to, if any."""
    process_started: ProcessStarted | None = None
    """A command was started."""
    process_ended: ProcessEnded | None = None
    """A command ended."""
    command_routed: CommandRouted | None = None
    """Auto mode chose a command's lane."""
    workspace_opened: WorkspaceOpened | None = None
    """A workspace was opened for the first time."""
    workspace_forgotten: WorkspaceForgotten | None = None
    """A workspace was forgotten."""
    files_changed: FilesChanged | None = None
    """An operation changed files."""
    events_lost: EventsLost | None = None
    """Events before this one are gone."""


@dataclass(frozen=True)
class Change:
    """One change of a file."""

    path: str = ""
    """What changed, relative to the workspace's root; empty for ``rescan``."""
    kind: str = "unspecified"
    """``created``, ``modified``, ``removed``, or ``rescan``: changes were lost, read anew."""


@dataclass(frozen=True)
class WatchEvent:
    """One message of a watch."""

    change: Change | None = None
    """What changed; missing in the first message, which says that the watch is in place."""
