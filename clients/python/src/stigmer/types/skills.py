"""Skills: directories of instructions and files that an agent reads when it needs them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Skill:
    """A skill that is in a workspace."""

    name: str = ""
    """Its name: lower-case letters, digits and hyphens."""
    description: str = ""
    """What it does and when to use it."""
    path: str = ""
    """Its directory, absolute, as commands see it and file operations take it."""
    digest: str = ""
    """SHA-256 over all of its content; the same on every backend."""
    files: int = 0
    """How many files it has."""
    bytes: int = 0
    """Bytes of content."""
    problem: str | None = None
    """What is wrong with what is in the workspace; nothing else need be right then."""

    @property
    def source(self) -> str:
        """The directory that it lies in and nothing else, for frameworks that look for skills."""
        return self.path.rpartition("/")[0]


@dataclass(frozen=True)
class SkillList:
    """Skills."""

    skills: tuple[Skill, ...] = ()
    """Sorted by name."""


@dataclass(frozen=True)
class AddedSkill:
    """A skill that was added."""

    skill: Skill = field(default_factory=Skill)
    """The skill."""
    change: str = "unspecified"
    """``added``, ``replaced`` or ``unchanged``."""


@dataclass(frozen=True)
class RemovedSkill:
    """What removing did."""

    was_already_removed: bool = False
    """There was no such skill; that is a success."""
