"""Which plots a report has, from the rows of its table, and what their captions say."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.devices.address import simulator_of, timed_device
from edgekit.package.receipt import Measurement
from edgekit.report.collect import Evidence, Measured
from edgekit.report.curve import curve
from edgekit.report.scatter import Point, scatter
from edgekit.report.strips import Strip, strips
from edgekit.report.table import Row, worst_snr
from edgekit.target import targets
from edgekit.tasks.base import find_task
from edgekit.tasks.columns import Quality

WIDE, HALF, NARROW = (
    720,
    560,
    340,
)  # CSS pixels; plots are drawn for wide and narrow screens, so that letters keep their size


@dataclass(frozen=True)
class Figure:
    """One plot in two widths. `svgs` is empty when there is nothing to draw: `missing` says why."""

    title: str
    svgs: tuple[str, ...]
    caption: str = ""
    missing: tuple[str, ...] = ()


def profile_command(evidence: Evidence) -> str:
    """The command that measures a package on the first device of its target that is no simulator."""
    target = targets().get(evidence.manifest.target)
    simulated = simulator_of(target.devices) if target else ""
    devices = [d for d in target.devices if d != simulated] if target else []
    device = devices[0] if devices else "local"
    if ":" not in device and device != timed_device(devices):
        device += ":ADDRESS"  # of a kind of which there are many
    device = shlex.quote(device)
    return f"edgekit profile {shlex.quote(str(evidence.path))} -d {device}"


def quality_figures(rows: Sequence[Row], short: dict[str, str]) -> list[Figure]:
    """Quality against latency, one plot a device and kind of model: others do not compare."""
    figures = []
    for label in dict.fromkeys(label for row in rows for label in row.evidence.labels):
        here = [row for row in rows if label in row.evidence.labels]
        for task in dict.fromkeys(row.evidence.manifest.task for row in here):
            alike = [row for row in here if row.evidence.manifest.task == task]
            figures.append(_quality(alike, label, short[label]))
    return figures or [_nothing_measured(rows)]


def _nothing_measured(rows: Sequence[Row]) -> Figure:
    commands = tuple(profile_command(row.evidence) for row in rows)
    return Figure("Quality against latency", (), "No package was measured on a device yet. To measure:", commands)


def _kind(rows: Sequence[Row]) -> Quality:
    """The first quality of their task that any of them was measured by, else the last."""
    qualities = find_task(rows[0].evidence.manifest.task).qualities
    return next((q for q in qualities if any(_found(q, row.evidence) for row in rows)), qualities[-1])


def _found(quality: Quality, evidence: Evidence) -> Measurement | None:
    if not quality.name:  # of each output one: the one that fares worst
        return worst_snr(evidence.receipt.measurements)
    return _one(evidence, quality.group, quality.name)


def _quality(rows: Sequence[Row], device: str, device_name: str) -> Figure:
    kind = _kind(rows)
    points, missing = [], []
    for row in rows:
        time = _one(row.evidence, "latency", "run median", device)
        quality = _found(kind, row.evidence)
        if time is None:
            missing.append(f"{row.evidence.manifest.name}: latency not measured here")
        elif quality is None:
            missing.append(f"{row.evidence.manifest.name}: {kind.missing}")
        else:
            points.append(_point(row, time, quality, kind))
    title = f"{kind.title} against latency on {device_name}"
    if not points:
        return Figure(title, (), "Nothing to draw.", tuple(missing))
    label = f"{title}: " + "; ".join(p.title for p in points)
    drawn = tuple(scatter(points, kind.time, kind.axis, label, w) for w in (WIDE, NARROW))
    caption = (
        f"{kind.better} The area of a bubble is the size of the package, the largest "
        f"{max(p.size for p in points) / 1e6:.2f} MB; bars are 95 % intervals. The vertical axis does not start at zero."
    )
    if math.isfinite(kind.ceiling):
        caption += f" {kind.shown.format(kind.ceiling)} stands for that and more, identical outputs included."
    return Figure(title, drawn, caption, tuple(missing))


def _point(row: Row, time: Measurement, quality: Measurement, kind: Quality) -> Point:
    manifest = row.evidence.manifest
    size = sum(entry.bytes for entry in manifest.files.values())
    stem = manifest.name.removesuffix(f"-{manifest.target}-{manifest.precision}")
    return Point(
        (stem, f"{manifest.target} {manifest.precision}"),
        f"{manifest.name}: {kind.shown.format(quality.value)}, {time.value:.2f} ms, {size / 1e6:.2f} MB",
        time.value,
        min(quality.value, kind.ceiling),
        size,
        row.number,
        time.interval,
        quality.interval,
    )


def launch_figures(row: Row, short: dict[str, str]) -> list[Figure]:
    """The launches of a package, one plot a device; or how to get them."""
    name = row.evidence.manifest.name
    if not row.evidence.measured:
        where = "The results database holds no launches of this package. To measure it:"
        return [Figure(name, (), where, (profile_command(row.evidence),))]
    return [_launches(row, measured, short[measured.label]) for measured in row.evidence.measured]


def sustained_figures(row: Row) -> list[Figure]:
    """Latency over minutes, one plot a device where a launch was sustained."""
    return [_curve(row, measured) for measured in row.evidence.sustained]


def _curve(row: Row, measured: Measured) -> Figure:
    name, summary = row.evidence.manifest.name, measured.result.sustained
    assert summary is not None
    minutes = f"{summary.length_s / 60:.1f} minutes"
    label = f"Latency of {name} on {measured.label} over {minutes}; steady at {summary.steady_median_s * 1e3:.2f} ms"
    points = measured.result.launches[0].curve
    drawn = tuple(curve(points, summary, row.number, label, w) for w in (HALF, NARROW))
    when = "" if summary.throttled_s is None else f", throttled after {summary.throttled_s:.0f} s"
    caption = f"{summary.steady_median_s * 1e3:.2f} ms from {summary.steady_s:.0f} s on{when}."
    return Figure(f"{name} for {minutes} on {measured.result.device.name}", drawn, caption)


def _launches(row: Row, measured: Measured, device: str) -> Figure:
    launches = [Strip([1e3 * s for s in x.samples_s["run"]], x.host.warning) for x in measured.result.launches]
    low, high = (1e3 * v for v in measured.result.run.interval)
    name = row.evidence.manifest.name
    label = (
        f"Latency of {name} on {measured.label}, a row for each of {len(launches)} launches; "
        f"95 % interval of the median {low:.2f} to {high:.2f} ms"
    )
    drawn = tuple(strips(launches, (low, high), row.number, "engine alone, ms", label, w) for w in (HALF, NARROW))
    return Figure(f"{name} on {device}", drawn)


def _one(evidence: Evidence, group: str, name: str, device: str | None = None) -> Measurement | None:
    return _first(
        m for m in evidence.receipt.measurements if (m.group, m.name) == (group, name) and device in (None, m.device)
    )


def _first(measurements: Iterable[Measurement]) -> Measurement | None:
    return next(iter(measurements), None)
