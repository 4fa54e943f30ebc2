"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest

from sandbox_image import IMAGE, needs_image

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name, *arguments):
    command = [sys.executable, EXAMPLES / name, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_quick_start():
    assert run("quick_start.py") == "0 Bye, world\n\n"


@pytest.mark.parametrize("mode", ["local", pytest.param("sandbox", marks=needs_image)])
def test_a_deep_agent_with_a_scripted_model(mode, monkeypatch):
    pytest.importorskip("deepagents", reason="deepagents needs Python 3.11")
    monkeypatch.setenv("STIGMER_SANDBOX_IMAGE", IMAGE)
    lines = run("deep_agent.py", mode).splitlines()
    assert "execute: Hello, world" in lines[1]
    assert "execute: Bye, world" in "\n".join(lines)
    assert lines[-1] == "The script says good-bye now."
