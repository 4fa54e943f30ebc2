"""One command, followed and steered."""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType

from stigmer._aio.transport import AsyncTransport
from stigmer._operations import processes as operations
from stigmer.types import ExitStatus, OutputEvent, ProcessInfo, StartedProcess, TerminalSize
from stigmer.types.processes import Follow


class AsyncProcess:
    """A command that was started. It is known by its id, and any client may ask for it again."""

    def __init__(
        self,
        transport: AsyncTransport,
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

    async def __aenter__(self) -> AsyncProcess:
        """Return itself; at the end of the block the command is ended, if it still runs."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.cancel()

    def output(
        self, since: int = 0, follow: Follow = "until_exit", hold: bool | None = None
    ) -> AsyncIterator[OutputEvent]:
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

    async def read_output(self, since: int = 0, follow: Follow = "until_exit") -> bytes:
        """Return all output from an offset, of all streams as it was written."""
        pieces = [
            event.output.data
            async for event in self.output(since, follow)
            if event.output is not None
        ]
        return b"".join(pieces)

    async def wait(self) -> ExitStatus:
        """Wait until it has ended."""
        return await self._transport.call(operations.wait(self._workspace, self.id))

    async def info(self) -> ProcessInfo:
        """Return what is known of it."""
        return await self._transport.call(operations.get(self._workspace, self.id))

    async def write_stdin(self, data: str | bytes) -> None:
        """Write to its standard input; returns when its pipe has taken all of it."""
        await self._transport.call(operations.write_stdin(self._workspace, self.id, data))

    async def close_stdin(self) -> None:
        """Close its standard input; on a terminal this types the end-of-file character."""
        await self._transport.call(operations.close_stdin(self._workspace, self.id))

    async def cancel(self) -> ExitStatus | None:
        """End it and everything that it started: TERM, a time of grace, KILL."""
        return await self._transport.call(operations.signal(self._workspace, self.id, "cancel"))

    async def kill(self) -> ExitStatus | None:
        """End it and everything that it started, at once."""
        return await self._transport.call(operations.signal(self._workspace, self.id, "kill"))

    async def send_signal(self, number: int) -> ExitStatus | None:
        """Send a signal to its foreground processes."""
        return await self._transport.call(operations.signal(self._workspace, self.id, int(number)))

    async def resize(self, rows: int, columns: int) -> None:
        """Change the size of its terminal."""
        size = TerminalSize(rows, columns)
        await self._transport.call(operations.resize(self._workspace, self.id, size))
