"""What the environment says to a program that runs agents."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stigmer import _environment
from stigmer.errors import BadConfigurationError

__all__ = ["Config"]

_MODES: Final = ("local", "cloud")
_SANDBOX_TYPES: Final = ("filesystem", "daytona")
_ENDPOINT: Final = "localhost:50051"
_REDIS_PORT: Final = 6379
_PLACEHOLDER_KEY: Final = "dummy-local-key"


@dataclass(frozen=True)
class Config:
    """Settings, read from the environment once."""

    mode: str
    """``local`` or ``cloud``: MODE says so and ENV never does. ``local`` if it is not set."""
    sandbox_type: str
    """``filesystem`` or ``daytona`` (SANDBOX_TYPE)."""
    sandbox_root_dir: str
    """Where agents work (SANDBOX_ROOT_DIR, ``./workspace``)."""
    execution_mode: str = "local"
    """Where commands run (STIGMER_EXECUTION_MODE)."""
    stigmer_backend_endpoint: str = _ENDPOINT
    """Where the daemon is (STIGMER_BACKEND_ENDPOINT)."""
    stigmer_api_key: str | None = field(default=None, repr=False)
    """What the daemon wants to see (STIGMER_API_KEY). None in local mode, if it is not set."""
    daytona_api_url: str | None = None
    """Where Daytona is (DAYTONA_API_URL); cloud mode only."""
    daytona_api_key: str | None = field(default=None, repr=False)
    """What Daytona wants to see (DAYTONA_API_KEY); cloud mode only."""
    redis_host: str | None = None
    """Where Redis is (REDIS_HOST); cloud mode only."""
    redis_port: int | None = None
    """Its port (REDIS_PORT, 6379); cloud mode only."""
    redis_password: str | None = field(default=None, repr=False)
    """Its password (REDIS_PASSWORD); cloud mode only."""

    @classmethod
    def load_from_env(cls, environment: Mapping[str, str] | None = None) -> Config:
        """Read the environment.

        Local mode needs no variable at all, and reads none of Redis and Daytona.

        Args:
            environment: Another than this process's.

        Raises:
            BadConfigurationError: A value is unknown; variables contradict each other; or cloud
                mode lacks what it needs: all of it is named.
        """
        around = os.environ if environment is None else environment
        said = {name: value.strip() for name, value in around.items() if value.strip()}
        mode = _one_of(said, "MODE", _MODES, "local")
        kind = _one_of(
            said, "SANDBOX_TYPE", _SANDBOX_TYPES, "filesystem" if mode == "local" else "daytona"
        )
        execution = said.get("STIGMER_EXECUTION_MODE", "local")
        _environment.checked_mode(execution, "STIGMER_EXECUTION_MODE")
        if mode == "local" and kind == "daytona":
            raise BadConfigurationError(
                "SANDBOX_TYPE=daytona contradicts local mode",
                hint="set MODE=cloud, or SANDBOX_TYPE=filesystem",
            )
        key = said.get("STIGMER_API_KEY")
        common = {
            "mode": mode,
            "sandbox_type": kind,
            "sandbox_root_dir": said.get("SANDBOX_ROOT_DIR", "./workspace"),
            "execution_mode": execution,
            "stigmer_backend_endpoint": said.get("STIGMER_BACKEND_ENDPOINT", _ENDPOINT),
            "stigmer_api_key": None if key == _PLACEHOLDER_KEY else key,
        }
        if mode == "local":
            return cls(**common)  # type: ignore[arg-type]
        return cls(**common, **_of_cloud(said, kind, key))  # type: ignore[arg-type]

    def is_local_mode(self) -> bool:
        """Whether agents run on this machine."""
        return self.mode == "local"

    def get_sandbox_config(self) -> dict[str, Any]:
        """Return what `create_sandbox_backend` takes."""
        if self.sandbox_type == "filesystem" and self.execution_mode == "sandbox":
            return {"type": "docker", "root_dir": self.sandbox_root_dir}
        if self.sandbox_type == "filesystem" and self.execution_mode == "auto":
            return {"type": "auto", "root_dir": self.sandbox_root_dir}
        if self.sandbox_type == "filesystem":
            return {"type": "filesystem", "root_dir": self.sandbox_root_dir}
        config = {"type": "daytona", "api_key": self.daytona_api_key}
        return {**config, "api_url": self.daytona_api_url} if self.daytona_api_url else config


def _one_of(said: Mapping[str, str], name: str, valid: tuple[str, ...], default: str) -> str:
    value = said.get(name, default)
    if value not in valid:
        raise BadConfigurationError(
            f"{name}: {value!r} is unknown; valid are {', '.join(valid)}",
            details={"valid": list(valid)},
        )
    return value


def _of_cloud(said: Mapping[str, str], kind: str, key: str | None) -> dict[str, Any]:
    needed = ["STIGMER_API_KEY", "REDIS_HOST", *(["DAYTONA_API_KEY"] if kind == "daytona" else [])]
    missing = [name for name in needed if name not in said]
    if key == _PLACEHOLDER_KEY:
        missing.insert(0, f"STIGMER_API_KEY ({_PLACEHOLDER_KEY} stands for none)")
    if missing:
        raise BadConfigurationError(
            f"cloud mode needs {', '.join(missing)}",
            hint="set them, or MODE=local, which needs none",
            details={"missing": missing},
        )
    port = said.get("REDIS_PORT", str(_REDIS_PORT))
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadConfigurationError(f"REDIS_PORT: {port!r} is no port; valid are 1 to 65535")
    return {
        "redis_host": said["REDIS_HOST"],
        "redis_port": int(port),
        "redis_password": said.get("REDIS_PASSWORD"),
        "daytona_api_key": said.get("DAYTONA_API_KEY"),
        "daytona_api_url": said.get("DAYTONA_API_URL"),
    }
