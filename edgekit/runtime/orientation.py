"""Which way up a photograph is shown, from its EXIF data: the one reader of it, so that pixels, sizes and
boxes agree whatever library decodes. JPEG, PNG, WebP and TIFF. Standard library and numpy only.

EXIF's tag 0x0112 (Exif 2.32, 4.6.4) as one integer of 1 to 8; anything else, and an orientation that only
XMP states, leaves the pixels as they are stored, as the cameras' own viewers and trainers' readers do.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

_TAG, _ENTRIES = 0x0112, 512
_INTEGERS = {1: "B", 3: "H", 4: "I"}


def orientation_of(data: bytes) -> int:
    """1 to 8; 1 where none is stated or it means nothing."""
    try:
        exif = data if _is_tiff(data) else _exif(data)
        return _tag(exif) if exif else 1
    except (struct.error, IndexError):
        return 1


def upright_size(size: tuple[int, int], data: bytes) -> tuple[int, int]:
    """Width and height as shown, of those stored."""
    return (size[1], size[0]) if orientation_of(data) >= 5 else size


def upright(pixels: Array, data: bytes) -> Array:
    """HWC or HW pixels as decoded from `data`, turned as they are shown. Decoders turn TIFF themselves."""
    turn = 1 if _is_tiff(data) else orientation_of(data)
    if turn >= 5:
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _is_tiff(data: bytes) -> bool:
    return data[:4] in (b"II*\0", b"MM\0*")


def _exif(data: bytes) -> bytes:
    if data[:2] == b"\xff\xd8":
        return _of_jpeg(data)
    if data[:4] == b"\x89PNG":
        return _chunk(data, 8, b"eXIf", ">", 4)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _chunk(data, 12, b"EXIF", "<", 0).removeprefix(b"Exif\0\0")
    return b""


def _of_jpeg(data: bytes) -> bytes:
    """The first APP1 segment that holds EXIF, before the picture begins."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:
        length = struct.unpack_from(">H", data, at + 2)[0]
        body = data[at + 4 : at + 2 + length]
        if data[at + 1] == 0xE1 and body[:6] == b"Exif\0\0":
            return body[6:]
        at += 2 + length if data[at + 1] != 0xFF else 1
    return b""


def _chunk(data: bytes, at: int, kind: bytes, order: str, check: int) -> bytes:
    """The first chunk of that name. PNG puts lengths first and a sum after, RIFF names first."""
    layout, name_at = (f"{order}I4s", 1) if order == ">" else (f"{order}4sI", 0)
    while at + 8 <= len(data):
        fields = struct.unpack_from(layout, data, at)
        name, length = fields[name_at], fields[1 - name_at]
        if name == kind:
            return data[at + 8 : at + 8 + length]
        at += 8 + length + check + (length & 1 if order == "<" else 0)
    return b""


def _tag(exif: bytes) -> int:
    """From the first directory (TIFF 6.0, section 2)."""
    order = "<" if exif[:2] == b"II" else ">"
    start = struct.unpack_from(order + "I", exif, 4)[0]
    for entry in range(min(struct.unpack_from(order + "H", exif, start)[0], _ENTRIES)):
        at = start + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(order + "HHI", exif, at)
        if tag == _TAG and kind in _INTEGERS and count == 1:
            value = struct.unpack_from(order + _INTEGERS[kind], exif, at + 8)[0]
            return value if 1 <= value <= 8 else 1
    return 1
