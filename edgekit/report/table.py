"""The comparison table: columns, cells with their provenance, and which value is best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from edgekit.package.receipt import Measurement, Provenance
from edgekit.report.collect import Evidence

TAGS = {Provenance.MEASURED: "m", Provenance.SIMULATED: "s", Provenance.PUBLISHED: "p", Provenance.ESTIMATED: "e"}
_SAME = 200.0  # dB that parity writes when two runs agree to the last bit


@dataclass(frozen=True)
class Column:
    """One figure of a receipt. `scale` turns its unit into the one in the heading."""

    group: str
    name: str
    title: str
    unit: str
    explain: str
    better: Literal["low", "high"]
    scale: float = 1.0
    decimals: int = 2


@dataclass
class Cell:
    """What a cell shows. `same` holds values that may be compared: same device, same images."""

    text: str = ""
    interval: str = ""
    tag: str = ""
    title: str = ""
    value: float | None = None
    same: str = ""
    best: bool = False


@dataclass(frozen=True)
class DeviceRow:
    """A package on one device; `device` is "" when it was never measured."""

    device: str
    cells: list[Cell]


@dataclass(frozen=True)
class Row:
    number: int  # of the package in this report: its colour and its anchor
    evidence: Evidence
    cells: list[Cell]
    devices: list[DeviceRow]


_SIZES = (Column("size", "package", "Size", "MB", "all files of the package", "low", 1e-6),)
_DETECTORS = (
    Column("size", "parameters", "Params", "M", "parameters in the package", "low", 1e-6),
    Column(
        "accuracy",
        "mAP50-95",
        "mAP50-95",
        "0–1",
        "COCO mean average precision, of the artefact itself",
        "high",
        decimals=3,
    ),
    Column(
        "accuracy",
        "mAP50-95 drop",
        "Drop",
        "0–1",
        "mAP50-95 of the float original minus that of the package",
        "low",
        decimals=4,
    ),
    Column(
        "parity",
        "SNR",
        "SNR",
        "dB",
        "signal to noise against the float original, of the worst output",
        "high",
        decimals=1,
    ),
)
_TEXTS = (
    Column(
        "accuracy",
        "KL divergence",
        "KL",
        "nats",
        "divergence from the float original's predictions, a token",
        "low",
        decimals=4,
    ),
    Column("accuracy", "perplexity", "Perplexity", "", "of the artefact itself on the text", "low", decimals=3),
    Column(
        "accuracy",
        "same top token",
        "Same top",
        "0–1",
        "how often float finds the same token likeliest",
        "high",
        decimals=3,
    ),
)
_LATENCIES = (
    Column("latency", "run median", "Median", "ms", "the engine alone, one image or token", "low"),
    Column("latency", "run p90", "p90", "ms", "nine of ten take less", "low"),
    Column("latency", "run p99", "p99", "ms", "99 of 100 take less", "low"),
)
_IMAGES = (
    Column(
        "latency", "total median", "Whole image", "ms", "median with preparing the image and finishing the boxes", "low"
    ),
)
_SPEEDS = (
    Column("speed", "decode", "Decode", "tok/s", "tokens written a second, with an empty context", "high", 1.0, 1),
    Column("speed", "decode, full context", "Full", "tok/s", "the same with a full context", "high", 1.0, 1),
    Column("speed", "prompt", "Prompt", "tok/s", "tokens of a prompt read a second", "high", 1.0, 1),
)
_LOADS = (
    Column("latency", "cold load", "Cold", "ms", "opening the package, files not in the page cache", "low"),
    Column("latency", "warm load", "Warm", "ms", "opening the package again", "low"),
    Column("memory", "peak", "Memory", "MB", "peak resident memory of the whole process", "low", 1e-6, 1),
)


def package_columns(found: Sequence[Evidence]) -> tuple[Column, ...]:
    """What is asked of packages: of detectors, language models, or both."""
    tasks = {e.manifest.task for e in found}
    return (*_SIZES, *(_DETECTORS if "detection" in tasks else ()), *(_TEXTS if "text-generation" in tasks else ()))


def device_columns(found: Sequence[Evidence]) -> tuple[Column, ...]:
    """What is measured of them on a device."""
    tasks = {e.manifest.task for e in found}
    images, texts = "detection" in tasks, "text-generation" in tasks
    return (*_LATENCIES, *(_IMAGES if images else ()), *(_SPEEDS if texts else ()), *_LOADS)


def rows(found: Sequence[Evidence]) -> list[Row]:
    """A row a package, with a line for each device it was measured on; the best cells marked."""
    of_package, of_device = package_columns(found), device_columns(found)
    made = []
    for number, evidence in enumerate(found):
        measured = evidence.receipt.measurements
        cells = [_cell(c, _find(measured, c, None)) for c in of_package]
        devices = [
            DeviceRow(label, [_cell(c, _find(measured, c, label)) for c in of_device])
            for label in evidence.labels or [""]
        ]
        for cell in (*cells, *(c for d in devices for c in d.cells)):
            cell.same = f"{evidence.manifest.task} {cell.same}"  # an image is no token
        made.append(Row(number, evidence, cells, devices))
    for i, column in enumerate(of_package):
        _mark_best(column, [row.cells[i] for row in made])
    for i, column in enumerate(of_device):
        _mark_best(column, [d.cells[i] for row in made for d in row.devices])
    return made


def worst_snr(measured: Iterable[Measurement]) -> Measurement | None:
    """The parity figure of the output that fares worst."""
    found = [m for m in measured if m.group == "parity" and m.name.endswith("SNR")]
    return min(found, key=lambda m: m.value, default=None)


def _find(measured: Sequence[Measurement], column: Column, device: str | None) -> Measurement | None:
    if column.group == "parity":
        return worst_snr(measured)
    return next(
        (m for m in measured if (m.group, m.name) == (column.group, column.name) and device in (None, m.device)), None
    )


def _cell(column: Column, found: Measurement | None) -> Cell:
    # A device that cannot tell its memory reports 0: that is an absence, not a figure.
    if found is None or (column.group == "memory" and found.value == 0):
        return Cell(title=f"{column.explain}: not measured")
    if column.group == "parity" and found.value >= _SAME:
        text = "identical"
    else:
        text = _number(found.value, column)
    interval = "" if found.interval is None else " to ".join(_number(v, column) for v in found.interval)
    same = found.note if column.group in ("accuracy", "parity") else found.device
    return Cell(text, interval, TAGS[found.provenance], _title(column, found), found.value, same)


def _number(value: float, column: Column) -> str:
    scaled = value * column.scale
    decimals = column.decimals if abs(scaled) < 100 else min(column.decimals, 1)
    return f"{round(scaled, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0: no minus zero


def _title(column: Column, found: Measurement) -> str:
    name = found.name if column.group == "parity" else column.explain
    parts = [f"{name}: {found.value:.6g} {found.unit if found.unit != '1' else ''}".strip(), found.provenance]
    if found.samples > 1:
        parts.append(f"{found.samples} samples")
    return "; ".join([*parts, *filter(None, (found.device, found.note, found.command))])


def _mark_best(column: Column, cells: Sequence[Cell]) -> None:
    """Among values that may be compared, when they differ at all as shown."""
    for same in {c.same for c in cells}:
        rivals = [c for c in cells if c.same == same and c.value is not None]
        if len({c.text for c in rivals}) < 2:
            continue
        values = [c.value for c in rivals if c.value is not None]
        best = min(values) if column.better == "low" else max(values)
        text = next(c.text for c in rivals if c.value == best)
        for cell in rivals:
            cell.best = cell.text == text
