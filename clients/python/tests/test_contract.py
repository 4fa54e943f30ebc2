"""The package against docs/openapi.json: what is sent exists, what is answered is read."""

import dataclasses
import importlib.util
import inspect
import json
import subprocess
import sys
import typing
from pathlib import Path

import pytest

from stigmer import errors, types
from stigmer._operations import files, processes, server, skills, transfers, workspaces
from stigmer._operations.processes import Start
from stigmer.types import Edit, ResourceLimits, TerminalSize
from stigmer.types.files import Done

REPOSITORY = Path(__file__).resolve().parents[3]
DOCUMENT = json.loads((REPOSITORY / "docs" / "openapi.json").read_text())
SCHEMAS = DOCUMENT["components"]["schemas"]

START = Start(
    "true", "src", {"A": "b"}, processes.caller(), "stream", TerminalSize(), 5, 1, True, 2,
    ResourceLimits(1, 2, 3, 4, 5), "user", 6,
)  # fmt: skip
SIZE = TerminalSize()
OPEN = ("/w", "sandbox", {"sandbox_image": "i"})
CALLS = [
    files.read_file("w", "p", 1, 2),
    files.stat_file("w", "p"),
    files.write_file("w", "p", b"\xff", "sha", True),
    files.edit_file("w", "p", [Edit("a", "b")], "sha"),
    files.delete_file("w", "p", True),
    files.move_path("w", "a", "b", True),
    files.make_directory("w", "p", True),
    files.list_directory("w", "p", 1, True, 5),
    files.find("w", "q", "glob", ["d"], True, 5),
    files.grep("w", "p", paths=["a"], include=["*"], exclude=["*"], limit=5),
    processes.start("w", START),
    processes.execute("w", START, "input", 5),
    processes.output("w", "i", 0, "no", True),
    processes.write_stdin("w", "i", "x"),
    processes.close_stdin("w", "i"),
    processes.signal("w", "i", "cancel"),
    processes.resize("w", "i", SIZE),
    processes.wait("w", "i"),
    processes.get("w", "i"),
    processes.list_processes("w"),
    server.info(),
    server.events(0, True),
    skills.list_skills("w"),
    skills.remove("w", "n"),
    transfers.watch("w", ["d"], True),
    workspaces.open_workspace(*OPEN),
    workspaces.get("w"),
    workspaces.list_workspaces(),
    workspaces.forget("w"),
    workspaces.prepare(*OPEN, "start"),
    workspaces.status("w"),
    workspaces.places(),
    workspaces.stop("w"),
    workspaces.remove("w"),
    workspaces.reset_affinity("w"),
]
# Descriptors cannot be handed over HTTP, and a request's trace is for tracing libraries.
NOT_SENT = {"stdin_ticket", "traceparent"}


def resolve(schema):
    while "$ref" in schema:
        schema = SCHEMAS[schema["$ref"].rsplit("/", 1)[1]]
    return schema


def operation(method):
    return DOCUMENT["paths"][f"/v1/{method}"]["post"]


def test_every_operation_has_a_request():
    there = {
        path.removeprefix("/v1/")
        for path, methods in DOCUMENT["paths"].items()
        if path.startswith("/v1/") and "post" in methods
    }
    ours = {call.method for call in CALLS} | {
        "skills/add",
        "transfers/upload",
        "transfers/download",
    }
    assert ours == there


def check_request(value, schema, where):
    schema = resolve(schema)
    fields = schema.get("properties")
    if isinstance(value, list):
        for one in value:
            check_request(one, schema["items"], where)
    elif isinstance(value, dict) and fields is not None:
        assert set(value) <= set(fields), where
        for name, one in value.items():
            check_request(one, fields[name], f"{where}.{name}")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
def test_a_request_has_every_field_and_no_other(call):
    (content,) = operation(call.method)["requestBody"]["content"].values()
    schema = resolve(content["schema"])
    check_request(call.body, schema, call.method)
    missing = set(schema.get("properties", {})) - set(call.body)
    assert missing <= NOT_SENT


def fields_of(kind):
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield field.metadata.get("name", field.name), hints[field.name]


def check_reply(kind, schema, seen):
    if kind in seen:
        return
    seen.add(kind)
    properties = resolve(schema).get("properties", {})
    known = dict(fields_of(kind))
    unread = {"details"} if kind is types.PlaceFailure else set()
    assert set(known) == set(properties) - unread, kind
    for name, hint in known.items():
        inner = [hint, *typing.get_args(hint)]
        for one in inner:
            if dataclasses.is_dataclass(one):
                below = resolve(properties[name])
                check_reply(one, below.get("items", below), seen)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.method)
def test_a_reply_has_every_field_and_no_other(call):
    content = operation(call.method)["responses"]["200"]["content"]
    schema = content.get("application/json") or content["application/x-ndjson"]
    if call.reply is Done:
        assert not resolve(schema["schema"]).get("properties")
    elif resolve(schema["schema"]).get("properties"):
        check_reply(call.reply, schema["schema"], set())
    else:  # a line is a message, or how the stream failed
        first = resolve(schema["schema"])
        check_reply(call.reply, (first.get("oneOf") or first.get("anyOf"))[0], set())


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("CaseRule", types.files.CaseRule),
        ("EndReason", types.processes.EndReason),
        ("ExecutionMode", types.workspaces.ExecutionMode),
        ("FileKind", types.files.FileKind),
        ("Follow", types.processes.Follow),
        ("Lane", types.processes.Lane),
        ("Preparation", types.workspaces.Preparation),
        ("TransferFormat", transfers.TransferFormat),
    ],
)
def test_what_can_be_said_is_what_the_contract_lists(name, ours):
    assert {*typing.get_args(ours), "unspecified"} == set(SCHEMAS[name]["enum"])


def test_every_code_has_its_exception():
    codes = SCHEMAS["Error"]["properties"]["code"]["enum"]
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    ours = {kind.code for kind in kinds if issubclass(kind, errors.StigmerError)}
    assert ours == set(codes)


def test_the_client_without_async_is_derived_from_the_other():
    script = Path(__file__).parents[1] / "scripts" / "derive_sync.py"
    subprocess.run([sys.executable, script, "--check"], check=True)


def members(module):
    """Every public name of a module and of its classes, those that a class inherits from us too."""
    for member in module.members.values():
        if member.kind == "module":
            continue
        yield member
        if member.kind == "class":
            yield from (one for one in member.members.values() if not one.name.startswith("_"))


def test_every_public_name_is_in_the_reference_and_documented():
    reference = pytest.importorskip("pdoc.doc")
    names = ["stigmer", "stigmer.errors", "stigmer.types"]
    if importlib.util.find_spec("deepagents"):
        names.append("stigmer.deepagents")
    found = [one for name in names for one in members(reference.Module.from_name(name))]
    ours = [one for one in found if one.taken_from[0].startswith("stigmer")]
    assert len(ours) > 300
    assert [one.fullname for one in ours if not one.docstring.strip()] == []
    # What comes from a class that is not public itself has no place in the reference.
    shown = {one.taken_from for one in found if one.kind == "class"}
    for one in ours:
        module, _, holder = f"{one.taken_from[0]}/{one.taken_from[1]}".rpartition(".")[0].partition(
            "/"
        )
        assert not holder or (module, holder) in shown, one.fullname
