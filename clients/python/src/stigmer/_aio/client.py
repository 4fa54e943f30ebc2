"""The client of a server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import TracebackType

from stigmer._aio.process import AsyncProcess
from stigmer._aio.transport import AsyncTransport
from stigmer._aio.workspace import AsyncWorkspace, mode_and_settings
from stigmer._operations import processes, server, workspaces
from stigmer._paths import absolute
from stigmer._wire import StrPath
from stigmer.types import (
    Event,
    ForgetSummary,
    PlaceStatus,
    ProcessInfo,
    ServerInfo,
    WorkspaceInfo,
)
from stigmer.types.workspaces import ExecutionMode


class AsyncClient:
    """Speaks to the daemon of this home, which is started if it must, or to one that is named.

    Nothing is done before the first operation. It may be used by many at once, of one event loop
    if it is the one with `async`, and goes on in a process that was forked, with connections of its
    own.

    Args:
        endpoint: ``host:port``, ``http://host:port``, ``https://host:port`` or ``unix:/path``; else
            STIGMER_BACKEND_ENDPOINT; else the daemon of this home.
        token: What shows that we may ask; else STIGMER_API_KEY. The daemon of this home needs none.
        autostart: Start the daemon of this home if none runs.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        autostart: bool = True,
    ) -> None:
        self._transport = AsyncTransport(endpoint, token, autostart)

    async def __aenter__(self) -> AsyncClient:
        """Return itself; connections are closed at the end of the block."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. The daemon goes on, and so do detached commands."""
        await self._transport.aclose()

    async def info(self) -> ServerInfo:
        """Return what the server is."""
        return await self._transport.call(server.info())

    def events(self, since: int | None = None, *, follow: bool = True) -> AsyncIterator[Event]:
        """Follow what happens: commands that start and end, workspaces, changes by operations.

        Args:
            since: The offset to begin at, `Event.next` of the last event received; None means now.
            follow: Go on; False for what there is.
        """
        return self._transport.stream(server.events(since, follow))

    async def workspace(
        self,
        path: StrPath = ".",
        *,
        mode: ExecutionMode | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> AsyncWorkspace:
        """Open a workspace at a directory. The same directory and mode give the same workspace.

        Args:
            path: Its directory. One that is relative is so to this process's.
            mode: Where its commands run; else STIGMER_EXECUTION_MODE; else the server's settings
                decide.
            settings: What its sandbox is made like (``sandbox_image`` …), with the names of the
                configuration file; they overrule the variables STIGMER_SANDBOX_…. The first
                operation refuses one that is wrong.
        """
        address = await self._transport.address()
        root = absolute(path, here=address.is_ours)
        said, places = mode_and_settings(mode, settings)
        # What is done in it says the settings; here they would be said for whoever comes next.
        info = await self._transport.call(workspaces.open_workspace(root, said, {}))
        # In auto mode they are of a sandbox that only its first use makes. In other modes they are
        # refused, and whoever named some wants them obeyed.
        asked = {"auto": places, "sandbox": {}}.get(info.mode, dict(settings or {}))
        if asked:
            info = await self._transport.call(workspaces.open_workspace(root, said, asked))
        return AsyncWorkspace(self._transport, info, places, address.is_ours)

    async def get_workspace(self, workspace: str) -> WorkspaceInfo:
        """Return what is known of a workspace, by its id or absolute path."""
        return await self._transport.call(workspaces.get(workspace))

    async def list_workspaces(self) -> tuple[WorkspaceInfo, ...]:
        """Return the workspaces that were opened and not forgotten, sorted by root."""
        return await self._transport.call(workspaces.list_workspaces())

    async def forget_workspace(self, workspace: str) -> ForgetSummary:
        """Forget a workspace, by its id or absolute path. Its directory and commands stay."""
        return await self._transport.call(workspaces.forget(workspace))

    async def list_places(self) -> tuple[PlaceStatus, ...]:
        """Return all places, also those of workspaces that were forgotten."""
        return await self._transport.call(workspaces.places())

    async def place_status(self, workspace: str) -> PlaceStatus:
        """Return how far the place of a workspace is."""
        return await self._transport.call(workspaces.status(workspace))

    async def stop_place(self, workspace: str) -> PlaceStatus:
        """End the commands of a workspace and keep its place as it is."""
        return await self._transport.call(workspaces.stop(workspace))

    async def remove_place(self, workspace: str) -> PlaceStatus:
        """End the commands of a workspace and remove its place. The directory stays."""
        return await self._transport.call(workspaces.remove(workspace))

    async def reset_affinity(self, workspace: str) -> PlaceStatus:
        """Forget which toolchains live in the place of a workspace; see `PlaceStatus`."""
        return await self._transport.call(workspaces.reset_affinity(workspace))

    def process(self, id: str) -> AsyncProcess:
        """Return a command by its id, whoever started it."""
        return AsyncProcess(self._transport, "", id)

    async def list_processes(self) -> tuple[ProcessInfo, ...]:
        """Return the commands of all workspaces that are kept, the oldest first."""
        return await self._transport.call(processes.list_processes(""))
