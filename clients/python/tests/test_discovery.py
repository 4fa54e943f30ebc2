"""Finding, starting and naming servers."""

import os
import select
import subprocess
import sys
import sysconfig

import pytest

import stigmer
from stigmer import _discovery, errors


@pytest.fixture
def other_home(tmp_path_factory, monkeypatch):
    """A home without a daemon, whose daemon is ended afterwards."""
    home = tmp_path_factory.mktemp("h")
    stop = [_discovery.binary(), "server", "stop", "--now"]
    monkeypatch.setenv("STIGMER_HOME", str(home))
    environment = dict(os.environ)
    yield home
    subprocess.run(stop, capture_output=True, env=environment)


def test_a_daemon_is_started_once_by_many(other_home, tmp_path):
    script = f"import stigmer; print(stigmer.Client().workspace({str(tmp_path)!r}).id)"
    children = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    said = {child.communicate()[0] for child in children}
    assert all(child.returncode == 0 for child in children)
    assert len(said) == 1


def test_a_daemon_that_we_start_has_no_port_and_no_mode_of_ours(other_home, monkeypatch, tmp_path):
    monkeypatch.setenv("STIGMER_EXECUTION_MODE", "sandbox")
    with stigmer.Client() as client:
        client.info()
        assert "tcp" not in _discovery._record()
        monkeypatch.delenv("STIGMER_EXECUTION_MODE")
        assert client.workspace(tmp_path).mode == "local"


@pytest.mark.parametrize(
    "work",
    [
        lambda workspace: workspace.write_file("a", "x"),
        lambda workspace: workspace.upload("a", b"x"),
        lambda workspace: workspace.download_bytes("b"),
        lambda workspace: workspace.execute("true"),
        lambda workspace: workspace.watch(),
    ],
    ids=["write", "upload", "download", "execute", "watch"],
)
def test_a_daemon_that_nobody_used_is_started_again(other_home, monkeypatch, tmp_path, work):
    monkeypatch.setattr(_discovery, "IDLE_LIMIT", "50ms")
    (tmp_path / "b").write_text("x")
    with stigmer.Client() as client:
        workspace = client.workspace(tmp_path)
        daemon = os.pidfd_open(client.info().pid)
        client._transport._http._transport.close()  # as the server does with one that is idle
        assert select.select([daemon], [], [], 30)[0], "nobody is connected"
        os.close(daemon)
        work(workspace)


def test_a_daemon_that_we_start_goes_on_as_long_as_the_caller_says(other_home, monkeypatch):
    monkeypatch.setenv("STIGMER_SERVER_IDLE_LIMIT", "0")
    assert _discovery._start_options() == ["--listen", "none"]
    monkeypatch.delenv("STIGMER_SERVER_IDLE_LIMIT")
    assert _discovery._start_options() == ["--listen", "none", "--idle-limit", "10m"]


def test_what_the_program_says_is_in_the_error(other_home, monkeypatch):
    monkeypatch.setenv("STIGMER_OUTPUT_CAP", "nonsense")
    with pytest.raises(errors.UnavailableError, match="nonsense"):
        stigmer.Client().info()


def test_a_program_that_is_missing_is_named(other_home, monkeypatch):
    monkeypatch.delenv("STIGMER_BIN", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(_discovery, "_scripts", list)
    with pytest.raises(errors.NotAvailableError, match="not installed") as caught:
        stigmer.Client().info()
    assert "STIGMER_BIN" in caught.value.hint


def test_the_program_of_the_environment_comes_before_others(monkeypatch, tmp_path):
    monkeypatch.delenv("STIGMER_BIN", raising=False)
    for name in ("environment", "path"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stigmer").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(_discovery, "_scripts", lambda: [str(tmp_path / "none")])
    assert _discovery.binary() == str(tmp_path / "path/stigmer")
    monkeypatch.setattr(_discovery, "_scripts", lambda: [str(tmp_path / "environment")])
    assert _discovery.binary() == str(tmp_path / "environment/stigmer")


def test_programs_are_looked_for_where_the_package_was_installed(monkeypatch):
    user = sysconfig.get_preferred_scheme("user")
    site = sysconfig.get_path("purelib", user)
    monkeypatch.setattr(_discovery, "__file__", f"{site}/stigmer/_discovery.py")
    assert _discovery._scripts() == [sysconfig.get_path("scripts", user)]
    monkeypatch.setattr(_discovery, "__file__", "/there/stigmer/_discovery.py")
    assert _discovery._scripts() == ["/there/bin", sysconfig.get_path("scripts")]


@pytest.fixture
def tcp_daemon(other_home):
    command = [_discovery.binary(), "server", "start", "--listen", "127.0.0.1:0"]
    subprocess.run(command, check=True, capture_output=True)
    return str(_discovery._record()["tcp"]), (other_home / "state/daemon/token").read_text().strip()


def test_a_named_server_wants_a_token(tcp_daemon, monkeypatch, tmp_path):
    address, token = tcp_daemon
    monkeypatch.setenv("STIGMER_HOME", str(tmp_path))  # not the daemon of this home
    with pytest.raises(errors.UnauthenticatedError, match="no token"):
        stigmer.Client(address).info()
    with pytest.raises(errors.UnauthenticatedError):
        stigmer.Client(address, token="wrong").info()
    assert stigmer.Client(address, token=token).info().kind == "daemon"
    monkeypatch.setenv("STIGMER_BACKEND_ENDPOINT", address)
    monkeypatch.setenv("STIGMER_API_KEY", token)
    with stigmer.Client() as client:
        # What is elsewhere gets neither our environment nor our directory.
        workspace = client.workspace(tmp_path)
        assert workspace.execute("echo ${STIGMER_API_KEY-unset}").stdout.text == "unset\n"
        with pytest.raises(errors.InvalidArgumentError):
            client.workspace("relative")


def test_the_documented_local_environment_means_the_daemon_of_this_home(tcp_daemon, monkeypatch):
    address, _ = tcp_daemon
    monkeypatch.setenv("STIGMER_BACKEND_ENDPOINT", address)
    monkeypatch.setenv("STIGMER_API_KEY", "dummy-local-key")
    client = stigmer.Client()
    assert client.info().pid == _discovery._record()["pid"]
    assert client._transport.address().is_ours


@pytest.mark.parametrize("named", ["ftp://x", "http://", "localhost:port", "x/y:1"])
def test_an_address_that_is_none_is_refused(named):
    with pytest.raises(errors.BadConfigurationError, match="no address"):
        _discovery.find(named, "token", autostart=False)


@pytest.mark.parametrize(
    ("named", "url"),
    [
        ("example.org:50051", "https://example.org:50051"),
        ("http://example.org:1", "http://example.org:1"),
        ("https://example.org", "https://example.org"),
    ],
)
def test_a_token_crosses_no_network_in_the_clear_unasked(named, url):
    address = _discovery.find(named, "token", autostart=False)
    assert (address.url, address.is_ours) == (url, False)
    assert "token" not in str(address)


def test_another_users_socket_is_told_nothing(tmp_path, monkeypatch):
    path = str(tmp_path / "s")
    import socket

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert _discovery.answers(path)
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
        with pytest.raises(errors.UnauthenticatedError, match="another user"):
            _discovery.answers(path)
