"""The comparison table: columns, cells with their provenance, and which value is best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgekit.package.receipt import Measurement, Provenance
from edgekit.report.collect import Evidence
from edgekit.tasks.base import find_task
from edgekit.tasks.columns import LATENCIES, LOADS, SIZE, Column

TAGS = {
    Provenance.MEASURED: "m",
    Provenance.BROWSER: "b",
    Provenance.SIMULATED: "s",
    Provenance.PUBLISHED: "p",
    Provenance.ESTIMATED: "e",
}
_SAME = 200.0  # dB that parity writes when two runs agree to the last bit


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


def package_columns(packages: Sequence[Evidence]) -> tuple[Column, ...]:
    """The columns of packages: their size, and what their tasks measure."""
    return (SIZE, *(c for c in _of_tasks(packages) if not c.per_device))


def device_columns(packages: Sequence[Evidence]) -> tuple[Column, ...]:
    """The columns of a package on a device: latencies, what its task measures there, and loading."""
    return (*LATENCIES, *(c for c in _of_tasks(packages) if c.per_device), *LOADS)


def _of_tasks(packages: Sequence[Evidence]) -> Iterable[Column]:
    names = sorted({e.manifest.task for e in packages})
    return dict.fromkeys(c for name in names for c in find_task(name).columns)


def rows(packages: Sequence[Evidence]) -> list[Row]:
    """A row a package, with a line for each device it was measured on; the best cells marked."""
    of_package, of_device = package_columns(packages), device_columns(packages)
    table = []
    for number, evidence in enumerate(packages):
        measured = evidence.receipt.measurements
        cells = [_cell(c, _find(measured, c, None)) for c in of_package]
        devices = [
            DeviceRow(label, [_cell(c, _find(measured, c, label)) for c in of_device])
            for label in evidence.labels or [""]
        ]
        for cell in (*cells, *(c for d in devices for c in d.cells)):
            cell.same = f"{evidence.manifest.task} {cell.same}"  # an image is no token
        table.append(Row(number, evidence, cells, devices))
    for i, column in enumerate(of_package):
        _mark_best(column, [row.cells[i] for row in table])
    for i, column in enumerate(of_device):
        _mark_best(column, [d.cells[i] for row in table for d in row.devices])
    return table


def worst_snr(measured: Iterable[Measurement]) -> Measurement | None:
    """The parity figure of the output that fares worst."""
    ratios = [m for m in measured if m.group == "parity" and m.name.endswith("SNR")]
    return min(ratios, key=lambda m: m.value, default=None)


def _find(measured: Sequence[Measurement], column: Column, device: str | None) -> Measurement | None:
    if column.group == "parity":
        return worst_snr(measured)
    return next(
        (m for m in measured if (m.group, m.name) == (column.group, column.name) and device in (None, m.device)), None
    )


def _cell(column: Column, measurement: Measurement | None) -> Cell:
    # A device that cannot tell its memory reports 0: that is an absence, not a figure.
    if measurement is None or (column.group == "memory" and measurement.value == 0):
        return Cell(title=f"{column.explain}: not measured")
    if column.group == "parity" and measurement.value >= _SAME:
        text = "identical"
    else:
        text = _number(measurement.value, column)
    interval = "" if measurement.interval is None else " to ".join(_number(v, column) for v in measurement.interval)
    same = measurement.note if column.group in ("accuracy", "parity") else measurement.device
    return Cell(text, interval, TAGS[measurement.provenance], _title(column, measurement), measurement.value, same)


def _number(value: float, column: Column) -> str:
    scaled = value * column.scale
    decimals = column.decimals if abs(scaled) < 100 else min(column.decimals, 1)
    return f"{round(scaled, decimals) + 0.0:.{decimals}f}".replace("-", "−")  # + 0.0: no minus zero


def _title(column: Column, measurement: Measurement) -> str:
    name = measurement.name if column.group == "parity" else column.explain
    parts = [
        f"{name}: {measurement.value:.6g} {measurement.unit if measurement.unit != '1' else ''}".strip(),
        measurement.provenance,
    ]
    if measurement.samples > 1:
        parts.append(f"{measurement.samples} samples")
    return "; ".join([*parts, *filter(None, (measurement.device, measurement.note, measurement.command))])


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
