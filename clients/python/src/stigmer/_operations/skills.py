"""Skills of a workspace."""

from __future__ import annotations

import urllib.parse

from stigmer._operations.call import Call, Upload
from stigmer.types import skills as types


def add(workspace: str) -> Upload[types.AddedSkill]:
    query = urllib.parse.urlencode({"workspace": workspace})
    return Upload("skills/add", query, types.AddedSkill)


def list_skills(workspace: str) -> Call[tuple[types.Skill, ...]]:
    body = {"workspace": workspace}
    return Call("skills/list", body, types.SkillList, True, lambda answer: answer.skills)


def remove(workspace: str, name: str) -> Call[types.RemovedSkill]:
    return Call("skills/remove", {"workspace": workspace, "name": name}, types.RemovedSkill, True)
