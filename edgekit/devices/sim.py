"""Device `sim:htp`: Qualcomm's simulator of the Snapdragon NPU. Numbers, never time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NoReturn

from edgekit.devices.base import DeviceInfo, Plan
from edgekit.devices.sensors import memory_bytes
from edgekit.errors import UsageError
from edgekit.package.receipt import Provenance
from edgekit.runtime.cores import allowed_cores
from edgekit.runtime.engines.qnn import compiler

if TYPE_CHECKING:
    from edgekit.runtime.engine import Array


class SimulatedDevice:
    name = "sim"
    options: ClassVar[frozenset[str]] = frozenset()
    timed = False
    simulates = True
    plans: ClassVar[frozenset[str]] = frozenset()
    elsewhere = False

    def __init__(self, address: str = "") -> None:
        if address not in ("", "htp"):
            raise UsageError(f"There is no simulator sim:{address}", "", "use sim:htp")

    def info(self) -> DeviceInfo:
        return DeviceInfo(
            "sim:htp",
            "Hexagon Tensor Processor, simulated",
            compiler() or "not installed",
            len(allowed_cores()),
            memory_bytes(),
            provenance=Provenance.SIMULATED,
        )

    def listing(self) -> list[DeviceInfo]:
        return [self.info()]

    def run(self, package: Path, plan: Plan) -> NoReturn:
        raise UsageError(
            "A simulator's time says nothing about a phone, so edgekit does not measure it",
            f"{package.name} was to be timed on sim:htp",
            "edgekit detect PACKAGE IMAGE -d sim:htp runs it there; latency comes from a device, "
            "as -d 'aihub:Samsung Galaxy S25'",
        )

    def outputs(self, package: Path, inputs: Sequence[Mapping[str, Array]]) -> list[dict[str, Array]]:
        raise UsageError(
            "convert compared the outputs in the simulator already",
            f"{package.name} was to be compared on sim:htp",
            "edgekit inspect PACKAGE shows them",
        )

    def finished(self) -> None:
        pass
