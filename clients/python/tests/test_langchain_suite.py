"""langchain's own suite for sandboxes of deepagents, on this machine and in a container."""

import os
import sys

import pytest

pytest.importorskip("deepagents", reason="deepagents needs Python 3.11")

from langchain_tests.integration_tests import SandboxIntegrationTests

from sandbox_image import IMAGE, needs_image
from stigmer.deepagents import StigmerSandbox


class _InWorkspace(SandboxIntegrationTests):
    """The suite's directory is beneath the workspace's."""

    root = ""

    @property
    def sandbox_root_dir(self):
        return f"{type(self).root}/test_sandbox_ops/"


class TestLocal(_InWorkspace):
    @pytest.fixture(scope="class")
    @classmethod
    def sandbox(cls, tmp_path_factory):
        directory = tmp_path_factory.mktemp("local")
        # The suite calls its interpreter `python`, which not every machine has under that name.
        tools = tmp_path_factory.mktemp("tools")
        (tools / "python").symlink_to(sys.executable)
        before = os.environ["PATH"]
        os.environ["PATH"] = f"{tools}:{before}"
        cls.root = str(directory)
        with StigmerSandbox(directory, mode="local") as sandbox:
            assert sandbox.workspace.mode == "local"
            yield sandbox
        os.environ["PATH"] = before


@needs_image
class TestDocker(_InWorkspace):
    @pytest.fixture(scope="class")
    @classmethod
    def sandbox(cls, tmp_path_factory):
        directory = tmp_path_factory.mktemp("docker")
        cls.root = str(directory)
        sandbox = StigmerSandbox(directory, mode="sandbox", image=IMAGE)
        assert sandbox.workspace.execute("true").place == "container"
        yield sandbox
        sandbox.delete()


@needs_image
class TestDockerAtWorkspace(_InWorkspace):
    """By the path `/workspace`, which leads to the workspace in every container."""

    root = "/workspace"

    @pytest.fixture(scope="class")
    @classmethod
    def sandbox(cls, tmp_path_factory):
        directory = tmp_path_factory.mktemp("docker")
        sandbox = StigmerSandbox(directory, mode="sandbox", image=IMAGE)
        yield sandbox
        sandbox.delete()
