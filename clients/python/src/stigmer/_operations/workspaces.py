"""Workspaces, and the places where their commands run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stigmer._operations.call import Call, Stream
from stigmer._wire import StrPath, path_string, without_none
from stigmer.types import workspaces as types


def _open(
    path: StrPath, mode: types.ExecutionMode | None, settings: Mapping[str, str]
) -> dict[str, Any]:
    said = [{"name": name, "value": value} for name, value in settings.items()]
    return without_none({"path": path_string(path), "mode": mode, "settings": said})


def open_workspace(
    path: StrPath, mode: types.ExecutionMode | None, settings: Mapping[str, str]
) -> Call[types.WorkspaceInfo]:
    return Call("workspaces/open", _open(path, mode, settings), types.WorkspaceInfo, True)


def get(workspace: str) -> Call[types.WorkspaceInfo]:
    return Call("workspaces/get", {"workspace": workspace}, types.WorkspaceInfo, True)


def list_workspaces() -> Call[tuple[types.WorkspaceInfo, ...]]:
    return Call("workspaces/list", {}, types.WorkspaceList, True, lambda answer: answer.workspaces)


def forget(workspace: str) -> Call[types.ForgetSummary]:
    return Call("workspaces/forget", {"workspace": workspace}, types.ForgetSummary, True)


def prepare(
    path: StrPath,
    mode: types.ExecutionMode | None,
    settings: Mapping[str, str],
    preparation: types.Preparation,
) -> Stream[types.Preparing]:
    body = {"open": _open(path, mode, settings), "preparation": preparation}
    return Stream("workspaces/prepare", body, types.Preparing, resumable=False)


def status(workspace: str) -> Call[types.PlaceStatus]:
    return Call("workspaces/status", {"workspace": workspace}, types.PlaceStatus, True)


def places() -> Call[tuple[types.PlaceStatus, ...]]:
    return Call("workspaces/places", {}, types.PlaceList, True, lambda answer: answer.places)


def stop(workspace: str) -> Call[types.PlaceStatus]:
    return Call("workspaces/stop", {"workspace": workspace}, types.PlaceStatus, True)


def remove(workspace: str) -> Call[types.PlaceStatus]:
    return Call("workspaces/remove", {"workspace": workspace}, types.PlaceStatus, True)


def reset_affinity(workspace: str) -> Call[types.PlaceStatus]:
    return Call("workspaces/reset_affinity", {"workspace": workspace}, types.PlaceStatus, True)
