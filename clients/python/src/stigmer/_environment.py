"""What this process's environment says of where commands run."""

from __future__ import annotations

import os
import typing

from stigmer.errors import BadConfigurationError
from stigmer.types.workspaces import ExecutionMode

_MODE = "STIGMER_EXECUTION_MODE"
_SANDBOX = "STIGMER_SANDBOX_"
_OTHER_PLACES: dict[str, dict[str, ExecutionMode]] = {
    "AGENT_MODE": {"firecracker": "firecracker"},
    "MODE": {"cloud": "cloud"},
}
"""Variables that name another place than this machine, and the modes that they mean."""


def checked_mode(named: str, said_by: str) -> ExecutionMode:
    """Return the mode of this name.

    Raises:
        BadConfigurationError: There is none.
    """
    valid = typing.get_args(ExecutionMode)
    if named not in valid:
        raise BadConfigurationError(
            f"{said_by}: {named!r} is no execution mode", hint=f"valid are {', '.join(valid)}"
        )
    return typing.cast(ExecutionMode, named)


def mode() -> ExecutionMode | None:
    """Return the mode that the environment asks for, if it asks for one.

    Raises:
        BadConfigurationError: Variables have unknown values, or contradict each other.
    """
    named = os.environ.get(_MODE, "").strip()
    asked = {(_MODE, checked_mode(named, _MODE))} if named else set()
    for variable, places in _OTHER_PLACES.items():
        value = os.environ.get(variable, "").strip()
        if value in places:
            asked.add((variable, places[value]))
        elif value not in ("", "local"):
            raise BadConfigurationError(
                f"{variable}: {value!r} is unknown; valid are local, {', '.join(places)}"
            )
    if len({one for _, one in asked}) > 1:
        said = " contradicts ".join(f"{name}={os.environ[name]}" for name, _ in sorted(asked))
        raise BadConfigurationError(said, hint="unset one of them")
    return next((one for _, one in asked), None)


def sandbox_settings() -> dict[str, str]:
    """Return the settings of places that the environment has."""
    said = {
        name.removeprefix("STIGMER_").lower(): value
        for name, value in os.environ.items()
        if name.startswith(_SANDBOX) and value
    }
    engine = os.environ.get("DOCKER_HOST")
    return {"sandbox_engine": engine, **said} if engine else said
