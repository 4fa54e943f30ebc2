"""Backends for frameworks: commands and files beneath one directory, and errors as results."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

from stigmer._sync.client import Client
from stigmer._sync.workspace import Workspace
from stigmer._wire import StrPath
from stigmer.errors import BadConfigurationError, NotAvailableError, StigmerError
from stigmer.types.workspaces import ExecutionMode

__all__ = [
    "AutoBackend",
    "DockerBackend",
    "ExecutionResult",
    "FilesystemBackend",
    "create_sandbox_backend",
]

FAILED: Final = 125
"""The exit code when stigmer itself failed, as `stigmer run` has it."""
_CAPTURE: Final = 32 * 1024 * 1024
"""Bytes of each stream that a result holds; there is a note in it of what is beyond."""
_OPTIONS: Final = ("cwd", "env", "stdin")


@dataclass(frozen=True)
class ExecutionResult:
    """How a command went."""

    exit_code: int
    """As a shell would show it: 124 when it ran out of time, 125 when stigmer itself failed."""
    stdout: str
    """What it wrote to standard output."""
    stderr: str
    """What it wrote to standard error, or what failed."""


class FilesystemBackend:
    """Runs commands on this machine in a directory, and reads and writes the files beneath it.

    Nothing isolates the commands, unless STIGMER_EXECUTION_MODE asks for a sandbox. Files are
    confined to the directory. It may be used by many threads at once.

    Args:
        root_dir: The directory; it is made if it is missing.
        client: A client to use; else one of its own.
    """

    _mode: ExecutionMode | None = None

    def __init__(
        self,
        root_dir: StrPath = ".",
        *,
        client: Client | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._client = client or Client()
        self._owns_client = client is None
        self._settings = dict(settings or {})
        self._opened: Workspace | None = None
        self.root_dir: str = os.path.realpath(os.path.expanduser(os.fsdecode(root_dir)))
        """The directory, absolute and without links."""

    def __enter__(self) -> FilesystemBackend:
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
        """Close the connections."""
        if self._owns_client:
            self._client.close()

    @property
    def workspace(self) -> Workspace:
        """The workspace beneath it, which has all operations."""
        if self._opened is None:
            os.makedirs(self.root_dir, exist_ok=True)
            self._opened = self._client.workspace(
                self.root_dir, mode=self._mode, settings=self._settings
            )
        return self._opened

    def execute(self, command: str, timeout: float = 120, **kwargs: Any) -> ExecutionResult:
        """Run a command line in the directory. Never raises: what fails is in the result.

        Args:
            command: The command line.
            timeout: Seconds until it is ended, with exit code 124 and what it wrote by then; 0 for
                no end.
            **kwargs: ``cwd``, beneath the directory; ``env``, more variables; ``stdin``.
        """
        unknown = sorted(set(kwargs) - set(_OPTIONS))
        if unknown:
            return ExecutionResult(
                FAILED,
                "",
                f"{', '.join(unknown)}: unknown option; valid are {', '.join(_OPTIONS)}",
            )
        try:
            done = self.workspace.execute(
                command,
                cwd=kwargs.get("cwd") or "",
                env={"PYTHONUNBUFFERED": "1", **(kwargs.get("env") or {})},
                stdin=kwargs.get("stdin"),
                timeout=timeout or None,
                capture_bytes=_CAPTURE,
            )
        except StigmerError as error:
            return ExecutionResult(FAILED, "", str(error))
        except Exception as error:  # noqa: BLE001 - it never raises, and says what it is
            return ExecutionResult(FAILED, "", f"{type(error).__name__}: {error}")
        return ExecutionResult(done.exit_code, done.stdout.text, done.stderr.text)

    def read(self, path: StrPath) -> str:
        """Return a file's text.

        Raises:
            StigmerError: It cannot be read; `FileNotFoundError` if it is not there.
            UnicodeDecodeError: It is no text; ``workspace.read_file`` has its bytes.
        """
        return self.workspace.read_file(path).text

    def write(self, path: StrPath, content: str | bytes) -> None:
        """Replace or create a file, with its directories.

        Raises:
            StigmerError: It cannot be written.
        """
        self.workspace.write_file(path, content)

    def list_files(self, path: StrPath = "", *, recursive: bool = False) -> list[str]:
        """Return the paths of the files in a directory, relative to the backend's; sorted.

        Raises:
            StigmerError: It cannot be listed, or has more than 100,000 entries.
        """
        depth, limit = (1000, 100_000) if recursive else (1, 100_000)
        listing = self.workspace.list_directory(path, depth=depth, limit=limit)
        if listing.truncated:
            raise StigmerError(f"{os.fsdecode(path) or '.'}: has more than {limit} entries")
        return [entry.path for entry in listing.entries if entry.kind != "directory"]

    def read_file(self, path: StrPath) -> str:
        """Return a file's text, as `read` does."""
        return self.read(path)

    def write_file(self, path: StrPath, content: str | bytes) -> None:
        """Replace or create a file, as `write` does."""
        self.write(path, content)


class DockerBackend(FilesystemBackend):
    """Runs commands in a container of the directory's own, where it has the same path.

    Args:
        root_dir: The directory; it is made if it is missing.
        image: The container's image; else STIGMER_SANDBOX_IMAGE, else the server's setting.
        settings: More of what the container is made like (``sandbox_memory`` …).
        client: A client to use; else one of its own.
    """

    _mode = "sandbox"

    def __init__(
        self,
        root_dir: StrPath = ".",
        *,
        image: str | None = None,
        settings: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> None:
        super().__init__(root_dir, client=client, settings=_with_image(settings, image))

    def remove(self) -> None:
        """Remove the container, with what its commands wrote. The directory stays."""
        self.workspace.remove()


class AutoBackend(FilesystemBackend):
    """Runs each command in a lane of its own: confined on this machine, or in a container.

    What reads, builds or tests runs here with the tools that are here, and may change the directory
    at most; what installs, needs the network or is not known runs in the directory's container. A
    result of the backend does not tell which; one of ``workspace.execute`` has it as ``routing``.

    Args:
        root_dir: The directory; it is made if it is missing.
        image: The container's image; else STIGMER_SANDBOX_IMAGE, else the server's setting.
        settings: More of what the container is made like (``sandbox_memory`` …).
        client: A client to use; else one of its own.
    """

    _mode = "auto"

    def __init__(
        self,
        root_dir: StrPath = ".",
        *,
        image: str | None = None,
        settings: Mapping[str, str] | None = None,
        client: Client | None = None,
    ) -> None:
        super().__init__(root_dir, client=client, settings=_with_image(settings, image))

    def remove(self) -> None:
        """Remove the container, with what its commands wrote. The directory stays."""
        self.workspace.remove()


def _with_image(settings: Mapping[str, str] | None, image: str | None) -> dict[str, str]:
    """Return settings of a workspace with the image of its container, if one is named."""
    return {**(settings or {}), **({"sandbox_image": image} if image else {})}


_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "filesystem": ("root_dir",),
    "docker": ("root_dir", "image", "settings"),
    "auto": ("root_dir", "image", "settings"),
    "daytona": ("root_dir", "api_key", "api_url", "snapshot"),
}
"""The types, and what may be said of each beside `type`."""


def create_sandbox_backend(config: Mapping[str, Any]) -> FilesystemBackend:
    """Make the backend that a configuration describes: ``{"type": "filesystem", "root_dir": …}``.

    Args:
        config: ``type`` is ``filesystem``, ``docker``, ``auto`` or ``daytona``. ``root_dir`` is the
            directory; ``image`` and ``settings`` are those of `DockerBackend` and `AutoBackend`.

    Raises:
        BadConfigurationError: The type, or a key, is unknown; the message lists the valid ones.
        NotAvailableError: The type does not exist yet.
    """
    if not isinstance(config, Mapping):
        raise BadConfigurationError(
            f"{type(config).__name__}: no configuration of a backend; it is a mapping with a type, "
            f"of which valid are {', '.join(_KEYS)}",
            details={"valid": list(_KEYS)},
        )
    kind = config.get("type")
    if not isinstance(kind, str) or kind not in _KEYS:
        what = "type: is missing" if kind is None else f"type: {kind!r} is unknown"
        raise BadConfigurationError(
            f"{what}; valid are {', '.join(_KEYS)}", details={"valid": list(_KEYS)}
        )
    given = {str(name): value for name, value in config.items() if name != "type"}
    unknown = sorted(set(given) - set(_KEYS[kind]))
    if unknown:
        valid = ["type", *_KEYS[kind]]
        raise BadConfigurationError(
            f"{', '.join(unknown)}: unknown for type {kind}; valid are {', '.join(valid)}",
            details={"valid": valid},
        )
    root = given.get("root_dir")
    root = "." if root is None else root
    if kind == "filesystem":
        return FilesystemBackend(root)
    if kind in ("docker", "auto"):
        backend = DockerBackend if kind == "docker" else AutoBackend
        return backend(root, image=given.get("image"), settings=given.get("settings"))
    raise NotAvailableError(
        f"type: {kind} is not available in this version",
        hint="filesystem runs commands on this machine, docker in a container, auto chooses",
    )
