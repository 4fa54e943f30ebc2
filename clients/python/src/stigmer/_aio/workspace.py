"""A workspace: its commands. Its files are in `_files`, its skills in `_skills`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from stigmer._aio._files import AsyncFiles
from stigmer._aio._skills import AsyncSkills
from stigmer._aio.place import AsyncPlace
from stigmer._aio.process import AsyncProcess
from stigmer._aio.transport import AsyncTransport
from stigmer._operations import Stream, workspaces
from stigmer._operations import processes as operations
from stigmer._operations.processes import DEFAULT_TIMEOUT, Command, Start
from stigmer._wire import StrPath
from stigmer.errors import StigmerError
from stigmer.types import (
    Executed,
    ForgetSummary,
    PlaceStatus,
    Preparing,
    ProcessInfo,
    ResourceLimits,
    TerminalSize,
    WorkspaceInfo,
)
from stigmer.types.workspaces import ExecutionMode, Preparation


class AsyncWorkspace(AsyncFiles, AsyncSkills):
    """Where an agent works: a directory, and where its commands run. Made by a client."""

    def __init__(
        self,
        transport: AsyncTransport,
        info: WorkspaceInfo,
        settings: Mapping[str, str],
        on_this_machine: bool,
    ) -> None:
        self.info = info
        """What was known of it when it was opened."""
        self._transport = transport
        self._settings = dict(settings) if info.mode == "sandbox" else {}
        said = self._preparing("open") if self._settings else None
        super().__init__(AsyncPlace(transport, said), info.id)
        self._hands_on = on_this_machine and "caller_environment" in info.capabilities

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.root!r}, mode={self.mode!r})"

    @property
    def id(self) -> str:
        """Its id."""
        return self.info.id

    @property
    def root(self) -> str:
        """Its directory, absolute. Sandboxes have it at the same path."""
        return self.info.root

    @property
    def mode(self) -> str:
        """Where its commands run."""
        return self.info.mode

    async def execute(
        self,
        command: Command,
        *,
        cwd: StrPath = "",
        env: Mapping[str, str] | None = None,
        inherit_env: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
        stdin: str | bytes | None = None,
        capture_bytes: int | None = None,
        termination_grace: float | None = None,
        client_grace: float | None = None,
        limits: ResourceLimits | None = None,
        user: str | None = None,
        output_cap: int | None = None,
    ) -> Executed:
        """Run a command to its end and return how it went. A command that fails is no error.

        Whoever interrupts this (Ctrl-C, a task's cancellation) ends the command and everything that
        it started. If this process dies, the command is ended after ``client_grace``.

        Args:
            command: A line for the shell, or a program and its arguments.
            cwd: Where; the workspace's root if empty.
            env: Variables for this command; they override all others.
            inherit_env: In local mode the command has this process's environment, as one started by
                a shell would. False for a clean one. Sandboxes never have it.
            timeout: Seconds until it is ended, with exit code 124; None for no end.
            stdin: What it reads.
            capture_bytes: Bytes of each stream in the result, half from the beginning and half from
                the end (default 1 MiB, at most 64 MiB). The rest is kept, under the result's id.
            termination_grace: Seconds between TERM and KILL when it is ended (default 2).
            client_grace: Seconds that it goes on when this process has vanished (default 60).
            limits: Limits on its resources.
            user: The user it runs as.
            output_cap: Bytes of output kept on disk.
        """
        asked = Start(
            command=command,
            cwd=cwd,
            env=env,
            caller=self._caller(inherit_env),
            timeout=timeout,
            termination_grace=termination_grace,
            client_grace=client_grace,
            limits=limits,
            user=user,
            output_cap=output_cap,
        )
        try:
            return await self._place.call(operations.execute(self._id, asked, stdin, capture_bytes))
        except BaseException as error:
            if not isinstance(error, Exception):
                await self._end(asked.id)
            raise

    async def start(
        self,
        command: Command,
        *,
        cwd: StrPath = "",
        env: Mapping[str, str] | None = None,
        inherit_env: bool = True,
        timeout: float | None = None,
        detached: bool = True,
        stdin: bool = False,
        terminal: TerminalSize | None = None,
        termination_grace: float | None = None,
        client_grace: float | None = None,
        limits: ResourceLimits | None = None,
        user: str | None = None,
        output_cap: int | None = None,
    ) -> AsyncProcess:
        """Start a command and return when it runs. Whoever interrupts this ends it.

        Args:
            command: A line for the shell, or a program and its arguments.
            cwd: Where; the workspace's root if empty.
            env: Variables for this command; they override all others.
            inherit_env: As in `execute`.
            timeout: Seconds until it is ended; None for no end.
            detached: It goes on when this process is gone. Otherwise it needs one that follows its
                output, and is ended ``client_grace`` after the last one is gone.
            stdin: It reads what `write_stdin` sends, until `close_stdin`; else it reads nothing.
            terminal: It has a terminal of this size.
            termination_grace: Seconds between TERM and KILL when it is ended (default 2).
            client_grace: Seconds that one that is not detached waits for a client (default 60).
            limits: Limits on its resources.
            user: The user it runs as.
            output_cap: Bytes of output kept on disk.
        """
        asked = Start(
            command=command,
            cwd=cwd,
            env=env,
            caller=self._caller(inherit_env),
            stdin="stream" if stdin else "empty",
            terminal=terminal,
            timeout=timeout,
            termination_grace=termination_grace,
            detached=detached,
            client_grace=client_grace,
            limits=limits,
            user=user,
            output_cap=output_cap,
        )
        try:
            started = await self._place.call(operations.start(self._id, asked))
        except BaseException as error:
            # Nobody would have its id.
            if not isinstance(error, Exception):
                await self._end(asked.id)
            raise
        return AsyncProcess(
            self._transport, self._id, started.id, started=started, detached=detached
        )

    def process(self, id: str) -> AsyncProcess:
        """Return a command of this workspace by its id, whoever started it."""
        return AsyncProcess(self._transport, self._id, id)

    async def list_processes(self) -> tuple[ProcessInfo, ...]:
        """Return the commands of this workspace that are kept, the oldest first."""
        return await self._transport.call(operations.list_processes(self._id))

    def prepare(self, preparation: Preparation = "open") -> AsyncIterator[Preparing]:
        """Make the place where its commands run, and tell how far it is; the last has ``status``.

        Whoever works in a workspace need not ask for it, but is told nothing while an image is
        pulled.

        Args:
            preparation: ``open`` makes or starts it, as a use does; ``start`` starts one that was
                stopped; ``recover`` replaces one that failed; ``create`` is ``open``, and keeps the
                settings with the workspace for whoever uses it later and says nothing.
        """
        return self._transport.stream(self._preparing(preparation))

    async def status(self) -> PlaceStatus:
        """Return how far the place where its commands run is."""
        return await self._transport.call(workspaces.status(self._id))

    async def stop(self) -> PlaceStatus:
        """End its commands and keep its place as it is."""
        return await self._transport.call(workspaces.stop(self._id))

    async def remove(self) -> PlaceStatus:
        """End its commands and remove its place, with what they wrote. The directory stays."""
        self._place.is_gone()
        return await self._transport.call(workspaces.remove(self._id))

    async def reset_affinity(self) -> PlaceStatus:
        """Forget which toolchains live in its place; auto mode sends their commands there.

        What is installed there stays.
        """
        return await self._transport.call(workspaces.reset_affinity(self._id))

    async def forget(self) -> ForgetSummary:
        """Forget it. Its directory and its commands stay."""
        self._place.is_gone()
        return await self._transport.call(workspaces.forget(self._id))

    def _preparing(self, preparation: Preparation) -> Stream[Preparing]:
        mode: Any = self.mode
        return workspaces.prepare(self.root, mode, self._settings, preparation)

    def _caller(self, inherit: bool) -> dict[str, Any] | None:
        return operations.caller() if inherit and self._hands_on else None

    async def _end(self, id: str) -> None:
        """End a command that nobody waits for any more; it may not have begun."""
        try:
            await self._transport.call(operations.signal(self._id, id, "cancel"))
        except StigmerError:
            return  # it ends without us, when its grace is over


def mode_and_settings(
    mode: ExecutionMode | None, settings: Mapping[str, str] | None
) -> tuple[ExecutionMode | None, dict[str, str]]:
    """Return what was said, and what the environment says where nothing was said."""
    from stigmer import _environment

    said = mode or _environment.mode()
    return said, {**_environment.sandbox_settings(), **(settings or {})}
