"""The one namespace of paths: what the shell calls a file, the file tools do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from stigmer.errors import InvalidArgumentError

_SLASHES: Final = re.compile("/+")
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

    def sent(self, path: str) -> str:
        """Return a path as the server is told it.

        Raises:
            InvalidArgumentError: It is not absolute.
        """
        if not path.startswith("/"):
            raise InvalidArgumentError(
                f"{path}: is not absolute", hint=f"paths begin with {self.root}/"
            )
        clean = _clean(path)
        if self.has_link and (clean == LINK or clean.startswith(f"{LINK}/")):
            return self.root + clean[len(LINK) :]
        return clean

    def inside(self, path: str) -> str:
        """Return a path relative to the root; empty for the root itself and what is outside."""
        sent = self.sent(path)
        return sent[len(self.root) + 1 :] if sent.startswith(f"{self.root}/") else ""

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
        for root in (self.root, *([LINK] if self.has_link else [])):
            if pattern.startswith(f"{root}/"):
                return pattern[len(root) + 1 :]
        raise InvalidArgumentError(
            f"{pattern}: is outside the workspace {self.root}",
            hint=f"globs begin with {self.root}/, or are relative",
        )


def _clean(path: str) -> str:
    clean = _SLASHES.sub("/", path)
    return clean.rstrip("/") or "/"
