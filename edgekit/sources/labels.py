"""Class names in the metadata of a file."""

from __future__ import annotations

import ast

from edgekit.system.documents import parse_json
from edgekit.system.redaction import printable

_LONGEST = 2**22  # characters


def labels_in(metadata: dict[str, str]) -> tuple[str, ...]:
    """Class names as Ultralytics ("names": a Python dictionary) and others (JSON) write them."""
    text = metadata.get("names") or metadata.get("labels") or metadata.get("classes") or ""
    if len(text) > _LONGEST:
        return ()
    for parse in (parse_json, ast.literal_eval):
        try:
            value = parse(text)
            if isinstance(value, dict):
                value = [value[k] for k in sorted(value, key=lambda k: int(k))]
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError, OverflowError):
            continue
        if isinstance(value, (list, tuple)) and all(isinstance(v, (str, int, float)) for v in value):
            return tuple(str(v)[:200] for v in value)
    return ()


def one_line_each(labels: tuple[str, ...]) -> tuple[str, ...]:
    """The names as a file with one name a line can hold them: a line break in a name would shift all that follow."""
    return tuple(printable(" ".join(n.split())) or f"class_{i}" for i, n in enumerate(labels))
