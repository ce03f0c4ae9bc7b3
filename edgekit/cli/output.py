"""What every verb shares: the --json option, tables, numbers as people read them."""

from __future__ import annotations

import json
import os
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import click

from edgekit.spec import to_json
from edgekit.system.redaction import printable

_SHORT = 22  # signs of a cell that is not broken
_THREADS = 1024  # as runtime.cores has it, which is not imported for a page of help

F = TypeVar("F", bound=Callable[..., Any])
# Options by name. Their values are `Any`, since click has made each what its option says.
Given: TypeAlias = dict[str, Any]


def _set(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    """Said in the environment, which the processes that do the work inherit."""
    if value:
        os.environ[f"EDGEKIT_{str(parameter.name).upper()}"] = "1"


_COMMON = (
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_set, help="No progress on stderr."),
    click.option(
        "-v",
        "--verbose",
        is_flag=True,
        expose_value=False,
        callback=_set,
        help="The time of each step, what was taken from the cache, and where an error arose.",
    ),
)


def common_options(function: F) -> F:
    """What every verb takes: --json (as `as_json`), --quiet and --verbose."""
    for option in reversed(_COMMON):
        function = option(function)
    return function


def threads_option(function: F) -> F:
    return click.option(
        "--threads", type=click.IntRange(1, _THREADS), help="Default: the big cores that the process may use."
    )(function)


def emit(schema: str, **data: object) -> None:
    """One versioned JSON document on stdout."""
    click.echo(json.dumps({"schema": f"edgekit.{schema}/1", **to_json(data)}, indent=2))


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Left-aligned columns; the last one wraps to the terminal's width. Where that leaves it no room, the first
    column stands above the rest."""
    every = [list(header), *[[printable(c) for c in r] for r in rows]]
    width = shutil.get_terminal_size((80, 24)).columns
    if _room(every, width) < _need(every) <= _room([r[1:] for r in every], width - 2):
        below = _aligned([r[1:] for r in every], width - 2)
        lines = [line for row, under in zip(every, below) for line in (row[0], *(f"  {u}" for u in under))]
        bold = 1 + len(below[0])
    else:
        aligned = _aligned(every, width)
        lines, bold = [line for row in aligned for line in row], len(aligned[0])
    return "\n".join([*(click.style(line, bold=True) for line in lines[:bold]), *lines[bold:]])


def _room(rows: Sequence[Sequence[str]], width: int) -> int:
    """For the last column, in signs."""
    return width - sum(s + 2 for s in _sizes(rows)[:-1])


def _need(rows: Sequence[Sequence[str]]) -> int:
    """So many signs that no short cell of the last column is broken."""
    return min(max(len(click.unstyle(r[-1])) for r in rows), _SHORT)


def _sizes(rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(len(click.unstyle(c)) for c in column) for column in zip(*rows)]


def _aligned(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The lines of each row."""
    sizes, room = _sizes(rows), max(_room(rows, width), 20)
    columns = []
    for row in rows:
        cells = [c + " " * (s - len(click.unstyle(c))) for c, s in zip(row, sizes)]
        start = "  ".join(cells[:-1])
        wrapped = textwrap.wrap(row[-1], room) or [""]
        lines = [(f"{start}  {wrapped[0]}" if start else wrapped[0]).rstrip()]
        columns.append(lines + [" " * (len(click.unstyle(start)) + 2) + more for more in wrapped[1:]])
    return columns


def number(value: float, unit: str) -> str:
    """2093984 parameters as 2.09 M, bytes as MB, milliseconds with two decimals."""
    if unit == "bytes":
        return f"{value / 1e6:.2f} MB" if value < 1e9 else f"{value / 1e9:.2f} GB"
    if unit in ("ms", "dB"):
        return f"{value:.2f} {unit}"
    if unit == "tok/s":
        return f"{value:.1f} {unit}"
    if unit == "nats":
        return f"{value:.3g} {unit}"
    if unit == "px":
        return f"{value:.3g} px"
    if unit == "1" and abs(value) >= 10000:
        for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
            if abs(value) >= size:
                return f"{value / size:.2f} {letter}"
    return f"{value:.4g}"


def interval(low_high: tuple[float, float] | Sequence[float] | None, unit: str) -> str:
    if low_high is None:
        return ""
    low, high = (number(v, unit).split(" ")[0] for v in low_high)
    return f"{low} to {high}"
