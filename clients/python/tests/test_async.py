"""The client with async."""

import asyncio
import os

import pytest

import stigmer
from stigmer import errors


@pytest.fixture
async def workspace(tmp_path):
    async with stigmer.AsyncClient() as client:
        yield await client.workspace(tmp_path)


async def test_commands_and_files(workspace):
    await workspace.write_file("a", "x\n")
    assert (await workspace.read_file("a")).text == "x\n"
    assert (await workspace.execute("cat a")).stdout.text == "x\n"
    with pytest.raises(errors.NotFoundError):
        await workspace.read_file("absent")


async def test_many_commands_at_once(workspace):
    done = await asyncio.gather(*(workspace.execute(["echo", str(n)]) for n in range(200)))
    assert [one.stdout.text for one in done] == [f"{n}\n" for n in range(200)]


async def test_output_and_changes_stream(workspace):
    changes = await workspace.watch()
    process = await workspace.start("echo one; touch new; read x; echo two", stdin=True)
    pieces = []
    async for event in process.output():
        if event.output:
            pieces.append(event.output.text)
            if len(pieces) == 1:
                await process.write_stdin("\n")
    assert "".join(pieces) == "one\ntwo\n"
    async for change in changes:
        if change.path == "new":
            break
    await changes.aclose()


async def test_bytes_go_in_and_out(workspace, tmp_path):
    content = os.urandom(1024) * 3000
    assert (await workspace.upload("a", content)).bytes == len(content)
    assert await workspace.download_bytes("a") == content
    with open(tmp_path / "a", "rb") as file:
        assert (await workspace.upload("b", file)).bytes == len(content)

    async def pieces():
        yield b"one "
        yield b"two"

    await workspace.upload("c", pieces())
    assert await workspace.download_bytes("c") == b"one two"


async def test_a_cancelled_call_ends_its_command(workspace, tmp_path):
    task = asyncio.create_task(workspace.execute("echo $$ > pid; sleep 600"))
    while not ((tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()):
        await asyncio.sleep(0.02)
    pid = int((tmp_path / "pid").read_text())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_events_are_followed_from_an_offset(tmp_path):
    async with stigmer.AsyncClient() as client:
        workspace = await client.workspace(tmp_path)
        before = [event.next async for event in client.events(0, follow=False)]
        await workspace.write_file("a", "x")
        async for event in client.events(before[-1] if before else 0):
            if event.files_changed and event.workspace == workspace.root:
                assert event.files_changed.path == "a"
                break
