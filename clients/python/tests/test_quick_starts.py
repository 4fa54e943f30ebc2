"""The code of the documents runs as it stands, and prints what stands below it."""

import os
import subprocess
import sys

import pytest

from documents import blocks
from sandbox_image import IMAGE, needs_image

DOCUMENTS = ("docs/python.md", "clients/python/README.md")

# A model needs a key and a network. This one is the real class for it, but for what would be sent:
# it calls one tool, and then says what that returned.
SCRIPTED_MODEL = """
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult


def _generate(self, messages, *arguments, **options):
    last = messages[-1]
    if isinstance(last, ToolMessage):
        said = AIMessage(f"This is {last.text.split()[0]}.")
    else:
        call = {"id": "1", "name": "execute", "args": {"command": "uname -s"}}
        said = AIMessage("", tool_calls=[call])
    return ChatResult(generations=[ChatGeneration(message=said)])


ChatAnthropic._generate = _generate
"""


def _cases():
    for document in DOCUMENTS:
        for number, (code, output) in enumerate(blocks(document, "python"), 1):
            marks = [needs_image] if "sandbox_image" in code else []
            yield pytest.param(code, output, id=f"{document}-{number}", marks=marks)


def test_there_are_quick_starts_of_all_that_is_promised():
    code = "\n".join(code for code, _ in blocks("docs/python.md", "python"))
    for promised in (
        "stigmer.Client()",
        "stigmer.AsyncClient()",
        ".output()",
        "create_sandbox_backend",
        "Config.load_from_env()",
        "create_deep_agent",
        'mode="sandbox"',
    ):
        assert promised in code


@pytest.mark.parametrize(("code", "output"), list(_cases()))
def test_a_block_runs_as_it_stands(code, output, tmp_path):
    project, begin = tmp_path / "project", tmp_path / "begin"
    project.mkdir()
    begin.mkdir()
    environment = {**os.environ, "ANTHROPIC_API_KEY": "none"}
    if "create_deep_agent" in code:
        pytest.importorskip("deepagents", reason="deepagents needs Python 3.11")
        (begin / "sitecustomize.py").write_text(SCRIPTED_MODEL)
        environment["PYTHONPATH"] = os.pathsep.join(
            [str(begin), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        output = "This is Linux.\n"
    elif "sandbox_image" in code:
        assert IMAGE in code, "the image that the document names is the one that is there"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert output is not None, "the document says what it prints"
    assert done.stdout == output
