"""edgekit compare"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgekit.cli.completion import PATH, complete_devices
from edgekit.cli.output import common_options, emit, threads_option


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option(
    "-d", "--device", shell_complete=complete_devices, default="local", show_default=True, help="See `edgekit devices`."
)
@click.option("--launches", type=click.IntRange(2), default=7, show_default=True, help="Fresh processes of each.")
@click.option("--iterations", type=click.IntRange(1), default=50, show_default=True, help="Runs a launch.")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="A launch measures no longer.")
@threads_option
@click.option(
    "--store", metavar="FILE", type=PATH, help="Database for the raw samples (default: see `edgekit doctor`)."
)
@common_options
def command(a: str, b: str, as_json: bool, **options: Any) -> None:
    """Measure A and B with alternating launches and print how many times as long A takes.

    A ratio below 1 means that A is faster. When the interval holds 1, they cannot be told apart.
    """
    from edgekit.devices.base import Plan
    from edgekit.errors import UsageError
    from edgekit.package import Package
    from edgekit.profiling.sampler import compare, profile
    from edgekit.store.database import Store

    tasks = [Package(p).manifest.task for p in (a, b)]
    if tasks[0] != tasks[1]:
        raise UsageError(
            f"A {tasks[0]} model and a {tasks[1]} model are not compared",
            "a run of one is an image, of the other a token",
            "compare packages of one kind",
        )
    plan = Plan(options["iterations"], 5, options["seconds"], options["threads"])
    store = Store(Path(options["store"]) if options["store"] else None)
    results = profile([a, b], options["device"], launches=options["launches"], plan=plan, store=store, record=False)
    ratios = compare(results[0], results[1])
    if as_json:
        emit(
            "compare",
            a=results[0].package,
            b=results[1].package,
            device=results[0].device,
            ratios=ratios,
            warnings=sorted({w for r in results for w in r.warnings}),
        )
        return
    first, second = results
    both = (("run", "engine alone"), ("total", "image to boxes"))
    for name, what in both if first.whole else (("run", "a token" if first.launches[0].text else "engine alone"),):
        r = ratios[name]
        low, high = r.interval
        x, y = (getattr(s, name).median * 1e3 for s in results)
        verdict = "faster" if high < 1 else "slower" if low > 1 else "not told apart"
        click.echo(f"{what:14} {x:.2f} / {y:.2f} ms = {r.value:.3f} ({low:.3f} to {high:.3f})  {verdict}")
    click.echo(f"A {first.package}, B {second.package}, {ratios['run'].launches} launches each")
    click.echo(f"on {first.device.chip}; intervals are 95 %")
    for warning in sorted({w for s in results for w in s.warnings}):
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
