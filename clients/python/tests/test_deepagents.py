"""What langchain's suite does not ask of the backend."""

import asyncio
import os

import pytest

pytest.importorskip("deepagents", reason="deepagents needs Python 3.11")

from deepagents.backends import CompositeBackend
from deepagents.backends.protocol import SandboxBackendProtocol, execute_accepts_timeout
from deepagents.middleware.filesystem import supports_execution

from broken_upstream import broken
from stigmer.deepagents import StigmerSandbox


@pytest.fixture
def sandbox(tmp_path):
    with StigmerSandbox(tmp_path, mode="local") as sandbox:
        yield sandbox


def test_it_is_a_sandbox_of_deepagents(sandbox):
    assert isinstance(sandbox, SandboxBackendProtocol)
    assert supports_execution(sandbox)
    assert execute_accepts_timeout(type(sandbox))
    assert sandbox.id
    for name, member in vars(SandboxBackendProtocol).items():
        if name in {"id"} or name.startswith("_"):
            continue
        assert getattr(type(sandbox), name) is not member, f"{name} is ours"


def test_no_operation_on_files_runs_a_command(sandbox):
    root = sandbox.root
    assert sandbox.write(f"{root}/a", "x\n").error is None
    sandbox.read(f"{root}/a")
    sandbox.edit(f"{root}/a", "x", "y")
    sandbox.ls(root)
    sandbox.glob("**/*")
    sandbox.grep("y")
    sandbox.upload_files([(f"{root}/b", b"z")])
    sandbox.download_files([f"{root}/b"])
    assert sandbox.workspace.list_processes() == ()


def test_an_edit_has_no_limit_of_a_command_line(sandbox):
    path = f"{sandbox.root}/large"
    old, new = "o" * 3_000_000, "n" * 3_000_000
    sandbox.write(path, f"a\n{old}\nb\n")
    assert sandbox.edit(path, old, new).occurrences == 1
    (got,) = sandbox.download_files([path])
    assert got.content == f"a\n{new}\nb\n".encode()


def test_line_ends_of_the_file_stay(sandbox):
    path = f"{sandbox.root}/crlf"
    sandbox.upload_files([(path, b"one\r\ntwo\r\nthree\r\n")])
    assert sandbox.read(path).file_data["content"] == "one\ntwo\nthree"
    assert sandbox.edit(path, "one\ntwo", "1\n2").occurrences == 1
    assert sandbox.download_files([path])[0].content == b"1\r\n2\r\nthree\r\n"


def test_a_page_is_bounded_and_says_so(sandbox):
    path = f"{sandbox.root}/wide"
    sandbox.upload_files([(path, b"".join(b"%07d" % n * 1000 + b"\n" for n in range(3000)))])
    text = sandbox.read(path).file_data["content"]
    assert text.startswith("0000000")
    assert len(text) <= 500 * 1024
    assert "truncated" in text
    sandbox.upload_files([(path, b"x" * 11_000_000)])
    assert "too large" in sandbox.read(path).error


def test_outside_is_refused_with_the_directory_named(sandbox):
    for result in (
        sandbox.ls("/"),
        sandbox.read("/etc/passwd"),
        sandbox.write("/tmp/outside", "x"),
        sandbox.edit("/etc/passwd", "root", "toor"),
        sandbox.grep("root", path="/etc"),
        sandbox.glob("*", path="/etc"),
    ):
        assert sandbox.root in result.error


def test_streams_are_in_the_order_in_which_they_were_written(sandbox):
    done = sandbox.execute("echo 1; sleep 0.2; echo 2 >&2; sleep 0.2; echo 3; exit 7")
    assert (done.output, done.exit_code, done.truncated) == ("1\n2\n3\n", 7, False)


def test_time_that_runs_out_is_said(sandbox):
    done = sandbox.execute("echo before; sleep 60", timeout=1)
    assert done.exit_code == 124
    assert done.output == "before\n\n[the command was ended after 1 s]"


def test_what_is_too_much_is_cut_in_its_middle(sandbox):
    done = sandbox.execute("seq 1 1000000")
    assert done.truncated
    assert done.output.startswith("1\n2\n")
    assert done.output.endswith("1000000\n")


async def test_a_cancelled_task_ends_its_command(sandbox):
    root = sandbox.root
    task = asyncio.create_task(sandbox.aexecute("echo $$ > pid; sleep 600"))
    while not (os.path.exists(f"{root}/pid") and open(f"{root}/pid").read().strip()):
        await asyncio.sleep(0.02)
    pid = int(open(f"{root}/pid").read())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await sandbox.aclose()


def test_each_event_loop_has_connections_of_its_own(sandbox):
    for number in range(3):
        assert asyncio.run(sandbox.aexecute(f"echo {number}")).output == f"{number}\n"


def test_globs_may_be_absolute_and_deep(sandbox):
    root = sandbox.root
    for name in ("src/a.py", "src/deep/b.py", "c.py", ".hidden/d.py"):
        sandbox.write(f"{root}/{name}", "x")
    assert [one["path"] for one in sandbox.glob("src/**/*.py").matches] == [
        "src/a.py",
        "src/deep/b.py",
    ]
    assert [one["path"] for one in sandbox.glob(f"{root}/**/*.py").matches] == [
        f"{root}/c.py",
        f"{root}/src/a.py",
        f"{root}/src/deep/b.py",
    ]
    assert sandbox.glob("absent/*.py").matches == []


def test_what_deepagents_puts_aside_is_in_the_workspace(sandbox):
    backend = sandbox.as_composite()
    assert isinstance(backend, CompositeBackend)
    assert backend.artifacts_root == f"{sandbox.root}/.deepagents"
    assert backend.write(f"{backend.artifacts_root}/large_tool_results/1", "x").error is None
    assert supports_execution(backend)


def test_a_case_is_broken_by_a_version_and_the_later_ones():
    text = "# none\n0.7.0, test_one: it asks for what is gone: see there\n0.10.2, test_two: why\n"
    assert broken(text, "0.6.12") == {}
    assert broken(text, "0.7.32") == {"test_one": "it asks for what is gone: see there"}
    assert set(broken(text, "0.10.2")) == {"test_one", "test_two"}
