"""Starting, following, steering and ending commands."""

from __future__ import annotations

import dataclasses
import os
import re
import resource
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stigmer._operations.call import Call, Stream
from stigmer._wire import StrPath, byte_string, path_string, without_none
from stigmer.errors import InvalidArgumentError
from stigmer.types import files as file_types
from stigmer.types import processes as types

Command = str | bytes | Sequence[str | bytes | os.PathLike[str]]
"""A command line for the shell, or a program and its arguments."""

_ID_CHARACTERS = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 10

DEFAULT_TIMEOUT = 120.0
"""Seconds that a command may run, where nothing else is said."""

_LONGEST = 10 * 365 * 86_400
"""Ten years, in seconds: what is longer is meant to have no end."""

_AFTER_TIMEOUT = 60.0
"""Seconds that an answer may come later than its command's time limit: the grace between TERM and
KILL, and a busy machine."""

_LIMITS = [
    "CPU",
    "FSIZE",
    "DATA",
    "STACK",
    "CORE",
    "RSS",
    "NPROC",
    "NOFILE",
    "MEMLOCK",
    "AS",
    "SIGPENDING",
    "MSGQUEUE",
    "NICE",
    "RTPRIO",
    "RTTIME",
]
"""Resources that a shell hands on to its commands."""


_UMASK = re.compile(rb"^Umask:\s*([0-7]+)", re.MULTILINE)
_STATUS_SIZE = 4096


def new_id() -> str:
    """Choose an id for a command, so that its start can be sent twice."""
    return "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def caller() -> dict[str, Any]:
    """Describe this process's own circumstances, for a command on its machine."""
    limits = []
    for name in _LIMITS:
        number = getattr(resource, f"RLIMIT_{name}", None)
        if number is None:
            continue
        soft, hard = resource.getrlimit(number)
        said = {"resource": number, "soft": _limit(soft), "hard": _limit(hard)}
        limits.append(without_none(said))
    return without_none(
        {"environment": variables(os.environb), "umask": _umask(), "limits": limits}
    )


def _umask() -> int | None:
    """Read the mask without setting it, which other threads would notice."""
    try:
        status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _UMASK.search(os.read(status, _STATUS_SIZE))
    finally:
        os.close(status)
    return int(found[1], 8) if found else None


def variables(given: Mapping[Any, Any]) -> list[dict[str, Any]]:
    """Encode an environment."""
    return [
        {"name": byte_string(name), "value": byte_string(value)} for name, value in given.items()
    ]


@dataclass(frozen=True)
class Start:
    """A command to be started."""

    command: Command
    cwd: StrPath = ""
    env: Mapping[str, str] | None = None
    caller: Mapping[str, Any] | None = None
    stdin: str | None = None
    terminal: types.TerminalSize | None = None
    timeout: float | None = None
    termination_grace: float | None = None
    detached: bool = False
    client_grace: float | None = None
    limits: types.ResourceLimits | None = None
    user: str | None = None
    output_cap: int | None = None
    id: str = dataclasses.field(default_factory=new_id)

    def body(self, workspace: str) -> dict[str, Any]:
        return without_none(
            {
                "workspace": workspace,
                "command": _command(self.command),
                "cwd": path_string(self.cwd),
                "variables": variables(self.env or {}),
                "caller": self.caller,
                "stdin": self.stdin,
                "terminal": _fields(self.terminal),
                "timeout_ms": _milliseconds(self.timeout),
                "termination_grace_ms": _milliseconds(self.termination_grace),
                "detached": self.detached,
                "client_grace_ms": _milliseconds(self.client_grace),
                "limits": _fields(self.limits),
                "user": self.user,
                "output_cap": self.output_cap,
                "id": self.id,
            }
        )


def _command(command: Command) -> dict[str, Any]:
    if isinstance(command, (str, bytes)):
        return {"shell": byte_string(command)}
    return {"argv": {"words": [path_string(word) for word in command]}}


def _fields(value: types.TerminalSize | types.ResourceLimits | None) -> dict[str, Any] | None:
    return None if value is None else without_none(dataclasses.asdict(value))


def _milliseconds(seconds: float | None) -> int | None:
    if seconds is None:
        return None
    if not 0 <= seconds <= _LONGEST:
        raise InvalidArgumentError(
            f"{seconds}: no time in seconds", hint=f"from 0 to {_LONGEST}, or None for no end"
        )
    # What is said to be a limit does not become 0, which would be none.
    return max(1, round(seconds * 1000)) if seconds else 0


def start(workspace: str, asked: Start) -> Call[types.StartedProcess]:
    return Call(
        "processes/start",
        asked.body(workspace),
        types.StartedProcess,
        repeatable=True,
        changes=True,
    )


def execute(
    workspace: str, asked: Start, stdin: str | bytes | None, capture_bytes: int | None
) -> Call[types.Executed]:
    """Without ``timeout`` in ``asked`` there is no end: the server's default is not ours."""
    if stdin is not None:
        asked = dataclasses.replace(asked, stdin="stream")
    asked = dataclasses.replace(asked, timeout=asked.timeout or 0)
    body = without_none(
        {
            "start": asked.body(workspace),
            "input": None if stdin is None else byte_string(stdin),
            "capture_bytes": capture_bytes,
        }
    )
    grace = asked.termination_grace or 0
    patience = asked.timeout + grace + _AFTER_TIMEOUT if asked.timeout else None
    return Call(
        "processes/execute", body, types.Executed, repeatable=True, timeout=patience, changes=True
    )


def output(
    workspace: str, id: str, since: int, follow: types.Follow, hold: bool
) -> Stream[types.OutputEvent]:
    body = {"workspace": workspace, "id": id, "since": since, "follow": follow, "hold": hold}
    return Stream("processes/output", body, types.OutputEvent, resumable=True)


def write_stdin(workspace: str, id: str, data: str | bytes) -> Call[None]:
    body = {"workspace": workspace, "id": id, "bytes": byte_string(data)}
    return Call("processes/write_stdin", body, file_types.Done, False, lambda _: None, None)


def close_stdin(workspace: str, id: str) -> Call[None]:
    body = {"workspace": workspace, "id": id}
    return Call("processes/close_stdin", body, file_types.Done, False, lambda _: None)


def signal(workspace: str, id: str, action: str | int) -> Call[types.ExitStatus | None]:
    """``action`` is ``cancel``, ``kill``, or a signal's number."""
    said: dict[str, Any] = {action: {}} if isinstance(action, str) else {"send": action}
    body = {"workspace": workspace, "id": id, "signal": said}
    # To end what is being ended is to wait for the same end.
    repeatable = isinstance(action, str)
    return Call(
        "processes/signal",
        body,
        types.Signalled,
        repeatable,
        lambda answer: answer.exit,
        changes=True,
    )


def resize(workspace: str, id: str, size: types.TerminalSize) -> Call[None]:
    body = {"workspace": workspace, "id": id, "size": _fields(size)}
    return Call("processes/resize", body, file_types.Done, True, lambda _: None)


def wait(workspace: str, id: str) -> Call[types.ExitStatus]:
    body = {"workspace": workspace, "id": id}
    return Call("processes/wait", body, types.ExitStatus, repeatable=True, timeout=None)


def get(workspace: str, id: str) -> Call[types.ProcessInfo]:
    body = {"workspace": workspace, "id": id}
    return Call("processes/get", body, types.ProcessInfo, repeatable=True)


def list_processes(workspace: str) -> Call[tuple[types.ProcessInfo, ...]]:
    return Call(
        "processes/list",
        {"workspace": workspace},
        types.ProcessList,
        True,
        lambda answer: answer.processes,
    )
