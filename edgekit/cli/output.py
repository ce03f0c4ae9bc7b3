"""What every verb shares: the --json option, tables, numbers as people read them."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from edgekit.redaction import printable
from edgekit.spec import to_json

_THREADS = 1024  # as runtime.cores has it, which is not imported for a page of help

F = TypeVar("F", bound=Callable[..., Any])


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")(
        function
    )


def threads_option(function: F) -> F:
    return click.option(
        "--threads", type=click.IntRange(1, _THREADS), help="Default: the free big cores."
    )(function)  # fmt: skip


def emit(schema: str, **data: Any) -> None:
    """One versioned JSON document on stdout."""
    click.echo(json.dumps({"schema": f"edgekit.{schema}/1", **to_json(data)}, indent=2))


def table(rows: Sequence[Sequence[str]], header: Sequence[str]) -> str:
    """Left-aligned columns; the last one wraps to the terminal's width."""
    width = shutil.get_terminal_size((80, 24)).columns
    every = [list(header), *[[printable(c) for c in r] for r in rows]]
    sizes = [max(len(click.unstyle(r[i])) for r in every) for i in range(len(header))]
    room = max(width - sum(sizes[:-1]) - 2 * (len(sizes) - 1), 20)
    lines = []
    for row in every:
        cells = [c + " " * (s - len(click.unstyle(c))) for c, s in zip(row, sizes)]
        start = "  ".join(cells[:-1])
        wrapped = textwrap.wrap(row[-1], room) or [""]
        lines.append((f"{start}  {wrapped[0]}" if start else wrapped[0]).rstrip())
        lines += [" " * (len(click.unstyle(start)) + 2) + more for more in wrapped[1:]]
    lines[0] = click.style(lines[0], bold=True)
    return "\n".join(lines)


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
