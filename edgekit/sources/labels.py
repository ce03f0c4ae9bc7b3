"""Class names in the metadata of a file."""

from __future__ import annotations

import ast
import json


def labels_in(metadata: dict[str, str]) -> tuple[str, ...]:
    """Class names as Ultralytics ("names": a Python dictionary) and others (JSON) write them."""
    text = metadata.get("names") or metadata.get("labels") or metadata.get("classes") or ""
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        if isinstance(value, dict):
            value = [value[k] for k in sorted(value, key=lambda k: int(k))]
        if isinstance(value, (list, tuple)):
            return tuple(str(v) for v in value)
    return ()
