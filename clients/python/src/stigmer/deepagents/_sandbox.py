"""The backend."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Mapping
from types import TracebackType
from typing import Final, TypeVar

from deepagents.backends import CompositeBackend
from deepagents.backends.protocol import (
    EditResult,
    ExecuteResponse,
    FileDownloadResponse,
    FileUploadResponse,
    GlobResult,
    GrepResult,
    LsResult,
    ReadResult,
    SandboxBackendProtocol,
    WriteResult,
)
from deepagents.backends.utils import _get_file_type

from stigmer._aio.transport import AsyncTransport
from stigmer._aio.workspace import AsyncWorkspace
from stigmer._operations import processes
from stigmer._sync.client import Client
from stigmer._sync.workspace import Workspace
from stigmer._wire import StrPath
from stigmer.deepagents import _plans
from stigmer.deepagents._drive import arun, run
from stigmer.deepagents._paths import Paths
from stigmer.deepagents._plans import Plan
from stigmer.errors import StigmerError
from stigmer.types import Executed, OutputEvent
from stigmer.types.workspaces import ExecutionMode

R = TypeVar("R")

_FAILED: Final = 125
_CAPTURE: Final = 1024 * 1024


class StigmerSandbox(SandboxBackendProtocol):
    """Commands and files of one workspace, for deepagents.

    The sandbox needs neither Python nor a shell for file operations, and a path means the same to
    them as to commands: it is the real one. Files outside the directory are refused, with a message
    that names the directory. One object may be used by many threads and event loops.

    Args:
        root_dir: The directory; it is made if it is missing.
        mode: Where commands run: ``local``, or ``sandbox`` for a container. Else
            STIGMER_EXECUTION_MODE; else the server's settings decide.
        image: The container's image; else STIGMER_SANDBOX_IMAGE, else the server's setting.
        settings: More of what the container is made like (``sandbox_memory`` …).
        timeout: Seconds that a command may run if it is not told.
        ignore_rules: `grep` leaves out what .gitignore names, and hidden files, as ripgrep does.
        endpoint: The server; else as `stigmer.Client` finds it.
        token: What the server wants to see.
    """

    def __init__(
        self,
        root_dir: StrPath = ".",
        *,
        mode: ExecutionMode | None = None,
        image: str | None = None,
        settings: Mapping[str, str] | None = None,
        timeout: int = 120,
        ignore_rules: bool = True,
        endpoint: str | None = None,
        token: str | None = None,
    ) -> None:
        self._client = Client(endpoint, token=token)
        self._server = (endpoint, token)
        self._timeout = timeout
        self._ignore_rules = ignore_rules
        root = os.path.abspath(os.path.expanduser(os.fsdecode(root_dir)))
        if self._client._transport.address().is_ours:
            os.makedirs(root, exist_ok=True)
        said = {**(settings or {}), **({"sandbox_image": image} if image else {})}
        self._workspace = self._client.workspace(root, mode=mode, settings=said)
        info = self._workspace.info
        given = "" if root == info.root else root
        self._paths = Paths(info.id, info.root, has_link=info.mode == "sandbox", given=given)
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncWorkspace] = (
            weakref.WeakKeyDictionary()
        )

    def __enter__(self) -> StigmerSandbox:
        """Return itself; connections are closed at the end of the block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of this thread's side. The workspace stays as it is."""
        self._client.close()

    async def aclose(self) -> None:
        """Close all connections, those of the running event loop included."""
        workspace = self._loops.pop(asyncio.get_running_loop(), None)
        if workspace is not None:
            await workspace._transport.aclose()
        self.close()

    def delete(self) -> None:
        """Remove the container, if there is one, with what its commands wrote; and close.

        The directory stays.
        """
        if self._workspace.mode != "local":
            self._workspace.remove()
        self.close()

    @property
    def id(self) -> str:
        """The workspace's id."""
        return self._workspace.id

    @property
    def root(self) -> str:
        """The directory, absolute: where commands begin, and all paths of files."""
        return self._workspace.root

    @property
    def workspace(self) -> Workspace:
        """The workspace, which has more operations than deepagents knows."""
        return self._workspace

    @property
    def system_prompt(self) -> str:
        """What an agent should be told of where it works."""
        return (
            f"Your working directory is {self.root}. Commands begin there. File tools take "
            f"absolute paths, which begin with {self.root}/ and are the same that commands see."
        )

    def skill_sources(self) -> list[str]:
        """Return where deepagents finds the skills that were added to the workspace.

        Each is a directory with one skill in it. ``workspace.add_skill(path)`` adds one.
        """
        return [skill.source for skill in self._workspace.skills() if skill.problem is None]

    def as_composite(self, artifacts: str = ".deepagents") -> CompositeBackend:
        """Return this backend with a directory in it for what deepagents puts aside.

        deepagents keeps large results and old messages beneath ``/``, which is outside of the
        workspace; without a directory for them they stay in the conversation.
        """
        return CompositeBackend(
            default=self, routes={}, artifacts_root=self._paths.beneath(self.root, artifacts)
        )

    # Commands.

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a command line. ``timeout`` is in seconds; 0 for no end."""
        seconds = self._timeout if timeout is None else timeout
        try:
            done = self._workspace.execute(command, timeout=seconds or None, capture_bytes=_CAPTURE)
            return self._run(_respond(self._paths, done, seconds))
        except StigmerError as error:
            return _failed(error)

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a command line, as `execute` does. A task's cancellation ends the command."""
        seconds = self._timeout if timeout is None else timeout
        try:
            done = await (await self._here()).execute(
                command, timeout=seconds or None, capture_bytes=_CAPTURE
            )
            return await self._arun(_respond(self._paths, done, seconds))
        except StigmerError as error:
            return _failed(error)

    # Files.

    def ls(self, path: str) -> LsResult:
        """List a directory."""
        return self._run(_plans.ls(self._paths, path))

    async def als(self, path: str) -> LsResult:
        """List a directory."""
        return await self._arun(_plans.ls(self._paths, path))

    def read(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        """Read a page of a text; what is no text is whole and in base64."""
        return self._run(self._read(file_path, offset, limit))

    async def aread(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        """Read a page of a text; what is no text is whole and in base64."""
        return await self._arun(self._read(file_path, offset, limit))

    def write(self, file_path: str, content: str) -> WriteResult:
        """Make a new file; one that exists is an error, and stays."""
        return self._run(_plans.write(self._paths, file_path, content))

    async def awrite(self, file_path: str, content: str) -> WriteResult:
        """Make a new file; one that exists is an error, and stays."""
        return await self._arun(_plans.write(self._paths, file_path, content))

    def edit(
        self, file_path: str, old_string: str, new_string: str, replace_all: bool = False
    ) -> EditResult:
        """Replace a text that occurs once, or wherever it occurs."""
        return self._run(_plans.edit(self._paths, file_path, old_string, new_string, replace_all))

    async def aedit(
        self, file_path: str, old_string: str, new_string: str, replace_all: bool = False
    ) -> EditResult:
        """Replace a text that occurs once, or wherever it occurs."""
        return await self._arun(
            _plans.edit(self._paths, file_path, old_string, new_string, replace_all)
        )

    def grep(self, pattern: str, path: str | None = None, glob: str | None = None) -> GrepResult:
        """Find lines that hold a text."""
        return self._run(_plans.grep(self._paths, pattern, path, glob, self._ignore_rules))

    async def agrep(
        self, pattern: str, path: str | None = None, glob: str | None = None
    ) -> GrepResult:
        """Find lines that hold a text."""
        return await self._arun(_plans.grep(self._paths, pattern, path, glob, self._ignore_rules))

    def glob(self, pattern: str, path: str | None = None) -> GlobResult:
        """Find files and directories by a glob, as Python's own reads it."""
        return self._run(_plans.glob(self._paths, pattern, path))

    async def aglob(self, pattern: str, path: str | None = None) -> GlobResult:
        """Find files and directories by a glob, as Python's own reads it."""
        return await self._arun(_plans.glob(self._paths, pattern, path))

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Bring files in; each succeeds or fails for itself."""
        return [self._run(_plans.upload(self._paths, path, data)) for path, data in files]

    async def aupload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Bring files in; each succeeds or fails for itself."""
        return [await self._arun(_plans.upload(self._paths, path, data)) for path, data in files]

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Take files out; each succeeds or fails for itself."""
        return [self._run(_plans.download(self._paths, path)) for path in paths]

    async def adownload_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Take files out; each succeeds or fails for itself."""
        return [await self._arun(_plans.download(self._paths, path)) for path in paths]

    # What plans ask for.

    def _read(self, path: str, offset: int, limit: int) -> Plan[ReadResult]:
        is_text = _get_file_type(path) == "text"
        return _plans.read(self._paths, path, int(offset), int(limit), is_text)

    async def _here(self) -> AsyncWorkspace:
        """Return the workspace for the running loop: connections belong to one."""
        loop = asyncio.get_running_loop()
        workspace = self._loops.get(loop)
        if workspace is None:
            transport = AsyncTransport(*self._server, True)
            address = await transport.address()
            info, settings = self._workspace.info, self._workspace._settings
            workspace = AsyncWorkspace(transport, info, settings, address.is_ours)
            self._loops[loop] = workspace
        return workspace

    def _run(self, plan: Plan[R]) -> R:
        return run(plan, self._workspace._place)

    async def _arun(self, plan: Plan[R]) -> R:
        return await arun(plan, (await self._here())._place)


def _respond(paths: Paths, done: Executed, timeout: int) -> Plan[ExecuteResponse]:
    """Return both streams as one, in the order in which they were written."""
    output = done.stdout.text + done.stderr.text
    if done.stdout.head and done.stderr.head and not done.truncated:
        try:
            events: list[OutputEvent] = yield processes.output(
                paths.workspace, done.id, 0, "no", False
            )
            written = b"".join(event.output.data for event in events if event.output is not None)
            output = written[: done.exit.output_bytes].decode("utf-8", "replace")
        except StigmerError:
            pass  # one after the other is what is left
    if done.exit.timed_out:
        output += f"\n[the command was ended after {timeout} s]"
    return ExecuteResponse(output=output, exit_code=done.exit_code, truncated=done.truncated)


def _failed(error: StigmerError) -> ExecuteResponse:
    return ExecuteResponse(output=f"Error: {error}", exit_code=_FAILED)
