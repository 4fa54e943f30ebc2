# Derived by scripts/derive_sync.py. Change stigmer/_aio and derive again.
"""The skills of a workspace."""

from __future__ import annotations

from functools import partial

from stigmer import _packing
from stigmer._sync import _runtime
from stigmer._sync.place import Place
from stigmer._operations import skills as operations
from stigmer._wire import StrPath
from stigmer.types.skills import AddedSkill, RemovedSkill, Skill


class Skills:
    """Directories of instructions and files that an agent reads when it needs them."""

    _place: Place
    _id: str

    def add_skill(self, path: StrPath) -> AddedSkill:
        """Put a skill into the workspace. The same content is not written again.

        Args:
            path: A directory with a ``SKILL.md``, or a tar archive of one, which may be compressed
                with gzip. Another version of the skill is replaced.
        """
        content = _runtime.in_thread(partial(_packing.archive, path))
        return self._place.upload(operations.add(self._id), content)

    def skills(self) -> tuple[Skill, ...]:
        """Return the skills of the workspace, sorted by name."""
        return self._place.call(operations.list_skills(self._id))

    def remove_skill(self, name: str) -> RemovedSkill:
        """Remove a skill with all its versions; one that is not there is a success."""
        return self._place.call(operations.remove(self._id, name))
