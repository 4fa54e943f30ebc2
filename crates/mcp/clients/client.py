"""Drives stigmer with the official Python client of the Model Context Protocol.

usage: client.py STIGMER ADDRESS TOKEN-FILE WORKSPACE

Over stdio and over HTTP, with the handshake of older versions of the protocol and without: list, call,
progress, cancel, bad arguments. Ends with a line "N passed, M failed".
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

STIGMER, ADDRESS, TOKEN_FILE, WORKSPACE = sys.argv[1:]
PATIENCE = 30
MODES: tuple[Literal["legacy", "auto"], ...] = ("legacy", "auto")
TOOLS = {
    *("run", "process_output", "process_input", "process_kill", "process_list", "read", "write"),
    *("edit", "list", "find", "grep", "workspaces", "workspace_open"),
}
# A command of which a part is in another session and ignores TERM.
STUBBORN = """setsid bash -c 'trap "" TERM; echo $$ >inner; sleep 1000' &
echo $$ >outer; echo started; wait"""


@asynccontextmanager
async def connect(transport: str, mode: Literal["legacy", "auto"]) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        if transport == "stdio":
            arguments = ["mcp", "--workspace", WORKSPACE]
            server: Any = StdioServerParameters(command=STIGMER, args=arguments, env=ENVIRONMENT)
        else:
            token = Path(TOKEN_FILE).read_text().strip()
            headers = {"authorization": f"Bearer {token}"}
            http = httpx2.AsyncClient(headers=headers, timeout=PATIENCE)
            await stack.enter_async_context(http)
            url = f"http://{ADDRESS}/mcp?workspace={WORKSPACE}"
            server = streamable_http_client(url, http_client=http)
        yield await stack.enter_async_context(Client(server, mode=mode))


async def lists(client: Client) -> None:
    tools = (await client.list_tools()).tools
    assert {tool.name for tool in tools} == TOOLS
    for tool in tools:
        assert tool.input_schema["additionalProperties"] is False, tool
        assert tool.output_schema and tool.annotations, tool
    assert client.instructions and "process_output" in client.instructions


async def calls(client: Client) -> None:
    arguments = {"command": "echo $A; pwd; exit 3", "env": {"A": "hi"}}
    ran = await client.call_tool("run", arguments)
    assert not ran.is_error and ran.structured_content, ran
    assert ran.structured_content["stdout"] == f"hi\n{WORKSPACE}\n", ran
    assert ran.structured_content["exit_code"] == 3, ran
    await client.call_tool("write", {"path": "note", "content": "one\n"})
    edits = [{"old": "one", "new": "two"}]
    await client.call_tool("edit", {"path": "note", "edits": edits})
    read = await client.call_tool("read", {"path": "note"})
    assert read.structured_content and read.structured_content["content"] == "two\n", read


async def fails(client: Client) -> None:
    for tool, arguments, code in (
        ("read", {"path": "nothing"}, "not_found"),
        ("run", {"command": "true", "shell": "zsh"}, "invalid_argument"),
        ("run", {}, "invalid_argument"),
    ):
        result = await client.call_tool(tool, arguments)
        assert result.is_error and result.structured_content, result
        assert result.structured_content["code"] == code, result
        assert "retryable" in result.structured_content, result
    try:
        await client.call_tool("bash", {"command": "true"})
    except MCPError as error:
        assert "process_output" in str(error), error
    else:
        raise AssertionError("a tool that is not there was called")


async def tells(client: Client) -> None:
    fifo = Path(WORKSPACE) / "fifo"
    await client.call_tool("run", {"command": "rm -f fifo; mkfifo fifo"})
    told: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")
        if message == "first\n":
            # Only now the command goes on.
            await anyio.Path(fifo).write_text("go\n")

    line = "echo first; read line <fifo; echo second"
    with anyio.fail_after(PATIENCE):
        ran = await client.call_tool("run", {"command": line}, progress_callback=progress)
    assert told and told[0] == "first\n", told
    assert ran.structured_content and ran.structured_content["stdout"] == "first\nsecond\n"


async def cancels(client: Client) -> None:
    for name in ("inner", "outer"):
        (Path(WORKSPACE) / name).unlink(missing_ok=True)
    async with anyio.create_task_group() as group:
        group.start_soon(client.call_tool, "run", {"command": STUBBORN})
        pids = [await pid(name) for name in ("inner", "outer")]
        group.cancel_scope.cancel()
    with anyio.fail_after(PATIENCE):
        while any(lives(pid) for pid in pids):
            await anyio.sleep(0.01)
    # The connection is as good as before.
    await calls(client)


async def pid(name: str) -> int:
    path = Path(WORKSPACE) / name
    with anyio.fail_after(PATIENCE):
        while not (path.exists() and path.read_text().endswith("\n")):
            await anyio.sleep(0.01)
    return int(path.read_text())


def lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    # It may go while it is read.
    except (FileNotFoundError, ProcessLookupError):
        return False


CASES: tuple[Callable[[Client], Awaitable[None]], ...] = (lists, calls, fails, tells, cancels)


async def main() -> int:
    passed, failed = 0, 0
    for transport in ("stdio", "http"):
        for mode in MODES:
            for case in CASES:
                name = f"python {transport} {mode}: {case.__name__}"
                try:
                    with anyio.fail_after(4 * PATIENCE):
                        async with connect(transport, mode) as client:
                            await case(client)
                except Exception:
                    traceback.print_exc()
                    print(f"FAILED {name}")
                    failed += 1
                else:
                    print(f"ok     {name}")
                    passed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    import os

    ENVIRONMENT = dict(os.environ)
    sys.exit(anyio.run(main))
