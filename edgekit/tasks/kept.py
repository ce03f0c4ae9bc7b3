"""Measurements kept by content, as compiled artefacts are: the same files on the same images give the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgekit import cache
from edgekit.package.receipt import Measurement
from edgekit.spec import from_json, to_json

_FILE = "measurements.json"


def kept_measurements(make: Callable[[], list[Measurement]], **content: Any) -> list[Measurement]:
    """What `make()` gives, from the cache when it was made of the same `content` before. Not for times."""

    def write(folder: Path) -> None:
        text = json.dumps(to_json(make()))
        (folder / _FILE).write_text(text, encoding="utf-8")

    folder = cache.step(f"verified-{cache.key(**to_json(content))}", write)
    rows = json.loads((folder / _FILE).read_text(encoding="utf-8"))
    return [from_json(Measurement, row) for row in rows]
