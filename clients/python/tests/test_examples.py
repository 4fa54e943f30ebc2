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


def test_the_quick_start_of_the_readme(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (EXAMPLES.parent / "README.md").read_text()
    first = readme.split("```python\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", first], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert done.stdout == "0 Bye\n\n"
