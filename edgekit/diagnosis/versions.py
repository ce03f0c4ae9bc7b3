"""The toolchain that a QNN context was made with. `onnx` is not there on every device, and little of it is needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgekit.runtime.ranges import numbers

_METADATA = 14  # the field `metadata_props` of ONNX' ModelProto; key and value are its fields 1 and 2
_INFO = b"ep_compatibility_info.QNNExecutionProvider"
_LONGEST = 4096  # bytes of a metadata entry worth reading


@dataclass(frozen=True)
class Context:
    """What an EPContext model says of the compiler and the chip it was made with and for."""

    qairt: str
    htp: int  # 0 where the compiler knew no number


def context_of(model: bytes) -> Context | None:
    """From the metadata of an .onnx, `v2:6:QAIRT:API:ARCHITECTURE:SOC:…`; None when it has none."""
    for entry in _fields(model, _METADATA):
        if len(entry) > _LONGEST or next(_fields(entry, 1), b"") != _INFO:
            continue
        parts = next(_fields(entry, 2), b"").decode(errors="replace").split(":")
        if parts[0] == "v2" and len(parts) > 4 and numbers(parts[2]):
            return Context(parts[2], int(parts[4]) if parts[4].isdecimal() else 0)
    return None


def _fields(message: bytes, number: int) -> Iterator[bytes]:
    """The values of one length-delimited field of a protobuf message; others are stepped over,
    and what is cut short or malformed ends it."""
    view, at = memoryview(message), 0
    while at < len(view):
        key, at = _varint(view, at)
        kind = key & 7
        if kind == 0:
            _, at = _varint(view, at)
        elif kind == 2:
            length, at = _varint(view, at)
            if at + length > len(view):
                return
            if key >> 3 == number:
                yield bytes(view[at : at + length])
            at += length
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            return


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """(value, where it ends); past the end of the message for one that never ends."""
    value = 0
    for shift in range(0, 64, 7):
        if at >= len(view):
            break
        byte, at = view[at], at + 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    return 7, len(view)  # kind 7 is none: reading ends
