"""JSON schemas that answers have to follow: as large as apps need, and no larger.

A few bytes of a schema can ask for any amount of work (`minItems: 1000000000`), so what multiplies is
bounded here, by the name of the keyword. What slips through is met by the memory and the time that the
model's process may take.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from edgekit.serving.protocol import RequestError
from edgekit.system.documents import JsonObject

_BYTES, _NODES, _DEPTH = 64 * 2**10, 5_000, 32
_COUNT = 4_096  # the most that a keyword which counts something may say
_PATTERN, _REPEATS = 1_000, 10_000  # characters of a regular expression, and repetitions in it together
_COUNTS = {
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minProperties",
    "maxProperties",
    "minContains",
    "maxContains",
}
_PATTERNS = {"pattern", "whitespace_pattern"}
_VALUES = {"const", "enum", "default", "example", "examples"}  # what is in them is no schema
_REPETITION = re.compile(r"\{(\d*)(?:,(\d*))?\}")


def read_schema(content: bytes, where: str) -> JsonObject:
    """`where`: the field that holds it. Raises RequestError for what is no object, or asks for too much."""
    if len(content) > _BYTES:
        raise RequestError(f"{where} is larger than {_BYTES} bytes", param=where)
    try:
        schema = msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RequestError(f"{where} is no JSON object that can be read", str(error), param=where) from error
    for number, (depth, name, value) in enumerate(_walk(schema)):
        if number > _NODES or depth > _DEPTH:
            raise RequestError(
                f"{where} is too large", f"it may have {_NODES} values, {_DEPTH} of them in one another", param=where
            )
        if name in _COUNTS and isinstance(value, (int, float)) and value > _COUNT:
            raise RequestError(f"{where} has {name} above {_COUNT}", param=where)
        if name in _PATTERNS and isinstance(value, str):
            _check_pattern(value, where)
        if name == "patternProperties" and isinstance(value, dict):
            for pattern in value:
                _check_pattern(pattern, where)
    return schema


def _walk(schema: JsonObject) -> Iterator[tuple[int, str, object]]:
    """Each value with its depth and its keyword; the keyword is "" for what is data."""
    left: list[tuple[int, str, Any, bool]] = [(0, "", schema, False)]
    while left:
        depth, name, value, data = left.pop()
        yield depth, "" if data else name, value
        if isinstance(value, dict):
            left += [(depth + 1, k, v, data or k in _VALUES) for k, v in value.items()]
        elif isinstance(value, list):
            left += [(depth + 1, "", v, data) for v in value]


def _check_pattern(pattern: str, where: str) -> None:
    """Repetitions in one another multiply, so all of an expression are multiplied."""
    product = 1
    for low, high in _REPETITION.findall(pattern[: _PATTERN + 1]):
        for digits in (low, high):
            if len(digits) > 9:
                product = _REPEATS + 1
        product *= max(int(high or 0), int(low or 0), 1) if product <= _REPEATS else 1
    if len(pattern) > _PATTERN or product > _REPEATS:
        raise RequestError(
            f"{where} has a pattern that is too large",
            f"{_PATTERN} characters and {_REPEATS} repetitions are the most",
            param=where,
        )
