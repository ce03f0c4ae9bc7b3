"""The speed tripwire: a package and its float parent in turns, and whether it is slower."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.address import open_device, timed_device
from edgekit.devices.base import Plan
from edgekit.errors import DeviceError
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Trip
from edgekit.profiling import figures, sampler
from edgekit.profiling.result import Result
from edgekit.spec import Precision
from edgekit.store.database import Store
from edgekit.target import Target
from edgekit.tasks.base import SPEED_LIMITS


@dataclass(frozen=True)
class Speed:
    """The figures, a trip when the whole interval of the ratio is above what is tolerated, and what cannot be
    told when part of it is."""

    measured: tuple[Measurement, ...] = ()
    trip: Trip | None = None
    unclear: Trip | None = None


@dataclass(frozen=True)
class Stopwatch:
    """How packages are timed: launches, the plan of each, and the command that their receipts cite.

    each: of what a run is one, as " a token".
    """

    launches: int
    plan: Plan
    command: str
    each: str = ""
    device: str = ""  # the one to time on; "" for the first of a target that can be timed at once

    def can_time(self, target: Target) -> bool:
        return bool(self.launches and timed_device(target.devices, self.device))

    def alone(self, staged: Package, target: Target) -> Speed:
        """The figures of a package without a float parent to compare it with."""
        (result,) = self._profile([staged], target)
        return Speed(tuple(figures.measurements(result, self.command)))

    def against_float(self, staged: Package, parent: Package, target: Target) -> Speed:
        """A package and its float parent, in turns on the first device of the target that can be timed."""
        limit = slowest(target, staged.manifest.precision)
        mine, floats = self._profile([staged, parent], target)
        ratio = sampler.compare(mine, floats)["run"]
        low, high = ratio.interval
        busy = "".join(f"; {w}" for w in mine.warnings)
        measured = (
            *figures.measurements(mine, self.command),
            Measurement(
                "latency",
                "ratio to float",
                ratio.value,
                "1",
                Provenance.MEASURED,
                ratio.launches,
                ratio.interval,
                figures.label(mine),
                self.command,
                f"interleaved, {ratio.launches} launches each{busy}",
            ),
        )
        if high <= limit:
            return Speed(measured)
        interval = f"{ratio.value:.2f} times ({low:.2f} to {high:.2f})"
        tolerated = f"; {limit:g} times are tolerated" if limit != 1 else ""
        if low <= limit:
            message = (
                f"speed is not told apart from the float parent's: {interval} on {ratio.launches} launches"
                f"{tolerated}{busy}"
            )
            return Speed(measured, unclear=Trip(Reason.SLOWER, message))
        message = (
            f"slower than its float parent: {mine.run.median * 1e3:.2f} ms{self.each} against "
            f"{floats.run.median * 1e3:.2f} ms, {interval} on {mine.device.chip}{tolerated}{busy}"
        )
        return Speed(measured, Trip(Reason.SLOWER, message))

    def _profile(self, packages: Sequence[Package], target: Target) -> list[Result]:
        store = Store(Path(":memory:"))
        try:
            device = timed_device(target.devices, self.device)
            return sampler.profile(packages, device, launches=self.launches, plan=self.plan, store=store, record=False)
        finally:
            store.close()


def check_device(address: str) -> None:
    """Raises DeviceError for a device that cannot be reached, or whose time is no latency since it is emulated."""
    device = open_device(address)
    info = device.info()
    device.finished()
    if info.provenance is Provenance.SIMULATED:
        raise DeviceError(
            f"The processor of {address} is emulated, and emulated time is no latency",
            f"it runs in {info.facts.get('emulator') or info.facts.get('emulated') or 'an emulator'}",
            "name a real device, or leave --device out",
        )


def slowest(target: Target, precision: Precision) -> float:
    """The latency ratio to its float parent that a package of this precision may have."""
    name = "slower" if precision.needs_calibration else "slower_for_size"
    return target.tolerance.get(name, SPEED_LIMITS[name])
