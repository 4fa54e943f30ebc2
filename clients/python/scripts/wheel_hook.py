"""Puts the programs into the wheel, which makes it one for a platform."""

from __future__ import annotations

import os
import sysconfig
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = {"STIGMER_WHEEL_BINARY": "stigmer", "STIGMER_WHEEL_SIDECAR": "stigmer-sidecar"}


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Copies what the variables name. Without them one wheel fits all, without programs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        given = {name: os.environ[name] for name in PROGRAMS if os.environ.get(name)}
        if not given:
            return
        if missing := sorted(set(PROGRAMS) - set(given)):
            raise SystemExit(f"{', '.join(missing)}: not set; the wheel holds all programs or none")
        for name, path in given.items():
            if not os.access(path, os.X_OK):
                raise SystemExit(f"{name}: {path}: no executable file")
            build_data["force_include"][path] = f"stigmer/_bin/{PROGRAMS[name]}"
        build_data["pure_python"] = False
        platform = os.environ.get("STIGMER_WHEEL_PLATFORM") or sysconfig.get_platform()
        build_data["tag"] = f"py3-none-{platform.replace('-', '_').replace('.', '_')}"
