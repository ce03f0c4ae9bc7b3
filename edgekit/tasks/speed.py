"""The speed tripwire: a package and its float parent in turns, and whether it is slower."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgekit.devices.base import Plan
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, Reason, Trip
from edgekit.profiling import sampler
from edgekit.store.database import Store


@dataclass(frozen=True)
class Speed:
    """The figures, a trip when the whole interval of the ratio is above what is tolerated, and what cannot be
    told when part of it is."""

    measured: tuple[Measurement, ...] = ()
    trip: Trip | None = None
    unclear: Trip | None = None


def against_float(
    staged: Package, parent: Package, launches: int, plan: Plan, limit: float, command: str, each: str = ""
) -> Speed:
    """`each`: of what a run is one, as " a token"."""
    store = Store(Path(":memory:"))
    mine, floats = sampler.profile([staged, parent], "local", launches, plan, store, record=False)
    store.close()
    ratio = sampler.compare(mine, floats)["run"]
    low, high = ratio.interval
    busy = "".join(f"; {w}" for w in mine.warnings)
    measured = (
        *sampler.measurements(mine, command),
        Measurement(
            "latency",
            "ratio to float",
            ratio.value,
            "1",
            Provenance.MEASURED,
            ratio.launches,
            ratio.interval,
            sampler.label(mine),
            command,
            f"interleaved, {ratio.launches} launches each{busy}",
        ),
    )
    if high <= limit:
        return Speed(measured)
    tolerated = f"; {limit:g} times are tolerated" if limit != 1 else ""
    if low <= limit:
        message = f"speed is not told apart from the float parent's: {ratio.value:.2f} times ({low:.2f} to {high:.2f}) on {ratio.launches} launches{tolerated}{busy}"
        return Speed(measured, unclear=Trip(Reason.SLOWER, message))
    message = (
        f"slower than its float parent: {mine.run.median * 1e3:.2f} ms{each} against "
        f"{floats.run.median * 1e3:.2f} ms, {ratio.value:.2f} times ({low:.2f} to {high:.2f}) "
        f"on {mine.device.chip}{tolerated}{busy}"
    )
    return Speed(measured, Trip(Reason.SLOWER, message))
