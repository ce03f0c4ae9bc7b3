"""What `edgekit profile` prints for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from edgekit.cli.output import number, table

if TYPE_CHECKING:
    from edgekit.profiling.agreement import Agreement
    from edgekit.profiling.result import Result


def show(results: list[Result]) -> None:
    info = results[0].device
    click.echo(f"{info.name}: {info.chip}")
    if info.cores:
        click.echo(f"{info.cores} cores, {number(info.memory_bytes, 'bytes')}, {info.system}")
    else:
        click.echo(info.system)
    engines = ", ".join(dict.fromkeys(r.engine for r in results))
    policy = info.facts.get("frequency_policy", "")
    words = [
        f"clock policy {policy}" if policy else "",
        f"{results[0].threads} threads" if results[0].threads else "",
        engines,
    ]
    click.echo("; ".join(w for w in words if w) + "\n")
    simulated = info.provenance == "simulated"
    lines = []
    for r in [] if simulated else results:
        low, high = r.run.interval
        if r.launches[0].text:
            continue
        lines.append(
            (
                r.package,
                f"{r.run.median * 1e3:.2f}",
                f"{low * 1e3:.2f} to {high * 1e3:.2f}",
                f"{r.run.p90 * 1e3:.2f}",
                f"{r.run.p99 * 1e3:.2f}",
                f"{r.total.median * 1e3:.2f}" if r.whole else "-",
                f"{r.cold_load_s * 1e3:.0f}/{f'{r.warm_load_s * 1e3:.0f}' if r.warm_load_s else '-'}",
                f"{r.peak_memory_bytes / 1e6:.0f}" if r.peak_memory_bytes else "-",
            )
        )
    header = ("package", "run ms", "95 %", "p90", "p99", "total", "cold/warm", "MB")
    if lines:
        click.echo(table(lines, header))
    texts = [] if simulated else [r for r in results if r.launches[0].text]
    if texts:
        click.echo(_texts(texts))
    if not simulated:
        for r in results:
            for line in _more(r):
                click.echo(f"{r.package}: {line}")
    for r in results:
        units = r.launches[0].host.compute_units
        if units:
            click.echo(f"{r.package}: layers on {', '.join(f'{u} {n}' for u, n in units.items())}")
    for r in results:
        if r.agreement:
            click.echo(f"{r.package}: outputs there and here: {', '.join(map(_agreement, r.agreement))}")
        for a in r.agreement:
            if not a.good:
                text = f"{r.package}: {a.output} differs from what this machine gives: {a.snr_db:.0f} dB"
                click.echo(f"{click.style('warning:', fg='yellow')} {text}", err=True)
    for warning in {w for r in results for w in r.warnings}:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    if simulated:
        click.echo("Emulated: its times are this machine's, so they are neither shown nor recorded as latency.")
    elif lines:
        click.echo("\nrun: engine alone; total: image to boxes; cold/warm: load, ms; MB: peak memory")


def _more(r: Result) -> Iterator[str]:
    """What only some measurements have, a line each."""
    if r.images_per_s:
        yield f"{r.images_per_s:.1f} runs a second of {r.streams} streams at once, {r.threads} threads each"
    s = r.sustained
    if s is None:
        return
    heat = f", {s.hottest_celsius:.0f} °C at most" if s.hottest_celsius is not None else ""
    yield (
        f"steady after {_time(s.steady_s)} of {_time(s.length_s)}: {s.steady_median_s * 1e3:.2f} ms{heat}"
        if s.throttled_s is None
        else f"throttled after {_time(s.throttled_s)}; steady after {_time(s.steady_s)} of {_time(s.length_s)}: "
        f"{s.steady_median_s * 1e3:.2f} ms, {s.slowdown:.2f} times the first {s.fresh_median_s * 1e3:.2f} ms{heat}"
    )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def _agreement(a: Agreement) -> str:
    from edgekit.profiling.agreement import EQUAL_DB

    return f"{a.output} {'equal' if a.snr_db == EQUAL_DB else f'{a.snr_db:.0f} dB'}"


def _texts(results: list[Result]) -> str:
    """Language models: tokens a second."""
    from edgekit.profiling.figures import text_speeds

    rows = []
    for r in results:
        speeds = {name: _speed(value) for name, value, _ in text_speeds(r)}
        low, high = (1 / s for s in reversed(r.run.interval))
        rows.append(
            (
                r.package,
                speeds["decode"],
                f"{_speed(low)} to {_speed(high)}",
                speeds.get("decode, full context", "-"),
                speeds["prompt"],
                f"{r.cold_load_s * 1e3:.0f}/{r.warm_load_s * 1e3:.0f}",
                f"{r.peak_memory_bytes / 1e6:.0f}",
            )
        )
    shown = table(rows, ("package", "decode", "95 %", "full", "prompt", "cold/warm", "MB"))
    text = results[0].launches[0].text
    assert text is not None
    return (
        f"{shown}\n\ntokens/s: decode with an empty context; full: after {text.depth} tokens\n"
        f"prompt: of {text.prompt_tokens} tokens; cold/warm: load, ms; MB: peak memory"
    )


def _speed(value: float) -> str:
    """Four digits are enough of tokens a second."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
