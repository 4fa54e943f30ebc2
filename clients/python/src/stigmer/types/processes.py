"""Commands: how they are asked for, what they write, how they end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

EndReason = Literal["exited", "signalled", "timed_out", "cancelled", "out_of_memory", "lost"]
"""Why a command can have ended. A newer server may say more."""
Lane = Literal["host_read_only", "host_workspace", "sandbox"]
"""Where auto mode runs a command. On the host it may read and change nothing, or change the
workspace and nothing else; the kernel sees to that."""
Follow = Literal["no", "until_exit", "until_closed"]
"""How long output is followed: what there is, to the command's end, or until nobody can write."""


@dataclass(frozen=True)
class Survivor:
    """A process that could not be ended."""

    pid: int = 0
    """Its process id on its machine."""
    name: str = ""
    """Its name."""
    uid: int = 0
    """The user it runs as."""


@dataclass(frozen=True)
class Denial:
    """Something that a command tried and was refused."""

    call: str = ""
    """The kind of call: ``open``, ``unlink``, ``connect``, ``exec`` and so on."""
    path: str | None = None
    """What it was about, if that could be read. It is what the command said."""
    errno: int = 0
    """The error that it got."""
    probe: bool = False
    """Whether it is something that programs try in passing."""


@dataclass(frozen=True)
class Denied:
    """What was refused to a command in a lane on the host."""

    denials: tuple[Denial, ...] = ()
    """Each once, the first ones."""
    omitted: int = 0
    """How many others there were."""


@dataclass(frozen=True)
class Enforced:
    """What the kernel enforces on a command in a lane on the host."""

    landlock: int = 0
    """The version of Landlock's interface whose rights are used."""
    namespaces: bool = False
    """Whether it runs in namespaces of its own."""
    scoped_signals: bool = False
    """Whether its signals are kept to its own processes; if not, the read-only lane sends none."""


@dataclass(frozen=True)
class Routing:
    """How auto mode treated a command."""

    lane: str = "unspecified"
    """The lane that it runs in (`Lane`)."""
    rule: str = ""
    """The rule that decided: a tool, or what the machine made of it (``auto:affinity``)."""
    token: str = ""
    """The part of the command that the rule speaks of."""
    reason: str = ""
    """Why, in plain words."""
    enforced: Enforced | None = None
    """What the kernel enforces; missing in the sandbox."""
    fell_over: Denied | None = None
    """What was refused to a first try in the read-only lane, which was then discarded."""
    dropped_variables: tuple[str, ...] = ()
    """Names of the caller's variables that it does not have."""


@dataclass(frozen=True)
class ExitStatus:
    """How a command ended, and when."""

    code: int = 0
    """The code a shell would show: 0 to 255, 124 for a timeout, 128 + N for signal N."""
    reason: str = "unspecified"
    """Why it ended (`EndReason`)."""
    signal: int | None = None
    """The signal that ended it."""
    ended_ms: int = 0
    """When it ended, milliseconds since 1970."""
    duration_ms: int = 0
    """How long it ran, in milliseconds."""
    output_bytes: int = 0
    """Bytes of output up to its end."""
    survivors: tuple[Survivor, ...] = ()
    """Processes of the command that could not be ended with it."""
    memory_limit: int | None = None
    """The bytes of memory it could have, if it ran out of them and the limit is known."""
    cause: str | None = None
    """What became of its place, if it is lost with that and the reason is known."""
    denied: Denied | None = None
    """What it was refused in a lane of auto mode on the host."""

    @property
    def timed_out(self) -> bool:
        """Whether it ran out of time."""
        return self.reason == "timed_out"


@dataclass(frozen=True)
class Captured:
    """One stream in a result."""

    head: bytes = b""
    """The beginning; everything, if nothing was omitted."""
    tail: bytes = b""
    """The end, if something was omitted."""
    omitted_bytes: int = 0
    """Bytes between the two; the process's output has them."""

    @property
    def text(self) -> str:
        """The stream as text. What is no UTF-8 is replaced, what is omitted is named."""
        head = self.head.decode("utf-8", "replace")
        if not self.omitted_bytes:
            return head
        return (
            f"{head}\n[{self.omitted_bytes} bytes omitted]\n{self.tail.decode('utf-8', 'replace')}"
        )

    def __str__(self) -> str:
        """Return the stream as text."""
        return self.text


@dataclass(frozen=True)
class Executed:
    """How a command went."""

    id: str = ""
    """The id under which the whole output is kept."""
    exit: ExitStatus = ExitStatus()
    """How it ended."""
    stdout: Captured = Captured()
    """Standard output, or the terminal."""
    stderr: Captured = Captured()
    """Standard error."""
    truncated: bool = False
    """Whether either stream is not whole."""
    place: str = "unspecified"
    """Where it ran: ``host``, ``container``, ``vm``, ``pod``, ``cloud``."""
    executable: str | None = None
    """The program that was found."""
    routing: Routing | None = None
    """What auto mode made of it; missing in the other modes."""

    @property
    def lane(self) -> str | None:
        """The lane that auto mode chose (`Lane`); none in the other modes."""
        return self.routing.lane if self.routing else None

    @property
    def exit_code(self) -> int:
        """The exit code, as a shell would show it."""
        return self.exit.code


@dataclass(frozen=True)
class StartedProcess:
    """What was started."""

    id: str = ""
    """Its id, for every other operation."""
    place: str = "unspecified"
    """Where it runs."""
    executable: str | None = None
    """The program that was found; missing when none was, or when it had been started before."""
    routing: Routing | None = None
    """What auto mode made of it; missing in the other modes."""

    @property
    def lane(self) -> str | None:
        """The lane that auto mode chose (`Lane`); none in the other modes."""
        return self.routing.lane if self.routing else None


@dataclass(frozen=True)
class Output:
    """A command wrote."""

    offset: int = 0
    """Offset of the first byte."""
    stream: str = "unspecified"
    """Where it wrote: ``stdout``, ``stderr``, ``terminal``."""
    data: bytes = field(default=b"", metadata={"name": "bytes"})
    """What it wrote."""

    @property
    def text(self) -> str:
        """What it wrote as text; a character that two pieces share is replaced in both."""
        return self.data.decode("utf-8", "replace")


@dataclass(frozen=True)
class Gap:
    """A command wrote, and the bytes are gone."""

    offset: int = 0
    """Offset of the first missing byte."""
    length: int = 0
    """How many are missing."""
    reason: str = "unspecified"
    """Why: ``over_cap`` or ``disk_full``."""


@dataclass(frozen=True)
class OutputEvent:
    """One thing that happened to a command: exactly one of ``output``, ``gap`` and ``exit``."""

    next: int = 0
    """The offset after this event: what a resumed request gives as ``since``."""
    output: Output | None = None
    """It wrote."""
    gap: Gap | None = None
    """It wrote, and the bytes are gone."""
    exit: ExitStatus | None = None
    """It ended. Processes that it left behind may still write."""


@dataclass(frozen=True)
class TerminalSize:
    """The size of a terminal in characters."""

    rows: int = 24
    """Lines."""
    columns: int = 80
    """Characters in a line."""


@dataclass(frozen=True)
class ResourceLimits:
    """Limits that the kernel enforces on each process of a command (setrlimit(2))."""

    cpu_seconds: int | None = None
    """Seconds of processor time."""
    address_space_bytes: int | None = None
    """Bytes of address space."""
    open_files: int | None = None
    """Open descriptors."""
    file_size_bytes: int | None = None
    """Bytes of the largest file it may write."""
    processes: int | None = None
    """Processes of the user it runs as."""


@dataclass(frozen=True)
class Argv:
    """A program and its arguments."""

    words: tuple[str, ...] = ()
    """The program and its arguments."""


@dataclass(frozen=True)
class Command:
    """What was run: one of the two."""

    shell: str | None = None
    """A command line for the shell."""
    argv: Argv | None = None
    """A program and its arguments."""


@dataclass(frozen=True)
class ProcessInfo:
    """What is known of a command."""

    id: str = ""
    """Its id."""
    command: Command = Command()
    """What was run."""
    workspace: str = ""
    """The workspace it belongs to: its root."""
    cwd: str = ""
    """Where it was run."""
    state: str = "unspecified"
    """Where it is in its life: ``running``, ``exited``, ``lost``."""
    exit: ExitStatus | None = None
    """How it ended."""
    started_ms: int = 0
    """When it was started, milliseconds since 1970."""
    pid: int | None = None
    """Its process id on its machine, while it runs."""
    background: int = 0
    """Processes that it left behind and that still run."""
    terminal: bool = False
    """Whether it has a terminal."""
    detached: bool = False
    """Whether it goes on without a client."""
    output_bytes: int = 0
    """Bytes of output so far."""
    routing: Routing | None = None
    """What auto mode made of it; missing in the other modes, and for what runs in a sandbox."""

    @property
    def lane(self) -> str | None:
        """The lane that auto mode chose (`Lane`); none in the other modes."""
        return self.routing.lane if self.routing else None


@dataclass(frozen=True)
class ProcessList:
    """The commands that are kept."""

    processes: tuple[ProcessInfo, ...] = ()
    """The oldest first."""


@dataclass(frozen=True)
class Signalled:
    """A command was signalled or ended."""

    exit: ExitStatus | None = None
    """How the command ended, if it has."""
