"""Puts the programs into the wheel, which makes it one for a platform."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROGRAMS = {"STIGMER_WHEEL_BINARY": "stigmer", "STIGMER_WHEEL_SIDECAR": "stigmer-sidecar"}
MACHINES = {62: "x86_64", 183: "aarch64"}
"""The numbers of processors in ELF files (elf.h), and what platform tags call them."""
EVERYWHERE = re.compile(r"ld-linux.*|lib(c|m|dl|rt|pthread|gcc_s)\.so\.\d+")
"""Libraries that every system of a manylinux tag has (PEP 600)."""
OLDEST = (2, 17)
"""The C library of the oldest tag that installers know by number."""
RELATIVE_RELOCATIONS = (2, 36)
"""The C library that understands what GLIBC_ABI_DT_RELR stands for."""


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds the programs that the variables name. Without them one wheel fits all, without programs.

    They are the wheel's scripts: installed where an environment's commands are, as they are.
    """

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
            build_data["shared_scripts"][os.path.abspath(path)] = PROGRAMS[name]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_of(list(given.values()))}"


def platform_of(programs: list[str]) -> str:
    """Return the platform tag of a wheel with these programs: the oldest system that runs all."""
    machines = {machine_of(program) for program in programs}
    if len(machines) != 1:
        raise SystemExit(f"{', '.join(programs)}: are for different machines")
    major, minor = max(OLDEST, *(c_library_of(program) for program in programs))
    return f"manylinux_{major}_{minor}_{machines.pop()}"


def machine_of(program: str) -> str:
    """Return the processor that a program is for."""
    head = Path(program).read_bytes()[:20]
    machine = MACHINES.get(int.from_bytes(head[18:20], "little"))
    if head[:4] != b"\x7fELF" or machine is None:
        raise SystemExit(f"{program}: no program for {' or '.join(MACHINES.values())}")
    return machine


def c_library_of(program: str) -> tuple[int, int]:
    """Return the oldest C library that a program runs with; zero if it needs none."""
    needed = re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("--dynamic", program))
    if others := [name for name in needed if not EVERYWHERE.fullmatch(name)]:
        raise SystemExit(f"{program}: needs {', '.join(others)}, which not every system has")
    said = readelf("--version-info", program)
    versions = [(int(a), int(b)) for a, b in re.findall(r"Name: GLIBC_(\d+)\.(\d+)", said)]
    if "GLIBC_ABI_DT_RELR" in said:
        versions.append(RELATIVE_RELOCATIONS)
    return max(versions, default=(0, 0))


def readelf(what: str, program: str) -> str:
    if shutil.which("readelf") is None:
        raise SystemExit("there is no readelf (package binutils), which tells what a program needs")
    command = ["readelf", "--wide", what, program]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
    ).stdout
