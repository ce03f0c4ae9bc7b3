"""The speed tripwire: a package and its float parent in turns, and whether it is slower."""

from __future__ import annotations

from pathlib import Path

from edgekit.devices.base import Plan
from edgekit.package import Package
from edgekit.profiling import sampler
from edgekit.receipt import Measurement, Provenance, Reason, Trip
from edgekit.store.database import Store


def against_float(
    staged: Package, parent: Package, launches: int, plan: Plan, limit: float, command: str, each: str = ""
) -> tuple[list[Measurement], Trip | None, str]:  # fmt: skip
    """The figures, a trip when the whole interval of the ratio is above `limit`, and what could not be
    told. `each`: of what a run is one, as " a token"."""
    store = Store(Path(":memory:"))
    mine, floats = sampler.profile([staged, parent], "local", launches, plan, store, record=False)
    store.close()
    ratio = sampler.compare(mine, floats)["run"]
    low, high = ratio.interval
    note = f"interleaved, {ratio.launches} launches each" + "".join(f"; {w}" for w in mine.warnings)
    measured = [
        *sampler.measurements(mine, command),
        Measurement("latency", "ratio to float", ratio.value, "1", Provenance.MEASURED, ratio.launches,
                    ratio.interval, sampler.label(mine), command, note),
    ]  # fmt: skip
    if high <= limit:
        return measured, None, ""
    if low <= limit:
        unknown = f"speed: not told apart from the float parent ({low:.2f} to {high:.2f} times)"
        return measured, None, unknown
    message = (
        f"slower than its float parent: {mine.run.median * 1e3:.2f} ms{each} against "
        f"{floats.run.median * 1e3:.2f} ms, {ratio.value:.2f} times ({low:.2f} to {high:.2f}) "
        f"on {mine.device.chip}"
    )
    return measured, Trip(Reason.SLOWER, message), ""
