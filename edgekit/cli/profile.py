"""edgekit profile"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from edgekit.cli.output import emit, json_option, number, table


@click.command()
@click.argument("packages", nargs=-1, required=True)
@click.option("-d", "--device", default="local", show_default=True, help="See `edgekit devices`.")
@click.option(
    "--launches",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Fresh processes a package.",
)
@click.option(
    "--iterations", type=click.IntRange(1), default=50, show_default=True, help="Runs a launch."
)
@click.option(
    "--warmup",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Runs before the measured ones.",
)
@click.option(
    "--seconds", type=float, default=20.0, show_default=True, help="A launch measures no longer."
)
@click.option("--threads", type=click.IntRange(1), help="Default: the free big cores.")
@click.option(
    "--store", metavar="FILE", help="Database for the raw samples (default: see `edgekit doctor`)."
)
@click.option("--no-record", is_flag=True, help="Leave the packages' receipts as they are.")
@click.option(
    "--ops", is_flag=True, help="Time each operator instead, on this machine; nothing is recorded."
)
@json_option
def command(packages: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure latency, load time and memory of PACKAGES on a device.

    Every launch is a fresh process; launches of several packages alternate. Intervals are 95 % of
    the median and resample launches: they say what another day's launches would give.
    """
    if options["ops"]:
        from edgekit.cli.operators import show

        show(packages, options, as_json)
        return
    from edgekit.devices.base import Plan
    from edgekit.profiling.sampler import profile
    from edgekit.store.database import Store

    plan = Plan(options["iterations"], options["warmup"], options["seconds"], options["threads"])
    store = Store(Path(options["store"]) if options["store"] else None)
    results = profile(
        packages, options["device"], options["launches"], plan, store, not options["no_record"]
    )
    if as_json:
        rows = [
            {f.name: getattr(r, f.name) for f in dataclasses.fields(r) if f.name != "launches"}
            for r in results
        ]
        emit("profile", store=str(store.path), results=rows)
        return
    info = results[0].device
    click.echo(f"{info.name}: {info.chip}")
    click.echo(f"{info.cores} cores, {number(info.memory_bytes, 'bytes')}, {info.system}")
    policy = info.facts.get("frequency_policy", "unknown")
    engines = ", ".join(dict.fromkeys(r.engine for r in results))
    click.echo(f"clock policy {policy}; {results[0].threads} threads; {engines}\n")
    lines = []
    for r in results:
        low, high = r.run.interval
        lines.append((r.package, f"{r.run.median * 1e3:.2f}", f"{low * 1e3:.2f} to {high * 1e3:.2f}",
                     f"{r.run.p90 * 1e3:.2f}", f"{r.run.p99 * 1e3:.2f}", f"{r.total.median * 1e3:.2f}",
                     f"{r.cold_load_s * 1e3:.0f}/{r.warm_load_s * 1e3:.0f}",
                     f"{r.peak_memory_bytes / 1e6:.0f}"))  # fmt: skip
    header = ("package", "run ms", "95 %", "p90", "p99", "total", "cold/warm", "MB")
    click.echo(table(lines, header))
    for warning in {w for r in results for w in r.warnings}:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    click.echo("\nrun: engine alone; total: image to boxes; cold/warm: load, ms; MB: peak memory")
    click.echo(f"raw samples: {store.path}")
