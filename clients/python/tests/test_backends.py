"""Backends for frameworks."""

import pytest

from sandbox_image import IMAGE, needs_image
from stigmer import FilesystemBackend, create_sandbox_backend, errors


@pytest.fixture
def backend(tmp_path):
    with FilesystemBackend(tmp_path / "made") as backend:
        yield backend


def test_a_command_runs_in_the_directory(backend):
    done = backend.execute("pwd; echo err >&2; echo $PYTHONUNBUFFERED; exit 4")
    assert (done.exit_code, done.stderr) == (4, "err\n")
    assert done.stdout == f"{backend.root_dir}\n1\n"


def test_time_that_runs_out_is_124_with_what_was_written(backend):
    done = backend.execute("echo before; sleep 60", timeout=0.5)
    assert (done.exit_code, done.stdout) == (124, "before\n")


def test_options_are_obeyed_or_refused(backend):
    backend.write("sub/file", "x")
    done = backend.execute("cat; echo $A; ls", cwd="sub", env={"A": "b"}, stdin="in\n")
    assert done.stdout == "in\nb\nfile\n"
    refused = backend.execute("touch was-run", shell=True)
    assert refused.exit_code == 125
    assert "shell" in refused.stderr
    assert "cwd, env, stdin" in refused.stderr
    assert backend.list_files() == []


def test_it_never_raises(tmp_path, monkeypatch):
    monkeypatch.setenv("STIGMER_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("STIGMER_BIN", str(tmp_path / "no-program"))
    done = FilesystemBackend(tmp_path).execute("true")
    assert done.exit_code == 125
    assert "no-program" in done.stderr
    (tmp_path / "file").write_text("x")
    assert FilesystemBackend(tmp_path / "file").execute("true").exit_code == 125
    assert FilesystemBackend(tmp_path).execute(None).exit_code == 125


def test_files_are_read_written_and_listed(backend):
    backend.write_file("b/c.txt", "hi")
    backend.write("a.txt", "ho")
    assert backend.read("b/c.txt") == backend.read_file("b/c.txt") == "hi"
    assert backend.list_files() == ["a.txt"]
    assert backend.list_files(recursive=True) == ["a.txt", "b/c.txt"]
    assert backend.list_files("b") == ["b/c.txt"]
    with pytest.raises(FileNotFoundError):
        backend.read("absent")
    with pytest.raises(errors.OutsideWorkspaceError):
        backend.write("../outside", "x")


def test_a_configuration_names_its_backend(tmp_path):
    with create_sandbox_backend({"type": "filesystem", "root_dir": str(tmp_path)}) as backend:
        assert backend.execute("pwd").stdout == f"{tmp_path}\n"


@pytest.mark.parametrize("config", [{}, {"type": None}, {"type": "vm"}, {"type": ["docker"]}])
def test_an_unknown_type_is_answered_with_the_valid_ones(config):
    with pytest.raises(errors.BadConfigurationError, match="filesystem, docker, auto, daytona"):
        create_sandbox_backend(config)


def test_an_unknown_key_is_answered_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"rootdir: unknown.*valid are type, root_dir"):
        create_sandbox_backend({"type": "filesystem", "rootdir": "."})


@pytest.mark.parametrize("kind", ["daytona"])
def test_what_does_not_exist_yet_says_so(kind):
    with pytest.raises(errors.NotAvailableError, match=f"{kind} is not available") as caught:
        create_sandbox_backend({"type": kind})
    assert caught.value.hint


def test_an_environment_that_asks_for_a_sandbox_gets_no_host(tmp_path, monkeypatch):
    monkeypatch.setenv("STIGMER_EXECUTION_MODE", "kubernetes")
    refused = FilesystemBackend(tmp_path).execute("touch was-run")
    assert refused.exit_code == 125
    assert not (tmp_path / "was-run").exists()
    monkeypatch.setenv("STIGMER_EXECUTION_MODE", "locl")
    assert "valid are local, sandbox" in FilesystemBackend(tmp_path).execute("true").stderr


def test_auto_runs_each_command_in_a_lane(tmp_path):
    with create_sandbox_backend({"type": "auto", "root_dir": str(tmp_path)}) as backend:
        assert backend.workspace.mode == "auto"
        assert backend.execute("pwd").exit_code in (0, 125)
        backend.write("file", "text")
        assert backend.read("file") == "text"


@needs_image
def test_docker_runs_commands_in_a_container(tmp_path):
    config = {"type": "docker", "root_dir": str(tmp_path), "image": IMAGE}
    with create_sandbox_backend(config) as backend:
        done = backend.execute("hostname; pwd; echo $HOME; touch made")
        assert done.stdout == f"sandbox\n{tmp_path}\n/home/sandbox\n"
        assert backend.list_files() == ["made"]
        backend.remove()
    assert (tmp_path / "made").exists()
