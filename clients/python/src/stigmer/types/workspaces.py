"""Workspaces, and the places where their commands run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ExecutionMode = Literal["local", "sandbox", "auto", "firecracker", "kubernetes", "cloud"]
"""How the place of a command is chosen."""
Preparation = Literal["open", "start", "recover", "create"]
"""What to do that a place be ready; ``create`` is ``open``, and keeps the settings given."""


@dataclass(frozen=True)
class Setting:
    """One setting, as it would stand in the configuration file."""

    name: str = ""
    """Its name."""
    value: str = ""
    """Its value. Secrets are not told."""


@dataclass(frozen=True)
class WorkspaceInfo:
    """What is known of a workspace."""

    id: str = ""
    """Its id."""
    root: str = ""
    """Its directory."""
    mode: str = "unspecified"
    """Where its commands run (`ExecutionMode`)."""
    backend: str = ""
    """The backend's name."""
    capabilities: tuple[str, ...] = ()
    """What the backend can do."""
    server_settings: tuple[Setting, ...] = ()
    """What the server's environment set when it was started."""
    opened_ms: int = 0
    """When it was first opened, milliseconds since 1970."""


@dataclass(frozen=True)
class WorkspaceList:
    """All workspaces."""

    workspaces: tuple[WorkspaceInfo, ...] = ()
    """Sorted by root."""


@dataclass(frozen=True)
class ForgetSummary:
    """A workspace is forgotten."""

    was_already_forgotten: bool = False
    """There was nothing to forget; that is a success."""


@dataclass(frozen=True)
class PlaceFailure:
    """Why a place cannot be used."""

    code: str = ""
    """The error's code."""
    message: str = ""
    """What happened."""
    hint: str | None = None
    """What to do about it."""
    retryable: bool = False
    """Whether it may succeed later."""


@dataclass(frozen=True)
class PlaceStatus:
    """What is known of a place."""

    workspace: str = ""
    """The id of its workspace."""
    root: str = ""
    """The workspace's directory."""
    state: str = "unspecified"
    """``creating``, ``ready``, ``stopped``, ``deleting``, ``gone`` or ``failed``."""
    reason: PlaceFailure | None = None
    """Why it failed."""
    name: str | None = None
    """What the backend calls it: a container's name."""
    image: str | None = None
    """The image that it was made from."""
    created_ms: int | None = None
    """When it was made, milliseconds since 1970."""
    notes: tuple[str, ...] = ()
    """What whoever relies on it should know."""
    affinity: tuple[str, ...] = ()
    """Toolchains whose state lives in it, so that auto mode sends their commands there."""


@dataclass(frozen=True)
class PlaceList:
    """All places."""

    places: tuple[PlaceStatus, ...] = ()
    """Sorted by root."""


@dataclass(frozen=True)
class LayerProgress:
    """A layer of an image on its way."""

    id: str = ""
    """The layer, as its registry names it, shortened."""
    what: str = ""
    """What happens to it: ``downloading``, ``extracting``, ``complete``."""
    done: int = 0
    """Bytes done."""
    total: int = 0
    """Bytes in all; 0 if that is not known."""


@dataclass(frozen=True)
class Preparing:
    """How far a place is: one of these. The last has ``status``."""

    step: str | None = None
    """A step begins."""
    layer: LayerProgress | None = None
    """A layer of an image is on its way."""
    note: str | None = None
    """What whoever waits should know; nothing stopped for it."""
    status: PlaceStatus | None = None
    """It is done."""
