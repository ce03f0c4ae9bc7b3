"""What `convert` says when it has finished: one row a package, then what needs a sentence."""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgekit.cli.output import number, table
from edgekit.conversion.outcome import Outcome
from edgekit.package.receipt import Reason, Receipt
from edgekit.spec import Precision
from edgekit.tasks.base import find_task
from edgekit.tasks.columns import RATIO, SIZE, Column


def summary(outcomes: Sequence[Outcome]) -> str:
    """For people; each note once, with the packages it is about."""
    lines = [_table(outcomes)]
    said: dict[str, list[str]] = {}
    for o in outcomes:
        for text in o.receipt.notes:
            said.setdefault(text, []).append(o.name)
    lines += [f"\n{click.style('note', fg='yellow')} {', '.join(names)}: {text}" for text, names in said.items()]
    for o in outcomes:
        for trip in o.receipt.cannot_tell if o.path else ():
            lines.append(f"\n{click.style('cannot tell', fg='yellow')} {o.name}: {trip.message}")
    for o in outcomes:
        for trip in o.receipt.trips if o.refused else ():
            lines.append(f"\n{click.style('refused', fg='red', bold=True)} {o.name}: {trip.message}")
            if trip.details:
                lines.append("  layers that cost most (error they alone cause):")
                lines += [f"    {d}" for d in trip.details]
            lines.append(f"  next: {_next(trip.reason, o)}, or --allow {trip.reason} to write it all the same")
    return "\n".join(lines)


def _table(outcomes: Sequence[Outcome]) -> str:
    columns = _columns(outcomes)
    rows = [[o.name, *(_value(o.receipt, c) for c in columns), _verdict(o)] for o in outcomes]
    header = ["package", *(c.brief for c in columns), "verdict"]
    known = [i for i, column in enumerate(zip(*rows)) if set(column) != {"-"}]
    lines = [table([[r[i] for i in known] for r in rows], [header[i] for i in known])]
    lines += [f"in {f}" for f in dict.fromkeys(str(o.path.parent) for o in outcomes if o.path)]
    if any(_verdict(o).endswith("*") for o in outcomes):
        lines.append("* as far as checked: edgekit inspect PACKAGE says what was not")
    return "\n".join(lines)


def _columns(outcomes: Sequence[Outcome]) -> list[Column]:
    tasks = [find_task(name) for name in dict.fromkeys(o.task for o in outcomes)]
    return [SIZE, *(c for t in tasks for c in t.columns if c.brief), RATIO]


def _value(receipt: Receipt, column: Column) -> str:
    rows = (m for m in receipt.measurements if (m.group, m.name) == (column.group, column.name))
    measured = next(rows, None)
    if measured is None:
        return "-"
    digits = column.brief_decimals
    return number(measured.value, measured.unit) if digits is None else f"{measured.value:.{digits}f}"


def _verdict(outcome: Outcome) -> str:
    if outcome.refused:
        return "refused"
    verdict = outcome.receipt.verdict
    return "good*" if verdict.startswith("good,") else verdict


def _next(reason: Reason, outcome: Outcome) -> str:
    """A hint on what helps a package that tripped for this reason."""
    if reason is Reason.SLOWER:
        return "use the float package on this processor"
    if reason is Reason.MISREAD:
        return "check the source, and that the data is of its kind"
    precision = outcome.precision
    if precision is Precision.FP16:
        return "use fp32 where the target has it: half precision is too coarse for this model"
    if precision.is_float:
        return "report it with its receipt: a float package should compute what its source does"
    advice: str = find_task(outcome.task).advice(precision)
    return advice
