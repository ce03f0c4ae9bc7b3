"""The page as plain data: header, warnings, table, plots and what stands behind each package."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from edgekit import __version__
from edgekit.package.receipt import Measurement, Provenance
from edgekit.package.search import Ranges, Region, Step
from edgekit.report.collect import Evidence, Measured
from edgekit.report.figures import Figure, launch_figures, quality_figures, sustained_figures
from edgekit.report.table import TAGS, Row, device_columns, package_columns, rows
from edgekit.tasks.columns import Column

COSTLY = 12  # layers shown; a detector has some two hundred


@dataclass(frozen=True)
class Fact:
    name: str
    value: str


@dataclass(frozen=True)
class DeviceCard:
    """A device that something was measured on, as it described itself at the time."""

    name: str
    facts: list[Fact]


@dataclass(frozen=True)
class Search:
    """How the quantisation was found. `where`: how layers are left that cost too much."""

    where: str
    ranges: list[Ranges]
    steps: list[Step]
    costly: list[Region]
    layers: int
    floats: list[str]


@dataclass(frozen=True)
class Detail:
    """The details of one package."""

    row: Row
    source: list[Fact]
    toolchain: list[Fact]
    search: Search | None
    figures: list[Measurement]
    commands: list[str]  # distinct ones that gave the figures


@dataclass(frozen=True)
class Page:
    title: str
    written: str
    version: str
    devices: list[DeviceCard]
    short: dict[str, str]  # names of devices by their label
    warnings: list[str]
    package_columns: tuple[Column, ...]
    device_columns: tuple[Column, ...]
    tags: dict[str, str]
    rows: list[Row]
    quality: list[Figure]
    launches: list[Figure]
    details: list[Detail]


def build(packages: Sequence[Evidence], date: datetime | None = None) -> Page:
    """`date`: when the report says it was written; now, unless given."""
    table = rows(packages)
    names = [e.manifest.name for e in packages]
    short = short_names(label for e in packages for label in e.labels)
    title = names[0] if len(names) == 1 else f"{len(names)} packages compared"
    return Page(
        title=title,
        written=f"{date or datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        version=__version__,
        devices=_devices(packages, short),
        short=short,
        warnings=_warnings(packages, short),
        package_columns=package_columns(packages),
        device_columns=device_columns(packages),
        tags={letter: provenance.value for provenance, letter in TAGS.items()},
        rows=table,
        quality=quality_figures(table, short),
        launches=[figure for row in table for figure in (*launch_figures(row, short), *sustained_figures(row))],
        details=[_detail(row) for row in table],
    )


def short_names(labels: Iterable[str]) -> dict[str, str]:
    """`local` for `local: chip, threads`, numbered where several begin alike."""
    unique = list(dict.fromkeys(labels))
    names = [label.partition(": ")[0] for label in unique]
    return {
        label: name if names.count(name) == 1 else f"{name} ({names[: i + 1].count(name)})"
        for i, (label, name) in enumerate(zip(unique, names))
    }


def _devices(packages: Sequence[Evidence], short: dict[str, str]) -> list[DeviceCard]:
    stored: dict[str, list[Measured]] = {}
    for measured in (m for e in packages for m in e.measured):
        stored.setdefault(measured.label, []).append(measured)
    return [DeviceCard(name, _device_facts(label, stored.get(label, []))) for label, name in short.items()]


def _device_facts(label: str, profiles: Sequence[Measured]) -> list[Fact]:
    if not profiles:
        return [
            Fact("device", label),
            Fact("known from", "receipts only; the results database here has no launches of it"),
        ]
    measured = profiles[-1]
    info, result = measured.result.device, measured.result
    engines = ", ".join(dict.fromkeys(m.result.engine for m in profiles))
    facts = [
        Fact("chip", info.chip),
        Fact("cores", f"{info.cores}, threads used: {result.threads}"),
        Fact("system", info.system),
        Fact("memory", f"{info.memory_bytes / 1e9:.1f} GB" if info.memory_bytes else "not measured"),
        Fact("engine", engines),
        Fact("measured", f"{datetime.fromisoformat(measured.profile.created):%Y-%m-%d %H:%M} UTC"),
    ]
    return facts + [Fact(k.replace("_", " "), v) for k, v in sorted(info.facts.items())]


def _warnings(packages: Sequence[Evidence], short: dict[str, str]) -> list[str]:
    """Warnings about figures that are doubtful, or not comparable with each other."""
    said: dict[str, list[str]] = {}  # each text once, with the packages it is about
    sessions: dict[str, set[str]] = {}
    for evidence in packages:
        texts = [trip.message for trip in evidence.receipt.trips]
        texts += [_published(m) for m in evidence.receipt.measurements if _is_slow_elsewhere(m)]
        for measured in evidence.measured:
            where = short[measured.label]
            texts += [f"{where}: {text}" for text in measured.result.warnings]
            if not all(x.cold_is_cold for x in measured.result.launches):
                texts.append(f"{where}: files could not be evicted, so the cold load is not cold")
            sessions.setdefault(where, set()).add(measured.profile.session)
        for text in texts:
            said.setdefault(text, []).append(evidence.manifest.name)
    warnings = [f"{text} ({', '.join(names)})" for text, names in said.items()]
    warnings += [
        f"{where}: measured in {len(seen)} sessions, so a drift of the machine counts as a difference; "
        "one edgekit profile of all packages interleaves them"
        for where, seen in sessions.items()
        if len(seen) > 1
    ]
    images = {
        m.note.partition(";")[0]
        for e in packages
        for m in e.receipt.measurements
        if (m.group, m.name) == ("accuracy", "mAP50-95")
    }
    if len(images) > 1:
        warnings.append(
            f"accuracy was measured on different images ({' against '.join(sorted(images))}), so it does not compare"
        )
    return warnings


def _is_slow_elsewhere(m: Measurement) -> bool:
    """Whether others measured such a network to be slower than float, on this chip."""
    ratio = m.provenance is Provenance.PUBLISHED and m.name == "published ratio to float"
    return ratio and m.value > 1


def _published(m: Measurement) -> str:
    return f"published: {m.value:.0f} times as slow as float on {m.device}; not measured here"


def _detail(row: Row) -> Detail:
    evidence = row.evidence
    manifest, measured = evidence.manifest, evidence.receipt.measurements
    source = manifest.source
    known = [
        Fact("file", str(source.get("name", ""))),
        Fact("kind", str(source.get("kind", ""))),
        Fact("layout", str(source.get("layout", ""))),
        Fact("SHA-256", str(source.get("sha256", ""))),
        Fact("licence", str(source.get("licence", "") or "not stated by the source")),
        Fact("bytes", _count(source.get("bytes"))),
        Fact("parameters", _change(source.get("parameters"), measured, "parameters")),
        Fact("FLOPs an image", _change(source.get("flops"), measured, "FLOPs")),
    ]
    toolchain = manifest.toolchain
    tools = [
        Fact("engine", f"{manifest.engine.name} {manifest.engine.versions}"),
        Fact("backend", str(toolchain.get("backend", ""))),
        *[Fact(str(k), str(v)) for k, v in sorted(_mapping(toolchain.get("versions")).items())],
        *[Fact(str(k).replace("_", " "), _plain(v)) for k, v in sorted(_mapping(toolchain.get("settings")).items())],
    ]
    commands = list(dict.fromkeys(m.command for m in measured if m.command))
    return Detail(row, [f for f in known if f.value], tools, _search(evidence), list(measured), commands)


def _search(evidence: Evidence) -> Search | None:
    tried = evidence.receipt.search
    ranges = [r for r in tried if isinstance(r, Ranges)]
    steps = [r for r in tried if isinstance(r, Step)]
    regions = [r for r in tried if isinstance(r, Region)]
    if not (ranges or steps or regions):  # jobs of AI Hub alone, say
        return None
    regions.sort(key=lambda r: -r.cost)
    where = str(_mapping(evidence.manifest.toolchain.get("settings")).get("kept", "in float"))
    floats = [r.name for r in regions if r.float]
    return Search(where, ranges, steps, regions[:COSTLY], len(regions), floats)


def _change(before: object, measured: Sequence[Measurement], name: str) -> str:
    after = next((m.value for m in measured if (m.group, m.name) == ("size", name)), None)
    return f"{_count(before) or 'not measured'} in the source, {_count(after) or 'not measured'} in the package"


def _count(value: object) -> str:
    return f"{value:,.0f}" if isinstance(value, (int, float)) else ""


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
