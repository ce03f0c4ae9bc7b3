"""JSON and text as strangers write them, read strictly: one error, which the caller names.

Standard library only. Reading takes time and memory in proportion to the document's size: what would not
(deep nesting, numbers of many digits) is refused.
"""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any, TypeAlias

_DIGITS = 64  # of a whole number; Hugging Face writes an endless length with 31
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LONG = re.compile(r"\d{65}|[eE][+]?\d{3}")
_DEEPEST = 200

# An object of a document that somebody else wrote. Its values are `Any`, since whoever reads one looks at it first: as
# `object` it would take a cast at each reading. A single value that is only looked at or passed on is an `object`.
JsonObject: TypeAlias = dict[str, Any]


class DocumentError(ValueError):
    """What is wrong with a document, in a few words."""


def parse_json(content: bytes | str, largest: int = 2**28) -> object:
    """A value of a JSON document (RFC 8259) in UTF-8, with or without a mark of its byte order.

    Raises DocumentError for what is no JSON, NaN and Infinity, a key that stands twice, whole numbers of more
    than 64 digits, half of a surrogate pair, more than 200 levels or `largest` bytes.
    """
    text = decode(content, largest)
    try:
        hooks: dict[str, Any] = {}  # a call for each number, where one may be too long
        if _LONG.search(text):
            hooks = {"parse_int": _whole, "parse_float": _real}
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number, **hooks)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except DocumentError:
        raise
    except RecursionError as error:
        raise DocumentError("it nests too deeply") from error
    except UnicodeEncodeError as error:
        raise DocumentError("it holds half of a surrogate pair, which is no character") from error
    except ValueError as error:
        raise DocumentError(str(error)) from error
    if depth(value) > _DEEPEST:
        raise DocumentError("it nests too deeply")
    return value


def read_json(path: Path, largest: int = 2**28) -> object:
    """The value in a file; see `parse_json`. Raises DocumentError, and OSError where the file cannot be read."""
    return parse_json(read_bytes(path, largest), largest)


def read_object(path: Path, largest: int = 2**26) -> JsonObject:
    """As `read_json`, for a file that holds an object. Raises DocumentError for anything else."""
    value = read_json(path, largest)
    if not isinstance(value, dict):
        raise DocumentError("it holds no JSON object")
    return value


def read_bytes(path: Path, largest: int) -> bytes:
    """At most `largest` bytes of a file. Raises DocumentError for a larger one, and for a pipe or a device, which
    may never end."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise DocumentError("it is no file")
        content = file.read(largest + 1)
    if len(content) > largest:
        raise DocumentError(f"it is larger than {largest} bytes")
    return content


def read_utf8(path: Path, largest: int) -> str:
    """The text of a file; see `decode` and `read_bytes`. Raises DocumentError, OSError."""
    return decode(read_bytes(path, largest), largest)


def decode(content: bytes | str, largest: int = 2**28) -> str:
    """Text in UTF-8, without a mark of its byte order. Raises DocumentError."""
    if len(content) > largest:
        raise DocumentError(f"it is larger than {largest} bytes")
    if isinstance(content, str):
        return content.removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DocumentError(f"it is not UTF-8 text: byte {error.start} is 0x{content[error.start]:02x}") from error


def depth(value: object) -> int:
    """How many lists and objects lie in one another; without recursion, so that any depth is measured."""
    deepest, level = 0, [value]
    while level:
        inside: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inside += item.values()
            elif isinstance(item, (list, tuple)):
                inside += item
        if not inside and not any(isinstance(i, (dict, list, tuple)) for i in level):
            return deepest
        level, deepest = inside, deepest + 1
    return deepest


def _once(pairs: list[tuple[str, object]]) -> JsonObject:
    """The object of these pairs. Raises DocumentError for a key that occurs twice: readers differ in which value
    they take."""
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        keys: set[str] = set()
        twice = next(k for k, _ in pairs if k in keys or keys.add(k))  # type: ignore[func-returns-value]
        raise DocumentError(f"the key {ascii(twice)[:60]} stands twice in one object")
    return mapping


def _no_number(name: str) -> float:
    raise DocumentError(f"{name} is no number of JSON")


def _whole(digits: str) -> int:
    if len(digits.lstrip("-")) > _DIGITS:
        raise DocumentError(f"a whole number has more than {_DIGITS} digits")
    return int(digits)


def _real(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise DocumentError(f"{digits[:20]} is too large for a number")
    return value
