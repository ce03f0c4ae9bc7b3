"""Which files an ONNX model makes its engine open: external tensors, and contexts that lie outside.

Reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding/) and of onnx.proto only the
messages in which such a name can stand, so that it needs no onnx: a device has none. Standard library only.
Time and memory: a few times the bytes of messages that are not tensors' data, which is skipped.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import PurePosixPath

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
    "tensor": {13: "entry"},
    "entry": {},
}
_LOCATION, _CONTEXT = b"location", b"EPContext"


class WireError(ValueError):
    """The bytes are no protobuf message."""


def fields(data: memoryview) -> Iterator[tuple[int, int, memoryview | int]]:
    """Number, wire type and value of each field of a message. Raises WireError."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, kind, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
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


def external_files(model: bytes) -> set[str]:
    """Names of the files that tensors of a model lie in, as the model writes them. Raises WireError."""
    if _LOCATION not in model:  # a name stands under this key: nearly all models are done here
        return set()
    return {name for kind, name in _references(memoryview(model), "model", 0) if kind == "tensor"}


def outside_contexts(model: bytes) -> bool:
    """Whether a node loads a compiled context from a file instead of holding it. Raises WireError."""
    if _CONTEXT not in model:
        return False
    return any(kind == "context" for kind, _ in _references(memoryview(model), "model", 0))


def _references(data: memoryview, message: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        raise WireError("graphs nest without end")
    inside = _INSIDE[message]
    operator, embedded, entry = b"", 1, [b"", b""]
    for number, kind, value in fields(data):
        if isinstance(value, int):
            continue
        if kind != 2:
            continue
        if message == "entry" and number in (1, 2):
            entry[number - 1] = bytes(value)
        elif message == "node" and number == 4:
            operator = bytes(value)
        if message == "node" and number == 5:
            embedded = min(embedded, _embed_mode(value))
        if number in inside:
            yield from _references(value, inside[number], depth + 1)
    if message == "entry" and entry[0] == _LOCATION:
        yield "tensor", entry[1].decode("utf-8", "surrogateescape")
    if operator == _CONTEXT and embedded != 1:
        yield "context", ""


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
        raise IntegrityError(
            f"{name} is in ONNX Runtime's own format", "edgekit packages hold ONNX", "convert again"
        )
    try:
        files, outside = external_files(model), outside_contexts(model)
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
            f"{name} takes a compiled context from another file", "a package's models hold theirs",
            "convert again",
        )  # fmt: skip
