"""What was measured of one package on one device."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from edgekit.devices.base import DeviceInfo
from edgekit.devices.record import Launch
from edgekit.package import Package
from edgekit.profiling.agreement import Agreement
from edgekit.profiling.statistics import Summary, summarise
from edgekit.profiling.sustained import Sustained, sum_up


@dataclass(frozen=True)
class Result:
    """What was measured of one package. Times in seconds, memory in bytes."""

    package: str
    profile_id: int
    device: DeviceInfo
    run: Summary  # the engine alone
    total: Summary  # with preparing the image and finishing the boxes
    cold_load_s: float  # medians over launches
    warm_load_s: float
    first_run_s: float
    peak_memory_bytes: int
    threads: int
    engine: str
    warnings: tuple[str, ...]
    launches: tuple[Launch, ...]
    agreement: tuple[Agreement, ...] = ()  # of its outputs on a device elsewhere with those here
    steady_memory_bytes: int = 0
    shared_memory_bytes: int = 0
    sustained: Sustained | None = None  # of the first launch, where it was to go on for minutes
    images_per_s: float = 0.0  # runs a second of all streams; 0 where there was one
    streams: int = 1
    images: int = 0  # that it was measured with; 0: noise

    @property
    def whole(self) -> bool:
        """Whether images were prepared and boxes finished there, and not only the engine timed."""
        return len(self.launches[0].samples_s) > 1


def summed_up(package: Package, profile_id: int, info: DeviceInfo, launches: list[Launch]) -> Result:
    """The figures of one package's launches on one device."""

    warnings = [x.host.warning for x in launches if x.host.warning]
    summary = [f"{len(warnings)} of {len(launches)} launches: {warnings[0]}"] if warnings else []
    if len(launches) < 3 and not launches[0].curve:
        summary.append("fewer than three launches: the interval says nothing about other launches")
    return Result(
        package=package.manifest.name,
        profile_id=profile_id,
        device=info,
        run=summarise([x.samples_s["run"] for x in launches]),
        total=summarise([x.totals() for x in launches]),
        cold_load_s=median([x.cold_load_s for x in launches]),
        warm_load_s=median([x.warm_load_s for x in launches]),
        first_run_s=median([x.first_run_s for x in launches]),
        peak_memory_bytes=max(x.peak_memory_bytes for x in launches),
        threads=launches[0].threads,
        engine=launches[0].engine,
        warnings=tuple(summary),
        launches=tuple(launches),
        steady_memory_bytes=max(x.steady_memory_bytes for x in launches),
        shared_memory_bytes=max(x.shared_memory_bytes for x in launches),
        sustained=sum_up(launches[0].curve) if launches[0].curve else None,
        images_per_s=median([x.streams.runs / x.streams.seconds for x in launches if x.streams] or [0.0]),
        streams=launches[0].streams.copies if launches[0].streams else 1,
        images=launches[0].images,
    )
