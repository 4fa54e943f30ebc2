"""Servers that are reached over TLS, by way of something that speaks it in front of a daemon."""

import contextlib
import socket
import ssl
import subprocess
import threading
import urllib.parse

import pytest
import trustme

import stigmer
from stigmer import _discovery, errors


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path_factory, monkeypatch):
    """The address of a proxy that speaks TLS, and the token of the daemon behind it."""
    home = tmp_path_factory.mktemp("t")
    monkeypatch.setenv("STIGMER_HOME", str(home))
    program = _discovery.binary()
    subprocess.run(
        [program, "server", "start", "--listen", "127.0.0.1:0"], check=True, capture_output=True
    )
    host, port = str(_discovery._record()["tcp"]).rsplit(":", 1)
    token = (home / "state/daemon/token").read_text().strip()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(
        target=_serve, args=(listener, context, (host, int(port))), daemon=True
    ).start()
    # What the package does must not lead to the daemon of this home by another way.
    monkeypatch.setenv("STIGMER_HOME", str(tmp_path_factory.mktemp("n")))
    yield f"https://localhost:{listener.getsockname()[1]}", token
    listener.close()
    monkeypatch.setenv("STIGMER_HOME", str(home))
    subprocess.run([program, "server", "stop", "--now"], capture_output=True, check=False)


def _serve(listener, context, target):
    with contextlib.suppress(OSError):
        while True:
            near, _ = listener.accept()
            threading.Thread(target=_one, args=(near, context, target), daemon=True).start()


def _one(near, context, target):
    with contextlib.suppress(OSError):
        near = context.wrap_socket(near, server_side=True)
        far = socket.create_connection(target)
        threading.Thread(target=_pump, args=(far, near), daemon=True).start()
        _pump(near, far)


def _pump(source, sink):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def trusted(authority, tmp_path, monkeypatch):
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))


def test_commands_files_and_streams_go_over_tls(tls, trusted, tmp_path):
    address, token = tls
    with stigmer.Client(address, token=token) as client:
        workspace = client.workspace(tmp_path)
        content = bytes(range(256)) * 10_000
        workspace.upload("file", content)
        assert workspace.download_bytes("file") == content
        process = workspace.start("seq 1 100000")
        assert process.read_output() == b"".join(b"%d\n" % n for n in range(1, 100_001))
        assert workspace.execute("exit 3").exit_code == 3


async def test_and_with_async(tls, trusted, tmp_path):
    address, token = tls
    async with stigmer.AsyncClient(address, token=token) as client:
        workspace = await client.workspace(tmp_path)
        assert (await workspace.execute("echo hello")).stdout.text == "hello\n"


def test_who_is_not_vouched_for_is_told_nothing(tls, tmp_path):
    address, token = tls
    with pytest.raises(errors.UnavailableError, match="certificate"):
        stigmer.Client(address, token=token).info()


def test_a_certificate_of_another_name_is_refused(tls, trusted):
    address, token = tls
    port = urllib.parse.urlsplit(address).port
    with pytest.raises(errors.UnavailableError, match="certificate"):
        stigmer.Client(f"https://127.0.0.1:{port}", token=token).info()


def test_a_server_that_speaks_no_tls_is_refused(tls, trusted):
    with socket.create_server(("127.0.0.1", 0)) as plain:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    near, _ = plain.accept()
                    near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    near.close()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(errors.StigmerError):
            stigmer.Client(f"https://localhost:{plain.getsockname()[1]}", token="t").info()
