"""Commands through the client."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

import stigmer
from stigmer import errors


def test_a_command_has_the_callers_own_circumstances(workspace, monkeypatch):
    monkeypatch.setenv("OF_THE_CALLER", "yes")
    done = workspace.execute("echo $OF_THE_CALLER; pwd; umask; ulimit -n")
    limit = subprocess.run("umask; ulimit -n", shell=True, capture_output=True, text=True).stdout
    assert done.stdout.text == f"yes\n{workspace.root}\n{limit}"
    assert workspace.execute("echo $OF_THE_CALLER", inherit_env=False).stdout.text == "\n"
    assert workspace.execute("echo $X", env={"X": "1"}).stdout.text == "1\n"


def test_how_a_command_ended_is_part_of_the_result(workspace):
    done = workspace.execute("echo out; echo err >&2; exit 3")
    assert (done.exit_code, str(done.stdout), str(done.stderr)) == (3, "out\n", "err\n")
    assert workspace.execute(["no-such-program"]).exit_code == 127
    assert workspace.execute("kill -9 $$").exit.signal == 9


def test_a_command_that_runs_out_of_time_keeps_what_it_wrote(workspace):
    done = workspace.execute("echo before; sleep 60", timeout=0.3)
    assert (done.exit_code, done.exit.timed_out, done.stdout.text) == (124, True, "before\n")


def test_standard_input_is_given(workspace):
    assert workspace.execute(["cat"], stdin=b"\x00\xff").stdout.head == b"\x00\xff"


def test_what_is_omitted_is_named_and_kept(workspace):
    done = workspace.execute("seq 1 20000", capture_bytes=100)
    assert done.truncated
    assert f"[{done.stdout.omitted_bytes} bytes omitted]" in done.stdout.text
    whole = workspace.process(done.id).read_output()
    assert whole == b"".join(b"%d\n" % number for number in range(1, 20001))


def test_a_command_is_followed_and_steered(workspace):
    process = workspace.start("read line; echo got $line; sleep 60", stdin=True)
    output = process.output()
    process.write_stdin("it\n")
    process.close_stdin()
    assert next(output).output.text == "got it\n"
    assert process.info().state == "running"
    assert process.id in [one.id for one in workspace.list_processes()]
    ended = process.kill()
    assert ended.reason == "cancelled"
    assert process.wait() == ended
    with pytest.raises(errors.ProcessEndedError):
        process.write_stdin("more")


def test_a_terminal_has_a_size(workspace):
    process = workspace.start(
        "read go; stty size", stdin=True, terminal=stigmer.TerminalSize(10, 20)
    )
    process.resize(30, 40)
    process.write_stdin("\n")
    assert b"30 40" in process.read_output()


def test_a_block_ends_its_command(workspace):
    with workspace.start("sleep 600") as process:
        pass
    assert process.info().exit.reason == "cancelled"


def test_ctrl_c_ends_the_command_at_once(workspace, tmp_path):
    script = (
        "import stigmer\n"
        f"w = stigmer.Client().workspace({str(tmp_path)!r})\n"
        "print('begins', flush=True)\n"
        "w.execute('echo $$ > pid; sleep 600')\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout.readline() == b"begins\n"
    pid = _wait_for(tmp_path / "pid")
    child.send_signal(signal.SIGINT)
    child.wait(30)
    _gone(pid, 10)


def test_a_killed_client_leaves_no_foreground_command(workspace, tmp_path):
    script = (
        "import stigmer\n"
        f"w = stigmer.Client().workspace({str(tmp_path)!r})\n"
        "w.execute('echo $$ > pid; sleep 600', client_grace=1)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script])
    pid = _wait_for(tmp_path / "pid")
    child.kill()
    child.wait()
    _gone(pid, 30)


def _wait_for(path):
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if path.exists() and (text := path.read_text().strip()):
            return int(text)
        time.sleep(0.02)
    raise AssertionError(f"{path} does not appear")


def _gone(pid, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError(f"process {pid} goes on")


def test_a_thousand_calls_of_fifty_threads_lose_nothing(workspace):
    results, lock = [], threading.Lock()

    def work(thread):
        for call in range(20):
            done = workspace.execute(["echo", f"{thread} {call}"])
            with lock:
                results.append((done.exit_code, done.stdout.text))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == sorted((0, f"{a} {b}\n") for a in range(50) for b in range(20))
