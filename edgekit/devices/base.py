"""The seam between a package and where it is measured: a `Device` runs one launch at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.package.receipt import Provenance


@dataclass(frozen=True)
class Plan:
    """One launch: a fresh process that warms up, then measures."""

    iterations: int = 50
    warmup: int = 5
    seconds: float = 20.0  # a launch stops here even when iterations are left
    threads: int | None = None


@dataclass(frozen=True)
class DeviceInfo:
    """What was measured. `facts` is what the device says of itself, for people to read."""

    name: str
    chip: str
    system: str
    cores: int  # 0: not told
    memory_bytes: int
    facts: dict[str, str] = field(default_factory=dict)
    provenance: Provenance = Provenance.MEASURED


@dataclass(frozen=True)
class Launch:
    """What one launch saw. Times in seconds, memory in bytes; `samples_s` by phase. 0: not told."""

    samples_s: dict[str, list[float]]
    cold_load_s: float
    warm_load_s: float
    first_run_s: float
    peak_memory_bytes: int
    threads: int
    engine: str
    cold_is_cold: bool = True
    host: dict[str, Any] = field(default_factory=dict)  # load before and after, warnings
    text: dict[str, Any] = field(default_factory=dict)  # of a language model: see launch_text

    def totals(self) -> list[float]:
        """Seconds of each iteration, preparing and finishing included."""
        return [sum(parts) for parts in zip(*self.samples_s.values())]


class Device(Protocol):
    def info(self) -> DeviceInfo: ...

    def run(self, package: Path, plan: Plan) -> Launch:
        """One launch. Raises DeviceError when the device cannot run it."""
        ...

    def finished(self) -> None:
        """All launches of a measurement are kept: what was remembered to continue it may go."""
        ...
