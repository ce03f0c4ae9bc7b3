"""edgekit profile --ops: what the operators of packages cost, as tables."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import click

from edgekit.cli.output import Given, emit, number, table
from edgekit.system.documents import JsonObject
from edgekit.system.redaction import printable

_SLOWEST = 10
_WIDTH = 80
_MEASURED = (
    "Measured while the engine was profiled, which takes time itself. The latency of a package is "
    "what `edgekit profile` says without --ops."
)


def show(packages: Sequence[str], options: Given, as_json: bool) -> None:
    """Looks at the packages and prints what was seen. `options`: those of `edgekit profile`."""
    from edgekit.devices.address import open_device
    from edgekit.devices.base import Plan
    from edgekit.profiling.operators import operators

    device = open_device(options["device"])
    plan = Plan(options["iterations"], options["warmup"], options["seconds"], options["threads"])
    results, info = operators(packages, plan, device), device.info()
    device.finished()
    if as_json:
        emit("operators", device=info, results=results)
        return
    click.echo(f"{info.name}: {info.chip}")
    for result in results:
        click.echo("\n" + text(result))
        for warning in result["warnings"]:
            click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    if any(r["milliseconds"]["profiled"] for r in results):
        click.echo("\n" + _fill(_MEASURED))


def text(result: JsonObject) -> str:
    """One package: what runs where, kinds of operators, the slowest ones, and how it adds up."""
    operators, delegate = result["operators"], result["delegate"]
    timed = result["milliseconds"]["operators"] is not None
    parts = [
        click.style(printable(result["package"]), bold=True)
        + f": {result['library']}, {_plural(result['threads'], 'thread')}"
    ]
    if operators:
        where = _fill(placement(result["counts"], delegate))
        parts += [where, "", kinds(operators, delegate, timed)]
    if timed:
        parts += ["", slowest(operators)]
    parts += ["", sums(result["milliseconds"])]
    return "\n".join([*parts, _fill(result["note"])] if result["note"] else parts)


def placement(counts: JsonObject, delegate: str | None) -> str:
    """One sentence on which part of the engine runs how many operators."""
    total = counts["total"]
    if delegate is None:
        where = ", ".join(f"{n} in {place}" for place, n in counts["placed"].items())
        return f"{_plural(total, 'operator')}: {where}."
    within = f", in {_plural(counts['partitions'], 'partition')}" if counts["partitions"] else ""
    left = ", ".join(f"{kind} {n}" for kind, n in counts["left"].items())
    rest = f"; not delegated: {left}" if left else ""
    return f"{counts['delegated']} of {_plural(total, 'operator')} run in {delegate}{within}{rest}."


def kinds(operators: list[JsonObject], delegate: str | None, timed: bool) -> str:
    """A row for each kind of operator, those that take most first."""
    groups: dict[str, list[JsonObject]] = {}
    for operator in operators:
        groups.setdefault(operator["kind"], []).append(operator)
    times = {kind: _time(group) for kind, group in groups.items()}
    total = sum(times.values()) or 1.0
    rows = []
    for kind, group in sorted(groups.items(), key=lambda g: (-times[g[0]], -len(g[1]), g[0])):
        row = [kind, f"{len(group):5d}"]
        if delegate:
            row.append(f"{sum(o['placed'] == delegate for o in group):{len(delegate)}d}")
        if timed:
            row += [f"{times[kind]:9.3f}", f"{times[kind] / total:6.1%}"]
        if delegate and timed:
            row.append(f"{sum(o['merged'] for o in group) or '':>6}")
        rows.append(row)
    header = ["kind", "count", *([delegate] if delegate else []), *(["       ms", " share"] * timed)]
    note = ["merged"] if delegate and timed else []
    lines = table(rows, header + note)
    if any(o["merged"] for o in operators):
        lines += "\nmerged: computed along with a neighbour, which has the time, or when loading"
    return lines


def slowest(operators: list[JsonObject]) -> str:
    total = _time(operators) or 1.0
    first = sorted(operators, key=lambda o: -(o["milliseconds"] or 0.0))[:_SLOWEST]
    rows = [
        (
            f"{o['milliseconds'] or 0.0:8.3f}",
            f"{(o['milliseconds'] or 0.0) / total:6.1%}",
            o["kind"],
            "x".join(map(str, o["shape"] or ())),
            o["name"],
        )
        for o in first
    ]
    return table(rows, ("      ms", " share", "slowest", "result", "name"))


def sums(milliseconds: dict[str, float | None]) -> str:
    """How the operators add up to a whole run."""
    run, profiled = milliseconds["run"], milliseconds["profiled"]
    assert run is not None
    whole = f"Whole run {number(run, 'ms')}"
    if profiled is None:
        return f"{whole}; the time of single operators is not known."
    operators, rest = milliseconds["operators"] or 0.0, milliseconds["unattributed"] or 0.0
    return (
        f"{whole}, {number(profiled, 'ms')} while profiled ({profiled / run - 1:+.1%})."
        f"\nOperators {number(operators, 'ms')}, in no operator {number(rest, 'ms')}."
    )


def _time(operators: list[JsonObject]) -> float:
    return sum(o["milliseconds"] or 0.0 for o in operators)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" + "s" * (count != 1)


def _fill(sentence: str) -> str:
    return textwrap.fill(sentence, _WIDTH, break_on_hyphens=False)
