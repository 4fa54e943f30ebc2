"""A client in a process that was forked: it has connections of its own."""

import multiprocessing
import threading

import pytest

import stigmer
from stigmer import errors

FORK = multiprocessing.get_context("fork")


def _echo(workspace, number):
    return workspace.execute(["echo", str(number)]).stdout.text


def _many(workspace, name, results):
    done = [_echo(workspace, f"{name} {number}") for number in range(50)]
    results.put((name, done == [f"{name} {number}\n" for number in range(50)]))


def test_forked_processes_and_their_parent_work_at_once(workspace):
    assert _echo(workspace, "before") == "before\n"  # there is a connection to inherit
    results = FORK.Queue()
    children = [
        FORK.Process(target=_many, args=(workspace, f"child{number}", results))
        for number in range(4)
    ]
    for child in children:
        child.start()
    _many(workspace, "parent", results)
    said = dict(results.get(timeout=60) for _ in range(5))
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0] * 4
    assert said == dict.fromkeys(["parent", *(f"child{number}" for number in range(4))], True)


def test_a_pool_uses_a_client_of_its_parent(workspace):
    _echo(workspace, "before")
    _INHERITED.append(workspace)
    with FORK.Pool(3) as pool:
        assert pool.map(_of_the_pool, range(30)) == [f"{number}\n" for number in range(30)]
    _INHERITED.clear()


_INHERITED = []


def _of_the_pool(number):
    return _echo(_INHERITED[0], number)


def test_a_fork_while_other_threads_are_at_it_hangs_nothing(workspace):
    stop = threading.Event()

    def work():
        while not stop.is_set():
            _echo(workspace, "thread")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for number in range(10):
            results = FORK.Queue()
            child = FORK.Process(target=_once, args=(workspace, results))
            child.start()
            assert results.get(timeout=60) == "child\n", number
            child.join(60)
            assert child.exitcode == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _once(workspace, results):
    results.put(_echo(workspace, "child"))


def test_a_stream_stays_with_the_process_that_began_it(workspace):
    process = workspace.start("echo one; read line; echo two", stdin=True)
    output = process.output()
    assert next(output).output.text == "one\n"
    results = FORK.Queue()
    child = FORK.Process(target=_goes_on, args=(output, results))
    child.start()
    assert "before a fork" in results.get(timeout=60)
    child.join(60)
    process.write_stdin("\n")
    rest = list(output)
    assert rest[0].output.text == "two\n"
    assert rest[-1].exit.code == 0


def _goes_on(output, results):
    try:
        results.put(str(next(output)))
    except errors.UnavailableError as error:
        results.put(str(error))


def _import_and_run(root, results):
    with stigmer.Client() as client:
        results.put(client.workspace(root).execute("echo $PPID; echo spawned").stdout.text)


def test_a_process_that_is_spawned_has_a_client_of_its_own(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    child = spawn.Process(target=_import_and_run, args=(str(tmp_path), results))
    child.start()
    assert results.get(timeout=60).endswith("spawned\n")
    child.join(60)


async def test_a_client_with_async_goes_on_in_a_fork(tmp_path):
    async with stigmer.AsyncClient() as client:
        workspace = await client.workspace(tmp_path)
        await workspace.execute("true")
        results = FORK.Queue()
        child = FORK.Process(target=_in_a_new_loop, args=(workspace, results))
        child.start()
        assert results.get(timeout=60) == "forked\n"
        child.join(60)
        assert (await workspace.execute("echo parent")).stdout.text == "parent\n"


def _in_a_new_loop(workspace, results):
    import asyncio

    async def work():
        return (await workspace.execute("echo forked")).stdout.text

    asyncio._set_running_loop(None)  # the parent's, which the fork took along
    results.put(asyncio.run(work()))


@pytest.fixture(autouse=True)
def no_child_stays():
    yield
    for child in multiprocessing.active_children():
        child.kill()
        child.join()
