"""Connections and daemons that break."""

import contextlib
import os
import socket
import subprocess
import threading

import pytest

import stigmer
from stigmer import _discovery, errors

COUNT = 200_000


@contextlib.contextmanager
def breaking(target, after):
    """A socket in front of the daemon's that breaks each connection off after some bytes."""
    path = f"{target}.breaks"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    breaks = []

    def pump(source, sink, limit):
        sent = 0
        with contextlib.suppress(OSError):
            while data := source.recv(4096):
                if limit is not None and sent + len(data) > limit:
                    sink.sendall(data[: limit - sent])
                    breaks.append(limit)
                    break
                sink.sendall(data)
                sent += len(data)
        for one in (source, sink):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(target)
                for arguments in ((near, far, None), (far, near, after)):
                    threading.Thread(target=pump, args=arguments, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield path, breaks
    finally:
        listener.close()
        os.unlink(path)


def output_of(process):
    pieces, offset = [], 0
    for event in process.output():
        if event.output is not None:
            assert event.output.offset == offset, "nothing is lost, and nothing comes twice"
            offset = event.next
            pieces.append(event.output.data)
    return b"".join(pieces)


EXPECTED = b"".join(b"line %d\n" % number for number in range(COUNT))
COMMAND = f"seq -f 'line %.0f' 0 {COUNT - 1}"


@pytest.mark.parametrize("after", [400_000, 600_000])
def test_output_goes_on_where_its_connection_broke(workspace, home, after):
    process = workspace.start(COMMAND)
    with breaking(str(home / "state/daemon/socket"), after) as (path, breaks):
        with stigmer.Client(f"unix:{path}") as through:
            assert output_of(through.process(process.id)) == EXPECTED
        assert breaks


async def test_output_goes_on_with_async_too(workspace, home):
    process = workspace.start(COMMAND)
    with breaking(str(home / "state/daemon/socket"), 400_000) as (path, breaks):
        async with stigmer.AsyncClient(f"unix:{path}") as through:
            pieces = [
                event.output.data
                async for event in through.process(process.id).output()
                if event.output
            ]
        assert b"".join(pieces) == EXPECTED
        assert breaks


def server(*arguments):
    subprocess.run([_discovery.binary(), "server", *arguments], check=True, capture_output=True)


def test_output_goes_on_with_the_next_daemon(workspace):
    process = workspace.start("echo one; read line; echo two", stdin=True)
    output = process.output()
    assert next(output).output.text == "one\n"
    server("stop")
    assert workspace.execute("echo up").stdout.text == "up\n", "another daemon is started"
    process.write_stdin("\n")
    rest = list(output)
    assert rest[0].output.text == "two\n"
    assert rest[-1].exit.code == 0


def test_a_command_whose_answer_was_lost_is_run_once(workspace, home, tmp_path):
    with (
        breaking(str(home / "state/daemon/socket"), 1100) as (path, breaks),
        stigmer.Client(f"unix:{path}") as through,
    ):
        other = through.workspace(tmp_path)
        while not breaks:
            done = other.execute("echo ran >> log; echo hello")
            assert done.stdout.text == "hello\n"
    runs = len(workspace.list_processes())
    assert workspace.read_file("log").text == "ran\n" * runs


def test_a_write_whose_answer_was_lost_is_not_repeated_unseen(workspace, home, tmp_path):
    def write(files):
        for number in range(100):
            files.write_file(f"file{number}", "x", create_only=True)

    with (
        breaking(str(home / "state/daemon/socket"), 600) as (path, _),
        stigmer.Client(f"unix:{path}") as through,
    ):
        other = through.workspace(tmp_path)
        with pytest.raises(errors.CompletionUnknownError) as caught:
            write(other)
    assert not caught.value.retryable


def test_without_autostart_no_daemon_is_started(workspace):
    server("stop")
    with (
        stigmer.Client(autostart=False) as client,
        pytest.raises(errors.UnavailableError) as caught,
    ):
        client.info()
    assert caught.value.retryable
    assert "stigmer server start" in caught.value.hint
