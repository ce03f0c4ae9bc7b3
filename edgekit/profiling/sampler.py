"""Profile packages: interleaved launches on one device, stored raw, summed up in receipts."""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from edgekit import progress
from edgekit.devices.address import open_device
from edgekit.devices.base import Device, DeviceInfo, Plan
from edgekit.devices.record import Launch
from edgekit.errors import UsageError
from edgekit.package import Package
from edgekit.package.receipt import Measurement, Provenance, read_receipt
from edgekit.profiling.agreement import Agreement, agreement
from edgekit.profiling.statistics import Ratio, Summary, ratio, summarise
from edgekit.store.database import Store


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

    @property
    def whole(self) -> bool:
        """Whether images were prepared and boxes finished there, and not only the engine timed."""
        return len(self.launches[0].samples_s) > 1


def profile(
    packages: Sequence[str | Path | Package] | str | Path | Package,
    device: str | Device = "local",
    *,
    launches: int = 5,
    plan: Plan | None = None,
    store: Store | None = None,
    record: bool = True,
) -> list[Result]:
    """Measure packages on a device: `launches` rounds, each package once a round, in an order
    that alternates, so that a slow drift of the machine falls on all of them alike.

    `record`: write the figures into each package's receipt. Raises DeviceError, IntegrityError.
    """
    if launches < 1:
        raise UsageError(f"{launches} launches measure nothing", "", "use 2 or more")
    given = [packages] if isinstance(packages, (str, Path, Package)) else packages
    opened = [p if isinstance(p, Package) else Package(p) for p in given]
    for package in opened:
        package.verify()
    where = open_device(device) if isinstance(device, str) else device
    plan, own_store = plan or Plan(), store is None
    store = store or Store()
    try:
        info, session = where.info(), uuid.uuid4().hex
        command = _command(opened, device if isinstance(device, str) else info.name, launches, plan)
        ids = [store.begin(session, p.manifest.name, p.manifest_sha256, info, plan, command) for p in opened]
        sessions: list[list[Launch]] = [[] for _ in opened]
        same = [agreement(p, where) if getattr(where, "elsewhere", False) else () for p in opened]
        order = [(n, i) for n in range(launches) for i in _alternating(len(opened), n)]
        what = f"profiling on {info.name}"
        for position, (_, index) in enumerate(progress.track(order, what, len(order))):
            launch = where.run(opened[index].folder, plan)
            store.add_launch(ids[index], position, launch)
            sessions[index].append(launch)
        where.finished()
        results = [replace(summed_up(p, i, info, s), agreement=a) for p, i, s, a in zip(opened, ids, sessions, same)]
    finally:
        if own_store:
            store.close()
    if record:
        for package, result in zip(opened, results):
            if package.path.is_dir():  # an .edgepkg file stays as it was packed
                _record(package, result, command)
    return results


def _command(packages: Sequence[Package], device: str, launches: int, plan: Plan) -> str:
    """Packages by name: the folders of this machine say nothing elsewhere."""
    names = shlex.join(p.path.name for p in packages)
    threads = f" --threads {plan.threads}" if plan.threads else ""
    return (
        f"edgekit profile {names} -d {device} --launches {launches} --iterations {plan.iterations}"
        f" --warmup {plan.warmup} --seconds {plan.seconds:g}{threads}"
    )


def compare(a: Result, b: Result) -> dict[str, Ratio]:
    """Ratios a/b of two results measured in one interleaved session."""
    return {
        "run": ratio([x.samples_s["run"] for x in a.launches], [x.samples_s["run"] for x in b.launches], True),
        "total": ratio([x.totals() for x in a.launches], [x.totals() for x in b.launches], True),
    }


def _alternating(count: int, turn: int) -> list[int]:
    order = list(range(count))
    return order if turn % 2 == 0 else order[::-1]


def summed_up(package: Package, profile_id: int, info: DeviceInfo, launches: list[Launch]) -> Result:
    """The figures of one package's launches on one device."""

    warnings = [x.host.warning for x in launches if x.host.warning]
    summary = [f"{len(warnings)} of {len(launches)} launches: {warnings[0]}"] if warnings else []
    if len(launches) < 3:
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
    )


def measurements(result: Result, command: str) -> list[Measurement]:
    """The figures of a result as a receipt keeps them."""
    count = len(result.launches)

    def one(
        group: str,
        name: str,
        value: float,
        unit: str,
        note: str,
        samples: int = count,
        interval: tuple[float, float] | None = None,
    ) -> Measurement:
        return Measurement(
            group, name, value, unit, result.device.provenance, samples, interval, label(result), command, note
        )

    rows = []
    for a in result.agreement:
        note = "of noise, there against the same package here"
        rows.append(one("parity", f"{a.output} SNR, there and here", a.snr_db, "dB", note, 1))
    host = result.launches[0].host
    for unit, layers in host.compute_units.items():
        rows.append(one("placement", f"layers on the {unit}", layers, "1", "by the profile job", 1))
    if result.device.provenance is Provenance.SIMULATED:  # whose time and memory are another machine's
        return rows
    rows += _times(result, one)
    rows += [one("speed", name, value, "tok/s", note) for name, value, note in text_speeds(result)]
    for stage, (low, high) in (host.memory or {}).items():
        note = f"{stage.replace('_', ' ')}; at least {low} bytes"
        rows.append(one("memory", f"{stage.replace('_', ' ')} peak", high, "bytes", note))
    if result.peak_memory_bytes and host.memory is None:  # 0 where the system does not say
        rows.append(one("memory", "peak", result.peak_memory_bytes, "bytes", "resident, whole process"))
    return rows


def text_speeds(result: Result) -> list[tuple[str, float, str]]:
    """Tokens a second of a language model, medians over launches: name, value, what it was taken on."""
    texts = [x.text for x in result.launches if x.text]
    if not texts:
        return []
    length, depth = texts[0].prompt_tokens, texts[0].depth
    speeds = [
        ("prompt", length / median(min(t.prompt_s) for t in texts), f"{length} tokens, the best of 3 a launch"),
        ("decode", 1 / result.run.median, "with an empty context"),
    ]
    deep = [median(t.deep_s) for t in texts if t.deep_s]
    if deep:
        speeds.append(("decode, full context", 1 / median(deep), f"after {depth} tokens"))
    return speeds


def _times(result: Result, one: Callable[..., Measurement]) -> list[Measurement]:
    rows, count = [], len(result.launches)
    both = (("run", result.run), ("total", result.total))
    for name, s in both if result.whole else both[:1]:
        low, high = s.interval
        note = f"{count} launches, {result.engine}" + (
            "; image of 1280x720, nothing to suppress" if name == "total" else ""
        )
        interval = (low * 1e3, high * 1e3)
        rows += [
            one("latency", f"{name} median", s.median * 1e3, "ms", note, s.samples, interval),
            one("latency", f"{name} p90", s.p90 * 1e3, "ms", note, s.samples),
            one("latency", f"{name} p99", s.p99 * 1e3, "ms", note, s.samples),
        ]
    cold = "import included" + (", files evicted first" if result.launches[0].cold_is_cold else "")
    for name, seconds, note in (
        ("cold load", result.cold_load_s, cold if result.whole else "first load"),
        ("warm load", result.warm_load_s, "again in the same process"),
        ("first run", result.first_run_s, "after loading"),
    ):
        if seconds:
            rows.append(one("latency", name, seconds * 1e3, "ms", note))
    return rows


def label(result: Result) -> str:
    """What the figures of a result belong to: device, chip and threads. Packages of different
    engines are compared there."""
    threads = f", {result.threads} threads" if result.threads else ""
    return f"{result.device.name}: {result.device.chip}{threads}"


def _record(package: Package, result: Result, command: str) -> None:
    receipt = read_receipt(package.receipt())
    package.replace_receipt(receipt.with_measurements(measurements(result, command)).to_dict())
