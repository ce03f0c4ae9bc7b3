"""Receipts: the evidence inside a package, and the verdict drawn from it.

Every number is a `Measurement` and says where it comes from. Standard library only.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from edgekit.package.search import SearchRow, read_row
from edgekit.spec import from_json, to_json
from edgekit.system.documents import JsonObject

SCHEMA = "edgekit.receipt/1"


class Provenance(enum.StrEnum):
    """Where a number comes from: a device, a device's browser, a simulator, somebody else's table, or a rule of thumb."""

    MEASURED = "measured"
    BROWSER = "measured (browser)"  # by a page, whose clock is coarse and whose engine is another build
    SIMULATED = "simulated"
    PUBLISHED = "published"
    ESTIMATED = "estimated"


# What a number is about (docs/format.md).
GROUPS = (
    "source",
    "gate",
    "parity",
    "accuracy",
    "size",
    "graph",
    "latency",
    "speed",
    "memory",
    "energy",
    "placement",
    "text",
    "reference",
)


@dataclass(frozen=True)
class Measurement:
    """One number. `group` is one of GROUPS; `interval` is a 95 % confidence interval in the same unit.

    Raises ValueError for another group.
    """

    group: str
    name: str
    value: float
    unit: str
    provenance: Provenance
    samples: int = 1
    interval: tuple[float, float] | None = None
    device: str = ""
    command: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"{self.name[:60]}: there is no group {self.group[:60]!r} of measurements")


class Reason(enum.StrEnum):
    """What can trip a package, and what `--allow` may name."""

    ACCURACY = "accuracy"
    SLOWER = "slower"
    MISREAD = "misread"  # the float original itself predicts or finds nothing


@dataclass(frozen=True)
class Trip:
    """Why a package was refused, or why chance could have given either: in words, with details a line each."""

    reason: Reason
    message: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Receipt:
    """The evidence on a package: the numbers, what tripped, what nothing is known about, and the commands that make
    the package again."""

    measurements: tuple[Measurement, ...]
    trips: tuple[Trip, ...] = ()
    cannot_tell: tuple[Trip, ...] = ()  # whose interval has what is tolerated inside it
    not_checked: tuple[str, ...] = ()
    search: tuple[SearchRow, ...] = ()  # what was tried on the way to this package
    notes: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()  # commands that repeat the conversion
    schema: str = field(default=SCHEMA)

    @property
    def verdict(self) -> str:
        """`good`, `good, as far as checked`, `cannot tell: …` (chance could have given either), or
        `allowed: …` (tripped, and the user said so)."""
        if self.trips:
            return "allowed: " + ", ".join(dict.fromkeys(t.reason for t in self.trips))
        if self.cannot_tell:
            return "cannot tell: " + ", ".join(dict.fromkeys(t.reason for t in self.cannot_tell))
        if self.not_checked:
            return "good, as far as checked"
        return "good"

    def with_measurements(self, added: Iterable[Measurement]) -> Receipt:
        """New measurements replace older ones of the same group, name and device."""
        fresh = list(added)
        keys = {(m.group, m.name, m.device) for m in fresh}
        others = [m for m in self.measurements if (m.group, m.name, m.device) not in keys]
        return replace(self, measurements=(*others, *fresh))

    def to_dict(self) -> JsonObject:
        """As `receipt.json` holds it, the verdict spelled out."""
        data: JsonObject = to_json(self)
        return {**data, "verdict": self.verdict}


def read_receipt(data: JsonObject) -> Receipt:
    """The receipt that `to_dict` wrote; it may leave out what has a default, and the measurements when there are none.

    Raises ValueError naming the field that does not fit.
    """
    return from_json(Receipt, {"measurements": [], **data}, {SearchRow: read_row})


def check_receipt(receipt: Receipt, verdict: object) -> None:
    """Raises ValueError for what no honest receipt says (docs/format.md). `verdict`: as it is spelled out."""
    if verdict not in (None, receipt.verdict):
        raise ValueError(f"its verdict is {str(verdict)[:60]!r}, and its evidence gives {receipt.verdict!r}")
    for m in receipt.measurements:
        if m.group == "latency" and m.provenance is Provenance.SIMULATED:
            raise ValueError(f"{m.name[:60]}: a simulator's time is no latency")
        if m.interval is not None and m.interval[0] > m.interval[1]:
            raise ValueError(f"{m.name[:60]}: its interval ends before it begins")
