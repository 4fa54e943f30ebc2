"""What nobody means to give, and programs give all the same."""

import asyncio
import io

import httpx
import pytest

import stigmer
from stigmer import _discovery, _environment, _glob, _resilience
from stigmer._operations import processes
from stigmer._operations.processes import Start
from stigmer.errors import (
    BadConfigurationError,
    CompletionUnknownError,
    DeadlineExceededError,
    InvalidArgumentError,
)

HALF = "half \ud83d"


def test_an_empty_piece_is_not_the_end_of_an_upload(workspace, tmp_path):
    workspace.upload("sync", iter([b"one", b"", b"two"]))

    async def upload():
        async with stigmer.AsyncClient() as client:
            there = await client.workspace(tmp_path)
            await there.upload("async", iter([b"one", b"", b"two"]))

    asyncio.run(upload())
    assert (tmp_path / "sync").read_bytes() == (tmp_path / "async").read_bytes() == b"onetwo"


def test_what_is_no_bytes_is_not_uploaded(workspace, tmp_path):
    (tmp_path / "kept").write_text("kept")
    for content in (None, "text", 7, io.StringIO("text"), [b"a", "b"]):
        with pytest.raises(InvalidArgumentError, match="content: "):
            workspace.upload("kept", content)
    assert (tmp_path / "kept").read_text() == "kept"
    assert workspace.upload("empty", io.StringIO("")).bytes == 0


def test_half_a_character_is_an_error_that_says_so(workspace):
    for attempt in (
        lambda: workspace.write_file("x", HALF),
        lambda: workspace.read_file(HALF),
        lambda: workspace.execute(f"echo {HALF}"),
        lambda: workspace.upload(HALF, b""),
    ):
        with pytest.raises(InvalidArgumentError, match="half of a character"):
            attempt()


@pytest.mark.parametrize("time", [-1, float("nan"), float("inf"), 1e10])
def test_a_time_that_is_none_is_refused(workspace, time):
    with pytest.raises(InvalidArgumentError, match="no time in seconds"):
        workspace.execute("true", timeout=time)
    assert stigmer.FilesystemBackend(workspace.root).execute("true", timeout=time).exit_code == 125


def test_a_token_is_read_without_its_newline_and_never_shown(monkeypatch):
    monkeypatch.setenv("STIGMER_API_KEY", "a-token\n")
    found = _discovery.find("http://example.org:1", None, autostart=False)
    assert found.token == "a-token"
    for odd in ("tök", "to\nken"):
        with pytest.raises(BadConfigurationError) as raised:
            _discovery.find("http://example.org:1", odd, autostart=False)
        assert odd not in str(raised.value)


@pytest.mark.parametrize(
    "address", ["http://[::1", "http://u:secret@host:1", "http://\0:1", "http://"]
)
def test_what_is_no_address_is_refused_without_its_password(address):
    with pytest.raises(BadConfigurationError) as raised:
        _discovery.find(address, "token", autostart=False)
    assert "secret" not in str(raised.value)


def test_no_answer_to_what_changes_something_is_not_told_as_not_done():
    late = httpx.ReadTimeout("")
    for call in (processes.start("w", Start("true")), processes.signal("w", "id", "cancel")):
        told = _resilience.verdict(late, call.repeatable and not call.changes, "there")
        assert isinstance(told, CompletionUnknownError)
        assert not told.retryable
    assert isinstance(_resilience.verdict(late, True, "there"), DeadlineExceededError)


def test_a_mode_of_the_environment_is_never_passed_over(monkeypatch):
    monkeypatch.setenv("MODE", " cloud ")
    assert _environment.mode() == "cloud"
    monkeypatch.setenv("MODE", "Cloud")
    with pytest.raises(BadConfigurationError, match="valid are local, cloud"):
        _environment.mode()
    monkeypatch.delenv("MODE")
    monkeypatch.setenv("STIGMER_EXECUTION_MODE", "sandbox ")
    assert _environment.mode() == "sandbox"


def test_a_configuration_that_asks_for_a_sandbox_is_one():
    said = {"STIGMER_EXECUTION_MODE": "sandbox", "SANDBOX_ROOT_DIR": "/srv/x"}
    config = stigmer.Config.load_from_env(said).get_sandbox_config()
    assert config == {"type": "docker", "root_dir": "/srv/x"}
    said = {"STIGMER_EXECUTION_MODE": "auto"}
    assert stigmer.Config.load_from_env(said).get_sandbox_config()["type"] == "auto"


def test_a_cancelled_start_leaves_no_command(workspace, tmp_path):
    async def begin(delay):
        async with stigmer.AsyncClient() as client:
            there = await client.workspace(tmp_path)
            task = asyncio.create_task(there.start("sleep 600"))
            await asyncio.sleep(delay)
            task.cancel()
            try:
                process = await task
            except asyncio.CancelledError:
                return
            await process.cancel()

    for delay in (0, 0.001, 0.003, 0.01):
        asyncio.run(begin(delay))
    assert [one.command for one in workspace.list_processes() if one.state == "running"] == []


@pytest.mark.parametrize("config", [None, "filesystem", 7, {"type": "filesystem", 5: 1}])
def test_a_backend_of_an_odd_configuration_names_what_is_valid(config):
    with pytest.raises(BadConfigurationError, match="valid are"):
        stigmer.create_sandbox_backend(config)


def test_a_root_behind_a_link_is_the_same_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with stigmer.FilesystemBackend(tmp_path / "link") as backend:
        backend.write("x", "here")
        assert backend.read(f"{backend.root_dir}/x") == "here"
        assert backend.execute("cat x", cwd=backend.root_dir).stdout == "here"


def test_odd_globs():
    assert not _glob.parse("[z-a]").matches("z")
    assert _glob.parse("*/").only_directories
    assert not _glob.parse("*").only_directories
