"""JSON of the protocol to Python and back, without input or output.

Replies are dataclasses whose fields have the names of the contract, and their annotations say how a
value is read. Fields that this version does not know are passed over, as the protocol asks.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import os
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Union

from stigmer.errors import InvalidArgumentError, OperatingSystemError

T = TypeVar("T")
StrPath = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]
"""What names a file: text, bytes, or a path object."""


def byte_string(value: str | bytes) -> str | dict[str, str]:
    """Encode text or bytes as the protocol's ByteString."""
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode("ascii")}
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        try:
            return byte_string(os.fsencode(value))
        except UnicodeEncodeError:
            raise InvalidArgumentError(
                "text has half of a character, which is in no encoding",
                hint="send whole characters, or bytes",
            ) from None
    return value


def path_string(value: StrPath) -> str | dict[str, str]:
    """Encode a path as the protocol's ByteString."""
    return byte_string(os.fspath(value))


def path_bytes(value: StrPath) -> bytes:
    """Encode a path as the bytes that the system has for it."""
    encoded = path_string(value)
    return encoded.encode() if isinstance(encoded, str) else base64.b64decode(encoded["base64"])


def _as_bytes(value: object) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, dict):
        if isinstance(value.get("base64"), str):
            return base64.b64decode(value["base64"])
        if isinstance(value.get("text"), str):
            return str(value["text"]).encode("utf-8")
    raise TypeError(f"no byte string: {type(value).__name__}")


def _as_text(value: object) -> str:
    """Text, or a name that is no UTF-8, as Python has those (``os.fsdecode``)."""
    return value if isinstance(value, str) else os.fsdecode(_as_bytes(value))


def _as_plain(kind: type) -> Callable[[object], Any]:
    def read(value: object) -> Any:
        if kind is not bool and isinstance(value, bool):
            raise TypeError("a truth value is no number")
        if kind is int and isinstance(value, str):
            return int(value)
        if kind is float and isinstance(value, int):
            return float(value)
        if not isinstance(value, kind):
            raise TypeError(f"no {kind.__name__}: {type(value).__name__}")
        return value

    return read


@functools.cache
def _reader(annotation: Any) -> Callable[[object], Any]:
    if annotation is str:
        return _as_text
    if annotation is bytes:
        return _as_bytes
    if annotation in (int, bool, float):
        return _as_plain(annotation)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple(item(one) for one in _as_list(value))
    if origin in (Union, types.UnionType):
        inner = _reader(next(one for one in arguments if one is not type(None)))
        return lambda value: None if value is None else inner(value)
    if isinstance(annotation, type) and dataclasses.is_dataclass(annotation):
        return functools.partial(_read_dataclass, annotation)
    raise TypeError(f"no reader for {annotation!r}")


def _as_list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise TypeError(f"no list: {type(value).__name__}")
    return value


@functools.cache
def _fields(kind: type) -> tuple[tuple[str, str, Callable[[object], Any]], ...]:
    """Of each field its name, the contract's name for it, and what reads it."""
    hints = typing.get_type_hints(kind)
    return tuple(
        (field.name, field.metadata.get("name", field.name), _reader(hints[field.name]))
        for field in dataclasses.fields(kind)
    )


def _read_dataclass(kind: type, value: object) -> Any:
    if not isinstance(value, dict):
        raise TypeError(f"no object: {type(value).__name__}")
    return kind(**{name: read(value[wire]) for name, wire, read in _fields(kind) if wire in value})


def read(kind: type[T], value: object) -> T:
    """Read a reply.

    Raises:
        OperatingSystemError: The server sent what is no such reply.
    """
    try:
        result: T = _read_dataclass(kind, value)
    except (TypeError, ValueError) as error:
        raise OperatingSystemError(
            f"the server's answer is no {kind.__name__}: {error}",
            hint="server and package may be of different versions",
        ) from error
    return result


def read_json(text: bytes) -> object:
    """Parse JSON that a server sent.

    Raises:
        OperatingSystemError: It is none.
    """
    try:
        return json.loads(text)
    except ValueError as error:
        raise OperatingSystemError("the server's answer is no JSON") from error


def without_none(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what was not said."""
    return {name: value for name, value in fields.items() if value is not None}


def write_json(value: Mapping[str, Any]) -> bytes:
    """Write a request."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
