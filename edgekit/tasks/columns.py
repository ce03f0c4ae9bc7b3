"""Figures of packages that tables and plots show: what every task has, and the records for a task's own."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One figure of a receipt, by its measurement's group and name. `scale` turns its unit into the one in the heading.

    brief: its heading in the table that `convert` prints, where it has one, with `brief_decimals`; None: as its unit
    is written. per_device: whether it is measured of a package on each device, and not of the package alone.
    """

    group: str
    name: str
    title: str
    unit: str
    explain: str
    better: Literal["low", "high"]
    scale: float = 1.0
    decimals: int = 2
    brief: str = ""
    brief_decimals: int | None = None
    per_device: bool = False


@dataclass(frozen=True)
class Quality:
    """What stands for accuracy in a plot against time, by its measurement's group and name.

    shown: how a value is written; missing: what is said without one; ceiling: values above are drawn as this.
    """

    title: str
    axis: str
    group: str
    name: str
    shown: str
    missing: str
    better: str = "Up and to the left is better."
    time: str = "engine alone, median ms"
    ceiling: float = math.inf


SIZE = Column("size", "package", "Size", "MB", "all files of the package", "low", 1e-6, brief="size")
RATIO = Column(
    "latency", "ratio to float", "", "", "time beside its float parent's", "low", brief="time/float", brief_decimals=3
)
LATENCIES = (
    Column("latency", "run median", "Median", "ms", "the engine alone, one input or token", "low", per_device=True),
    Column("latency", "run p90", "p90", "ms", "nine of ten take less", "low", per_device=True),
    Column("latency", "run p99", "p99", "ms", "99 of 100 take less", "low", per_device=True),
)
LOADS = (
    Column(
        "latency", "cold load", "Cold", "ms", "opening the package, files not in the page cache", "low", per_device=True
    ),
    Column("latency", "warm load", "Warm", "ms", "opening the package again", "low", per_device=True),
    Column(
        "memory", "peak", "Memory", "MB", "peak resident memory of the whole process", "low", 1e-6, 1, per_device=True
    ),
)
