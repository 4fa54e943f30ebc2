"""The one namespace of paths: what the shell calls a file, the file tools do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from stigmer.errors import InvalidArgumentError

_SLASHES: Final = re.compile("/+")
_HERE: Final = re.compile(r"(?:/\.)+(?=/|$)/?")
LINK: Final = "/workspace"
"""What leads to the workspace in every sandbox, beside its own path."""


@dataclass(frozen=True)
class Paths:
    """The paths of a workspace."""

    workspace: str
    """Its id."""
    root: str
    """Its directory."""
    has_link: bool
    """Whether `/workspace` leads to it."""
    given: str = ""
    """What it was called by whoever opened it, which may be a link; empty if the same."""

    @property
    def prefix(self) -> str:
        """What the paths in it begin with."""
        return f"{self.root.rstrip('/')}/"

    def _names(self) -> list[str]:
        """Return every name of the root, its own first."""
        link = [LINK] if self.has_link else []
        return [self.root, *link, *([self.given] if self.given else [])]

    def sent(self, path: str) -> str:
        """Return a path as the server is told it.

        Raises:
            InvalidArgumentError: It is not absolute.
        """
        if not path.startswith("/"):
            raise InvalidArgumentError(
                f"{path}: is not absolute", hint=f"paths begin with {self.prefix}"
            )
        clean = _clean(path)
        for name in self._names()[1:]:
            if clean == name or clean.startswith(f"{name}/"):
                return _clean(self.prefix + clean[len(name) :])
        return clean

    def inside(self, path: str) -> str:
        """Return a path relative to the root; empty for the root itself and what is outside."""
        sent = self.sent(path)
        return sent[len(self.prefix) :] if sent.startswith(self.prefix) else ""

    def shown(self, relative: str, base: str) -> str:
        """Return a path that the server gave, in the spelling of the one that was asked for."""
        inside = self.inside(base)
        if not inside:
            return self.beneath(base, relative)
        if relative == inside:
            return _clean(base)
        return self.beneath(base, relative[len(inside) + 1 :])

    def beneath(self, base: str, name: str) -> str:
        """Return a name in a directory."""
        return f"{_clean(base).rstrip('/')}/{name}"

    def relative_pattern(self, pattern: str) -> str:
        """Return an absolute glob relative to the root."""
        for root in self._names():
            prefix = f"{root.rstrip('/')}/"
            if pattern.startswith(prefix):
                return pattern[len(prefix) :]
        raise InvalidArgumentError(
            f"{pattern}: is outside the workspace {self.root}",
            hint=f"globs begin with {self.prefix}, or are relative",
        )


def _clean(path: str) -> str:
    clean = _HERE.sub("/", _SLASHES.sub("/", path))
    return clean.rstrip("/") or "/"
