"""Device `null`: replays fixed timings. For tests of everything above it; never a measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.record import Launch
from edgekit.errors import UsageError
from edgekit.package.receipt import Provenance

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array


class NullDevice:
    name = "null"
    options: ClassVar[frozenset[str]] = frozenset()
    timed = True
    simulates = False
    plans: ClassVar[frozenset[str]] = frozenset()
    elsewhere = False

    def __init__(self, address: str = "") -> None:
        """`address`: milliseconds an iteration takes; "" means 10."""
        if address and (not address.replace(".", "", 1).isdecimal() or not float(address)):
            raise UsageError(f"null:{address} is no time", "", "write milliseconds, as null:12.5")
        self.address = address

    def info(self) -> DeviceInfo:
        return DeviceInfo("null", "no chip: fixed timings for tests", "none", 1, 0, provenance=Provenance.ESTIMATED)

    def listing(self) -> list[DeviceInfo]:
        return [self.info()]

    def run(self, package: Path, plan: Plan) -> Launch:
        each = float(self.address or 10) / 1000
        samples = {"prepare": 0.0, "run": each, "finish": 0.0}
        return Launch(
            {phase: [value] * plan.iterations for phase, value in samples.items()},
            cold_load_s=each,
            warm_load_s=each,
            first_run_s=each,
            peak_memory_bytes=0,
            threads=1,
            engine="null",
        )

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        raise UsageError(
            "The device null runs nothing, so it has no outputs",
            f"{package.name} was to be compared there",
            "use -d local",
        )

    def finished(self) -> None:
        pass
