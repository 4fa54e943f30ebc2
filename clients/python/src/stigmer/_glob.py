"""Globs as Python's own `glob` reads them, for paths that a server has listed.

One that ends in ``**`` means what is beneath a directory, and not the directory itself as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MAGIC = re.compile(r"[*?[]")
_SLASH = re.compile("/+")
_NOTHING = re.compile(r"(?!)")
DEEPEST = 1000
"""Levels that are looked into for ``**``; no path on Linux has more."""


@dataclass(frozen=True)
class Glob:
    """A glob, taken apart."""

    base: str
    """The directories that it names without wildcards; empty if it begins with one."""
    depth: int
    """How many levels beneath the base it may match."""
    only_directories: bool
    """Whether it ends with a slash."""
    _regex: re.Pattern[str]

    def matches(self, path: str) -> bool:
        """Whether it matches a path, which is relative to where the glob is."""
        return self._regex.fullmatch(path) is not None


def parse(pattern: str) -> Glob:
    """Take a glob apart; it is relative, and has no ``..``."""
    parts = [part for part in _SLASH.split(pattern) if part not in ("", ".")]
    fixed = 0
    while fixed < len(parts) - 1 and not _MAGIC.search(parts[fixed]):
        fixed += 1
    rest = parts[fixed:]
    depth = DEEPEST if "**" in rest else max(1, len(rest))
    try:
        regex = re.compile(_regex(parts))
    except re.error:
        regex = _NOTHING  # a range that goes backwards has nothing in it
    return Glob("/".join(parts[:fixed]), depth, pattern.endswith("/"), regex)


def _regex(parts: list[str]) -> str:
    """Translate: wildcards match no slash, and no dot at a name's beginning unless it is said."""
    pieces = []
    for index, part in enumerate(parts):
        last = index == len(parts) - 1
        if part == "**":
            pieces.append(r"(?:[^/.][^/]*(?:/[^/.][^/]*)*)" if last else r"(?:[^/.][^/]*/)*")
            continue
        hidden = "" if part.startswith(".") else r"(?!\.)"
        pieces.append(hidden + _name(part) + ("" if last else "/"))
    return "".join(pieces)


def _name(part: str) -> str:
    """Translate one component."""
    pieces = []
    index = 0
    while index < len(part):
        character = part[index]
        index += 1
        if character == "*":
            pieces.append("[^/]*")
        elif character == "?":
            pieces.append("[^/]")
        elif character == "[":
            end = part.find("]", index + (2 if part.startswith("!", index) else 1))
            if end < 0:
                pieces.append(r"\[")  # without an end it is a bracket
                continue
            inside, index = part[index:end], end + 1
            negated = inside.startswith("!")
            escaped = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside.removeprefix("!"))
            pieces.append(f"(?!/)[{'^' if negated else ''}{escaped}]")
        else:
            pieces.append(re.escape(character))
    return "".join(pieces)
