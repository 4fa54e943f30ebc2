"""A daemon of the suite's own, and clients of it."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

import stigmer

KEPT = ("STIGMER_BIN", "STIGMER_SIDECAR", "STIGMER_TEST_IMAGE")
"""What the suite is told of its surroundings; nothing else of the caller's counts."""


@pytest.fixture(scope="session", autouse=True)
def home():
    """A home of the suite's own: short, since a socket's path must be."""
    if os.geteuid() == 0:
        pytest.exit("the suite never runs as root: root may do what a developer may not", 2)
    directory = tempfile.mkdtemp(prefix="stigmer-py-")
    for name in list(os.environ):
        if (name.startswith("STIGMER_") and name not in KEPT) or name in ("MODE", "AGENT_MODE"):
            del os.environ[name]
    os.environ["STIGMER_HOME"] = directory
    yield Path(directory)
    subprocess.run(
        [stigmer._discovery.binary(), "server", "stop", "--now"], capture_output=True, check=False
    )
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def client():
    with stigmer.Client() as client:
        yield client


@pytest.fixture
def workspace(client, tmp_path):
    return client.workspace(tmp_path)
