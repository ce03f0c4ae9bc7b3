"""The header of a `.gguf` file: metadata and where each tensor lies, checked before anything is used.

Every count and length is compared with what the file can hold before it is followed, so a file that
was cut short or made up costs one SourceError, not memory or minutes. Specification: docs/gguf.md of
the ggml repository. A model split over several files is read as one.
"""

from __future__ import annotations

import itertools
import math
import mmap
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from edgekit.errors import SourceError
from edgekit.sources.files import contained, existing_file

Array: TypeAlias = np.ndarray[Any, Any]
# By key. Its values are `Any`, as those of a JSON object are (system/documents.py): whoever reads one looks at it first.
Metadata: TypeAlias = dict[str, Any]

MAGIC = b"GGUF"
_SPLIT = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.gguf)", re.IGNORECASE)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_NAME, _LONGEST_TEXT = 2**16 - 1, 2**24
_MOST_STRINGS, _MOST_SCALARS = 2**23, 2**24  # of all arrays, of one array
_MOST_KEYS, _MOST_TENSORS, _MOST_DIMENSIONS = 2**16, 2**17, 4


@dataclass(frozen=True)
class Tensor:
    """`kind` as ggml names it ("Q4_0"); `shape` with the rows first; `start` is in bytes of `path`."""

    name: str
    kind: str
    shape: tuple[int, ...]
    path: Path
    start: int
    bytes: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    def raw(self) -> Array:
        """uint8 (rows, bytes of a row), mapped: pages are read when they are used."""
        data = np.memmap(self.path, np.uint8, "r", self.start, (self.bytes,))
        return data.reshape(math.prod(self.shape[:-1]), -1)


@dataclass(frozen=True)
class GgufFile:
    paths: tuple[Path, ...]
    metadata: Metadata
    tensors: dict[str, Tensor]

    @property
    def name(self) -> str:
        return self.paths[0].name


def parts_of(path: str) -> list[Path]:
    """The file, or each file of the split it belongs to. Raises SourceError when one is missing."""
    first = existing_file(path).absolute()  # a link keeps its name: caches name files by their hash
    match = _SPLIT.fullmatch(first.name)
    if not match:
        return [first]
    count = int(match[3])
    if not 0 < count <= 9999:
        raise SourceError(
            f"{first.name} is not one of a model's files", f"it would be one of {count}", "check its name"
        )
    names = [f"{match[1]}-{i:05d}-of-{count:05d}{match[4]}" for i in range(1, count + 1)]
    missing = [n for n in names if not (first.parent / n).is_file()]
    if missing:
        raise SourceError(
            f"{match[1]} is not complete: {len(missing)} of {count} files are missing",
            f"the first is {missing[0]}",
            "download or copy them into the same folder",
        )
    return [existing_file(str(contained(first.parent, n))) for n in names]


def read_gguf(path: str) -> GgufFile:
    """Raises SourceError for what is not a whole, well-formed GGUF file."""
    parts = parts_of(path)
    headers = [_read_part(p) for p in parts]
    metadata = headers[0][0]
    stated = metadata.get("split.count", 0)
    if isinstance(stated, int) and stated > 1 and stated != len(parts):
        raise SourceError(
            f"{parts[0].name} is one of {stated} files of a model",
            "its name does not tell the others",
            f"give all the names they were published with, as in name-00001-of-{stated:05d}.gguf",
        )
    tensors: dict[str, Tensor] = {}
    for index, (own, infos) in enumerate(headers):
        if len(parts) > 1 and (own.get("split.no") != index or own.get("split.count") != len(parts)):
            raise SourceError(
                f"{parts[index].name} does not belong to the other files of its name",
                f"it says it is number {own.get('split.no')} of {own.get('split.count')}, counted from 0",
                "download or copy it again",
            )
        twice = tensors.keys() & infos.keys()
        if twice:
            raise SourceError(
                f"{parts[index].name} does not belong to the other files of its name",
                f"{min(twice)[:80]!r} is in another of them too",
                "download or copy it again",
            )
        tensors |= infos
    return GgufFile(tuple(parts), metadata, tensors)


def _read_part(path: Path) -> tuple[Metadata, dict[str, Tensor]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data, path.name)
        tensor_count, key_count = _counts(cursor)
        metadata: Metadata = {}
        for _ in range(key_count):
            key = cursor.text(_LONGEST_NAME)
            if key in metadata:
                raise cursor.wrong(f"it states {key[:80]!r} twice")
            metadata[key] = cursor.value(cursor.number("I"))
        alignment = metadata.get("general.alignment", 32)
        if type(alignment) is not int or alignment not in {2**i for i in range(17)}:
            raise cursor.wrong(f"its alignment is {str(alignment)[:20]}, which is no power of two")
        entries = [_entry(cursor) for _ in range(tensor_count)]
        start = -(-cursor.at // alignment) * alignment
        return metadata, _placed(entries, start, alignment, cursor, path)


def _counts(cursor: _Cursor) -> tuple[int, int]:
    """The numbers of tensors and of metadata keys. Raises SourceError where the file has no room for so many."""
    magic = bytes(cursor.data[:4])
    if magic != MAGIC:
        raise SourceError(
            f"{cursor.name} is not a GGUF file",
            f"it begins with {magic!r}, not with {MAGIC!r}",
            "pass the .gguf file itself; older formats (ggml, ggjt) are converted by llama.cpp",
        )
    cursor.at = 4
    version = cursor.number("I")
    if version & 0xFFFF == 0:
        raise SourceError(
            f"{cursor.name} is big-endian",
            "edgekit reads little-endian files",
            "convert it with gguf-convert-endian of the gguf package",
        )
    if version not in (2, 3):
        raise SourceError(
            f"{cursor.name} is of version {version} of GGUF",
            "edgekit reads the versions 2 and 3",
            "convert the model again with a current llama.cpp",
        )
    tensors, keys = cursor.number("Q"), cursor.number("Q")
    left = len(cursor.data) - cursor.at
    if tensors > min(_MOST_TENSORS, left // 24) or keys > min(_MOST_KEYS, left // 13):
        raise cursor.wrong(
            f"it claims {tensors} tensors and {keys} keys of metadata in a file of {len(cursor.data)} bytes"
        )
    if not tensors:
        raise no_weights(cursor.name)
    return tensors, keys


def no_weights(name: str) -> SourceError:
    return SourceError(
        f"{name} holds no weights",
        "it has no tensors: files of a vocabulary only are for tests of tokenizers",
        "pass the .gguf file of the model itself",
    )


def check_weights(path: Path) -> None:
    """Raises SourceError for a file that holds only a vocabulary, before anything else is read: a large
    vocabulary takes long."""
    with path.open("rb") as file:
        head = file.read(24)
    if head[:4] == MAGIC and len(head) == 24:
        version, tensors = struct.unpack_from("<IQ", head, 4)
        if version in (2, 3) and not tensors:
            raise no_weights(path.name)


class _Cursor:
    """A place in a file that never leaves it."""

    def __init__(self, data: mmap.mmap, name: str) -> None:
        self.data, self.name, self.at, self.strings = data, name, 0, 0

    def wrong(self, why: str) -> SourceError:
        return SourceError(f"{self.name} is damaged", why, "download or copy it again")

    def take(self, count: int) -> int:
        """Steps over `count` bytes and returns where they begin."""
        start = self.at
        if count > len(self.data) - start:
            raise SourceError(
                f"{self.name} is cut short or damaged",
                f"{count} bytes are to follow byte {start}, and the file ends at {len(self.data)}",
                "download or copy it again",
            )
        self.at = start + count
        return start

    def number(self, letter: str) -> Any:
        return struct.unpack_from(f"<{letter}", self.data, self.take(struct.calcsize(letter)))[0]

    def text(self, longest: int) -> str:
        length = self.number("Q")
        if length > longest:
            raise self.wrong(f"a text at byte {self.at} would be {length} bytes long")
        start = self.take(length)
        try:
            return self.data[start : start + length].decode()
        except UnicodeDecodeError:
            raise self.wrong(f"the text at byte {start} is not UTF-8") from None

    def value(self, kind: int) -> object:
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text(_LONGEST_TEXT)
        if kind != _ARRAY:
            raise self.wrong(f"a value at byte {self.at} is of the unknown type {kind}")
        element, count = self.number("I"), self.number("Q")
        if element in _SCALARS:
            if count > _MOST_SCALARS:
                raise self.wrong(f"a list at byte {self.at} would hold {count} numbers")
            letter = _SCALARS[element]
            start = self.take(count * struct.calcsize(letter))
            return list(struct.unpack_from(f"<{count}{letter}", self.data, start))
        if element != _STRING:
            raise self.wrong(f"a list at byte {self.at} holds values of type {element}, not numbers or texts")
        self.strings += count
        if self.strings > _MOST_STRINGS or count > (len(self.data) - self.at) // 8:
            raise self.wrong(f"a list at byte {self.at} would hold {count} texts")
        return [self.text(_LONGEST_TEXT) for _ in range(count)]


def _entry(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape, number of its type, offset) of one tensor."""
    name = cursor.text(_LONGEST_NAME)
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        raise cursor.wrong(f"the tensor {name[:80]!r} has {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))
    return name, shape[::-1], cursor.number("I"), cursor.number("Q")


def _placed(
    entries: list[tuple[str, tuple[int, ...], int, int]], start: int, alignment: int, cursor: _Cursor, path: Path
) -> dict[str, Tensor]:
    from gguf.constants import GGML_QUANT_SIZES

    sizes = {int(kind): (kind.name, *size) for kind, size in GGML_QUANT_SIZES.items()}
    tensors: dict[str, Tensor] = {}
    for name, shape, number, offset in entries:
        if name in tensors:
            raise cursor.wrong(f"it has the tensor {name[:80]!r} twice")
        if number not in sizes:
            raise SourceError(
                f"{cursor.name} has weights in a format edgekit does not know",
                f"{name[:80]!r} is of ggml's type {number}",
                "update the gguf package, or take another file",
            )
        kind, block, stored = sizes[number]
        if 0 in shape or shape[-1] % block:
            raise cursor.wrong(f"the tensor {name[:80]!r} is {shape}, and {kind} has blocks of {block}")
        size = math.prod(shape) // block * stored
        if offset % alignment:
            raise cursor.wrong(f"the tensor {name[:80]!r} is not aligned to {alignment} bytes")
        if start + offset + size > len(cursor.data):
            raise SourceError(
                f"{cursor.name} is cut short or damaged",
                f"{name[:80]!r} would end at byte {start + offset + size}, and the file ends at {len(cursor.data)}",
                "download or copy it again",
            )
        tensors[name] = Tensor(name, kind, shape, path, start + offset, size)
    ordered = sorted(tensors.values(), key=lambda t: t.start)
    for before, after in itertools.pairwise(ordered):
        if before.start + before.bytes > after.start:
            raise cursor.wrong(f"the tensors {before.name[:80]!r} and {after.name[:80]!r} overlap")
    return tensors
