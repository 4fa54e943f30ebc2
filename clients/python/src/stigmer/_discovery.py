"""Where the server is: a daemon of this home, which is started if it must, or one by name."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sysconfig
import urllib.parse
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from stigmer.errors import (
    BadConfigurationError,
    NotAvailableError,
    UnauthenticatedError,
    UnavailableError,
)

PLACEHOLDER_KEY: Final = "dummy-local-key"
"""What stands in documented environments for "no key"."""
STARTING: Final = 30.0
"""Seconds that a daemon may take to start; it takes some milliseconds."""
IDLE_LIMIT: Final = "10m"
"""How long a daemon that we started goes on when nobody uses it: an agent's pause for thought."""
_ALREADY_RUNS: Final = 4
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_SENT_BY_US: Final = ("STIGMER_EXECUTION_MODE", "STIGMER_SANDBOX_")
"""How variables begin that are sent with requests, and are not to become a daemon's settings."""


@dataclass(frozen=True)
class Address:
    """A server, and how it is asked."""

    url: str
    """Beginning of every request's address."""
    socket: str | None = None
    """The unix socket, if it is one."""
    token: str | None = None
    """What shows that we may ask."""

    @property
    def is_ours(self) -> bool:
        """Whether it is a daemon of this user's on this machine."""
        return self.socket is not None

    def __str__(self) -> str:
        return self.socket or self.url


def home() -> Path:
    """Return stigmer's directory."""
    named = os.environ.get("STIGMER_HOME")
    return Path(named) if named else Path.home() / ".stigmer"


def binary() -> str:
    """Find the program: the one that is named, the wheel's own, or the one on PATH.

    Raises:
        NotAvailableError: There is none.
    """
    named = os.environ.get("STIGMER_BIN")
    if named:
        if not os.access(named, os.X_OK):
            raise BadConfigurationError(f"STIGMER_BIN: {named}: no executable file")
        return named
    for directory in _scripts():
        own = os.path.join(directory, "stigmer")
        if os.access(own, os.X_OK):
            return own
    found = shutil.which("stigmer")
    if found is None:
        raise NotAvailableError(
            "stigmer: the program is not installed: this package came without it",
            hint="install a wheel for this platform (`make wheel` builds one), or build the "
            "program (`make install`) and put it on PATH, or name it with STIGMER_BIN",
        )
    return found


def _scripts() -> list[str]:
    """Return where the programs of this wheel are: as it was installed, for all or for the user."""
    package = Path(__file__).parents[1]
    user = sysconfig.get_preferred_scheme("user")
    if package == Path(sysconfig.get_path("purelib", user)):
        return [sysconfig.get_path("scripts", user)]
    # `pip install --target` makes a directory for them beside the packages.
    return [str(package / "bin"), sysconfig.get_path("scripts")]


def find(endpoint: str | None, token: str | None, *, autostart: bool) -> Address:
    """Find the server.

    Raises:
        UnavailableError: The daemon does not run, or does not start.
        UnauthenticatedError: A server was named and there is no token for it.
        BadConfigurationError: The endpoint is not understood.
    """
    named = endpoint or os.environ.get("STIGMER_BACKEND_ENDPOINT")
    # A file that holds a token ends in a newline.
    key = (token or os.environ.get("STIGMER_API_KEY") or "").strip() or None
    if key == PLACEHOLDER_KEY:
        key = None
    if key is not None and not (key.isascii() and key.isprintable()):
        raise BadConfigurationError(
            "the token has characters that no token has",
            hint="STIGMER_API_KEY, or `token`, holds it: visible ASCII characters only",
        )
    if named:
        address = _named(named, key, asked=endpoint is not None)
        if address is not None:
            return address
    path = _socket_of_home()
    if answers(path):
        return Address("http://localhost", socket=path)
    if not autostart:
        raise UnavailableError(
            f"{path}: no daemon runs",
            hint="`stigmer server start` starts one",
            retryable=True,
        )
    start_daemon()
    path = _socket_of_home()
    if not answers(path):
        raise UnavailableError(f"{path}: the daemon was started and does not answer")
    return Address("http://localhost", socket=path)


def _named(named: str, key: str | None, *, asked: bool) -> Address | None:
    """Return the server that was named; none if what is meant is the daemon of this home."""
    if named.startswith("unix:"):
        path = named[len("unix:") :].removeprefix("//")
        if not answers(path):
            raise UnavailableError(f"{path}: nobody answers there", retryable=True)
        return Address("http://localhost", socket=path)
    scheme, _, rest = named.rpartition("://")
    no_address = BadConfigurationError(
        f"{rest.rpartition('@')[2]}: no address of a server",
        hint="valid are host:port, http://host:port, https://host:port, unix:/path",
    )
    try:
        parts = urllib.parse.urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise no_address from None
    plain = bool(host) and rest.isprintable() and "@" not in rest and parts.path in ("", "/")
    if scheme not in ("", "http", "https") or not host or not plain:
        raise no_address
    local = host in _LOOPBACK
    # The documented local environment names the daemon's place whether one runs or not.
    if local and scheme != "https" and (_listens_on(port) or (key is None and not asked)):
        return None
    if key is None:
        raise UnauthenticatedError(
            f"{named}: there is no token for it",
            hint="STIGMER_API_KEY, or `token`, holds it",
        )
    # A token does not cross a network in the clear unless somebody says `http://`.
    scheme = scheme or ("http" if local else "https")
    return Address(f"{scheme}://{parts.netloc}", token=key)


def _record() -> dict[str, object]:
    try:
        record = json.loads((home() / "state" / "daemon" / "daemon.json").read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _socket_of_home() -> str:
    """Return where the daemon of this home listens, or would."""
    named = _record().get("socket")
    return named if isinstance(named, str) else str(home() / "state" / "daemon" / "socket")


def _listens_on(port: int | None) -> bool:
    """Whether the daemon of this home listens on this port."""
    tcp = _record().get("tcp")
    return isinstance(tcp, str) and port is not None and tcp.endswith(f":{port}")


def answers(path: str) -> bool:
    """Whether a server of this user's, or root's, listens on a unix socket.

    Raises:
        UnauthenticatedError: Somebody else listens there, who is not told anything.
    """
    return serves(path) is not None


def serves(path: str) -> int | None:
    """Return the process that listens on a unix socket, if one of this user's, or root's, does.

    Raises:
        UnauthenticatedError: Somebody else listens there, who is not told anything.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(5)
        try:
            probe.connect(path)
        except (OSError, ValueError):
            return None
        credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    pid, uid, _ = struct.unpack("3i", credentials)
    if uid not in (os.geteuid(), 0):
        raise UnauthenticatedError(f"{path}: belongs to another user, {uid}")
    return int(pid)


def start_daemon() -> None:
    """Start the daemon of this home; that one runs already is a success.

    Raises:
        UnavailableError: It does not start; the message is the program's own.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(_SENT_BY_US)
    }
    try:
        done = subprocess.run(
            [binary(), "server", "start", *_start_options()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=STARTING,
            env=environment,
            cwd="/",
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(f"the daemon does not start: {error}") from error
    if done.returncode not in (0, _ALREADY_RUNS):
        said = done.stderr.decode("utf-8", "replace").strip()
        raise UnavailableError(
            f"the daemon does not start: {said or f'exit code {done.returncode}'}",
            hint="`stigmer server start` shows the same",
        )


def _start_options() -> list[str]:
    """Return how a daemon is started that nobody asked for by hand.

    Nobody asked for a port either, and nobody will stop it.
    """
    listen = [] if os.environ.get("STIGMER_BACKEND_ENDPOINT") else ["--listen", "none"]
    said = os.environ.get("STIGMER_SERVER_IDLE_LIMIT")
    return listen if said else [*listen, "--idle-limit", IDLE_LIMIT]
