"""Hands for AI agents: run commands, edit files and search code under supervision.

import stigmer

with stigmer.Client() as client:
    workspace = client.workspace(".")
    print(workspace.execute("uname -s").stdout)
"""

from stigmer import errors, types
from stigmer._aio._files import AsyncFiles
from stigmer._aio._skills import AsyncSkills
from stigmer._aio.client import AsyncClient
from stigmer._aio.process import AsyncProcess
from stigmer._aio.workspace import AsyncWorkspace
from stigmer._sync._files import Files
from stigmer._sync._skills import Skills
from stigmer._sync.client import Client
from stigmer._sync.process import Process
from stigmer._sync.workspace import Workspace
from stigmer.backends import (
    AutoBackend,
    DockerBackend,
    ExecutionResult,
    FilesystemBackend,
    create_sandbox_backend,
)
from stigmer.config import Config
from stigmer.errors import StigmerError
from stigmer.types import Edit, ResourceLimits, TerminalSize

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncFiles",
    "AsyncProcess",
    "AsyncSkills",
    "AsyncWorkspace",
    "AutoBackend",
    "Client",
    "Config",
    "DockerBackend",
    "Edit",
    "ExecutionResult",
    "Files",
    "FilesystemBackend",
    "Process",
    "ResourceLimits",
    "Skills",
    "StigmerError",
    "TerminalSize",
    "Workspace",
    "create_sandbox_backend",
    "errors",
    "types",
]
