# Derived by scripts/derive_sync.py. Change stigmer/_aio and derive again.
"""One command, followed and steered."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

from stigmer._sync.transport import Transport
from stigmer._operations import processes as operations
from stigmer.types import ExitStatus, OutputEvent, ProcessInfo, StartedProcess, TerminalSize
from stigmer.types.processes import Follow


class Process:
    """A command that was started. It is known by its id, and any client may ask for it again."""

    def __init__(
        self,
        transport: Transport,
        workspace: str,
        id: str,
        *,
        started: StartedProcess | None = None,
        detached: bool = True,
    ) -> None:
        self._transport = transport
        self._workspace = workspace
        self._detached = detached
        self.id = id
        """Its id, for every operation."""
        self.started = started
        """Where it runs and what was found, if this object started it."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r})"

    def __enter__(self) -> Process:
        """Return itself; at the end of the block the command is ended, if it still runs."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cancel()

    def output(
        self, since: int = 0, follow: Follow = "until_exit", hold: bool | None = None
    ) -> Iterator[OutputEvent]:
        """Follow the output from an offset.

        A connection that breaks is made again: no byte is lost and none comes twice.

        Args:
            since: Where to begin: 0, or `OutputEvent.next` of the last event received.
            follow: ``no`` for what there is, ``until_exit``, or ``until_closed``: until nobody can
                write any more, the processes that it left behind included.
            hold: Be the client of a foreground command, which lives while this goes on. It is what
                a command that is not detached needs, and is the default for one.
        """
        held = not self._detached if hold is None else hold
        return self._transport.stream(
            operations.output(self._workspace, self.id, since, follow, held)
        )

    def read_output(self, since: int = 0, follow: Follow = "until_exit") -> bytes:
        """Return all output from an offset, of all streams as it was written."""
        pieces = [
            event.output.data
            for event in self.output(since, follow)
            if event.output is not None
        ]
        return b"".join(pieces)

    def wait(self) -> ExitStatus:
        """Wait until it has ended."""
        return self._transport.call(operations.wait(self._workspace, self.id))

    def info(self) -> ProcessInfo:
        """Return what is known of it."""
        return self._transport.call(operations.get(self._workspace, self.id))

    def write_stdin(self, data: str | bytes) -> None:
        """Write to its standard input; returns when its pipe has taken all of it."""
        self._transport.call(operations.write_stdin(self._workspace, self.id, data))

    def close_stdin(self) -> None:
        """Close its standard input; on a terminal this types the end-of-file character."""
        self._transport.call(operations.close_stdin(self._workspace, self.id))

    def cancel(self) -> ExitStatus | None:
        """End it and everything that it started: TERM, a time of grace, KILL."""
        return self._transport.call(operations.signal(self._workspace, self.id, "cancel"))

    def kill(self) -> ExitStatus | None:
        """End it and everything that it started, at once."""
        return self._transport.call(operations.signal(self._workspace, self.id, "kill"))

    def send_signal(self, number: int) -> ExitStatus | None:
        """Send a signal to its foreground processes."""
        return self._transport.call(operations.signal(self._workspace, self.id, int(number)))

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal."""
        size = TerminalSize(rows, columns)
        self._transport.call(operations.resize(self._workspace, self.id, size))
