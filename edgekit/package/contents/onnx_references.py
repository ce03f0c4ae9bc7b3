"""Which files an ONNX model makes its engine open: external tensors, and contexts that lie outside.

Reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) and of onnx.proto only the
messages in which such a name can stand, so that it needs no onnx: a device has none. Standard library only.
Time and memory: a few times the bytes of messages that are not tensors' data, which is skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath
from typing import NamedTuple

from edgekit.errors import IntegrityError

_DEEPEST = 64  # graphs in attributes in graphs …: real ones nest three or four deep
# onnx.proto: field numbers that lead to a message, by message.
_INSIDE: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "function": {7: "node", 11: "attribute"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_FIELDS, _SIZES = 1 << 29, 1 << 31  # what numbers and lengths are below, in protobuf's own readers
_LOCATION, _CONTEXT = b"location", b"EPContext"


class WireError(ValueError):
    """The bytes are no protobuf message."""


def fields(data: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """Number, wire type and value of each field of a message. Raises WireError."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if not 0 < number < _FIELDS:  # other readers drop the upper bits, and see another field
            raise WireError(f"field {number}")
        if kind == 0:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
            if size >= _SIZES:
                raise WireError(f"a field of {size} bytes")
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise WireError(f"wire type {kind}")
        if at + size > end:
            raise WireError("a field is longer than its message")
        yield number, kind, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("a number that does not end")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


class External(NamedTuple):
    """Where a tensor lies: a file, as the model names it, and how many bytes of it; -1 for all."""

    file: str
    bytes: int


def external_tensors(model: bytes) -> list[External]:
    """The tensors of a model that lie in other files. Raises WireError."""
    if _LOCATION not in model:  # a name stands under this key: nearly all models are done here
        return []
    return [r for r in _references(memoryview(model), "model", 0) if r is not None]


def outside_contexts(model: bytes) -> bool:
    """Whether a node loads a compiled context from a file instead of holding it. Raises WireError."""
    return _CONTEXT in model and None in _references(memoryview(model), "model", 0)


def _references(data: memoryview, message: str, depth: int) -> Iterator[External | None]:
    """External tensors; None for a context that lies in a file."""
    if depth > _DEEPEST:
        raise WireError("graphs nest without end")
    inside = _INSIDE[message]
    operator, embedded = b"", 1
    place: dict[bytes, bytes] = {}
    for number, kind, value in fields(data):
        if kind != 2 or isinstance(value, int):
            continue
        if message == "tensor" and number == 13:
            place |= _entry(value)
        elif message == "node" and number == 4:
            operator = bytes(value)
        elif message == "node" and number == 5:
            embedded = min(embedded, _embed_mode(value))
        if number in inside:
            yield from _references(value, inside[number], depth + 1)
    if _LOCATION in place:
        length = place.get(b"length", b"")
        size = int(length) if length.isdigit() and len(length) < 16 else -1
        yield External(place[_LOCATION].decode("utf-8", "surrogateescape"), size)
    if operator == _CONTEXT and embedded != 1:
        yield None


def _entry(data: memoryview) -> dict[bytes, bytes]:
    """A key and its value, of onnx.proto's StringStringEntryProto."""
    values = {n: bytes(v) for n, kind, v in fields(data) if kind == 2 and not isinstance(v, int)}
    return {values.get(1, b""): values.get(2, b"")}


def _embed_mode(attribute: memoryview) -> int:
    """0 when the attribute says that a context lies in a file."""
    name, value = b"", 0
    for number, kind, content in fields(attribute):
        if number == 1 and kind == 2 and not isinstance(content, int):
            name = bytes(content)
        elif number == 3 and isinstance(content, int):
            value = content
    return value if name == b"embed_mode" else 1


def check(name: str, model: bytes, listed: Collection[str]) -> None:
    """Raises IntegrityError for a model that makes its engine open what the manifest does not list.

    `listed`: files of the package; those a model names lie beside it.
    """
    if model[4:8] == b"ORTM":
        raise IntegrityError(f"{name} is in ONNX Runtime's own format", "edgekit packages hold ONNX", "convert again")
    try:
        files, outside = {t.file for t in external_tensors(model)}, outside_contexts(model)
    except WireError as error:
        raise IntegrityError(f"{name} is not an ONNX model", str(error), "convert again") from error
    for file in sorted(files):
        beside = (PurePosixPath(name).parent / file).as_posix()
        if PurePosixPath(file).name != file or beside not in listed:
            raise IntegrityError(
                f"{name} takes tensors from {file!a}, which is no file of this package",
                "a model brings its weights, or names a file that the manifest lists",
                "do not use this package: it was not written by edgekit",
            )
    if outside:
        raise IntegrityError(
            f"{name} takes a compiled context from another file", "a package's models hold theirs", "convert again"
        )
