"""The rows of a receipt's `search`: what was tried on the way to a package (docs/format.md). Standard library only.

Each kind of row is a record; its `kind` in JSON says which. A row of a kind that this edgekit does not know, of a
backend outside of it or of a newer version, stays the plain object that it was.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from edgekit.spec import from_json


@dataclass(frozen=True)
class Step:
    """A rung of the ladder: how many layers it leaves in float, and the task's distance to float with them."""

    float_layers: int
    error: float
    chosen: bool
    kind: Literal["step"] = "step"


@dataclass(frozen=True)
class Ranges:
    """A way to choose the ranges of what is rounded, and the task's distance to float with it."""

    name: str
    error: float
    chosen: bool
    kind: Literal["ranges"] = "ranges"


@dataclass(frozen=True)
class Region:
    """A layer, and the distance to float that it causes when it alone is quantised. `float`: whether it stays so."""

    name: str
    cost: float
    float: bool
    kind: Literal["region"] = "region"


@dataclass(frozen=True)
class Attempt:
    """A package that was too far from float, and was made again with more layers in float."""

    float_layers: int
    result: str
    kind: Literal["attempt"] = "attempt"


@dataclass(frozen=True)
class Blocks:
    """A language model rounded in one way. `block`: weights that share a scale; `kl`: nats a token; `bits`: bits a
    weight, scales included."""

    block: int
    compensated: bool
    kl: float
    bits: float
    eight_bit_layers: tuple[str, ...]
    chosen: bool
    kind: Literal["blocks"] = "blocks"


@dataclass(frozen=True)
class Job:
    """A job that a compile service did. `emulated`: the service was an emulator."""

    job: str
    id: str
    url: str
    device: str
    emulated: bool
    kind: Literal["job"] = "job"


@dataclass(frozen=True)
class PlannedJob:
    """A job that a dry run would have done on `device`. `what`: the file it compiles."""

    job: str
    device: str
    runtime: str
    what: str = "model"
    kind: Literal["job"] = "job"


@dataclass(frozen=True)
class Upload:
    """A file that a dry run would send `to` a service. `sha256`: empty for data that is written as it is sent."""

    what: str
    bytes: int
    to: str
    sha256: str = ""
    kind: Literal["upload"] = "upload"


_Record: TypeAlias = Step | Ranges | Region | Attempt | Blocks | Job | PlannedJob | Upload
SearchRow: TypeAlias = _Record | dict[str, Any]

_KINDS: dict[str, type[_Record]] = {k.kind: k for k in (Step, Ranges, Region, Attempt, Blocks, Job, Upload)}


def read_row(row: object) -> SearchRow:
    """The record of a row. Raises ValueError for one that lacks what its kind has."""
    if not isinstance(row, dict):
        raise ValueError("a row of the search is no object")
    kind = _KINDS.get(str(row.get("kind", "")))
    if kind is None:
        return row
    if kind is Job and "id" not in row:
        kind = PlannedJob
    return from_json(kind, row)
