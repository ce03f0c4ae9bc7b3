"""edgekit profile"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.completion import PATH, complete_devices
from edgekit.cli.output import Given, common_options, emit, number, table, threads_option
from edgekit.cli.unused import check_needs, check_without

if TYPE_CHECKING:
    from edgekit.devices.base import Device
    from edgekit.package.receipt import Measurement
    from edgekit.profiling.agreement import Agreement
    from edgekit.profiling.sampler import Result


@click.command()
@click.argument("packages", nargs=-1, required=True, type=PATH)
@click.option(
    "-d", "--device", shell_complete=complete_devices, default="local", show_default=True, help="See `edgekit devices`."
)
@click.option("--launches", type=click.IntRange(1), default=5, show_default=True, help="Fresh processes a package.")
@click.option("--iterations", type=click.IntRange(1), default=50, show_default=True, help="Runs a launch.")
@click.option("--warmup", type=click.IntRange(1), default=5, show_default=True, help="Runs before the measured ones.")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="A launch measures no longer.")
@threads_option
@click.option(
    "--store", metavar="FILE", type=PATH, help="Database for the raw samples (default: see `edgekit doctor`)."
)
@click.option("--no-record", is_flag=True, help="Leave the packages' receipts as they are.")
@click.option("--ops", is_flag=True, help="Time each operator instead, on this machine; nothing is recorded.")
@click.option(
    "--source", metavar="MODEL", type=PATH, help="Compare outputs there with this float original's here, too."
)
@click.option("--images", metavar="DATA", type=PATH, help="With --source: what to compare on (default: noise).")
@click.option("--image-count", type=click.IntRange(1), default=8, show_default=True, help="Of --images, at most.")
@common_options
@click.pass_context
def command(context: click.Context, /, packages: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure latency, load time and memory of PACKAGES on a device.

    Every launch is a fresh process; launches of several packages alternate. Intervals are 95 % of
    the median and resample launches: they say what another day's launches would give.
    """
    check_needs(context)
    if options["ops"]:
        from edgekit.cli.operators import show

        check_without(context, ("source", "store", "no_record", "launches"), "--ops measures once, and records nothing")
        show(packages, options, as_json)
        return
    from edgekit.devices.address import open_device
    from edgekit.devices.base import Plan
    from edgekit.profiling.sampler import profile
    from edgekit.store.database import Store

    plan = Plan(options["iterations"], options["warmup"], options["seconds"], options["threads"])
    store = Store(Path(options["store"]) if options["store"] else None)
    device, record = open_device(options["device"]), not options["no_record"]
    compared = _compare(packages, device, options, record) if options["source"] else {}
    results = profile(packages, device, launches=options["launches"], plan=plan, store=store, record=record)
    if as_json:
        rows = [
            {
                **{f.name: getattr(r, f.name) for f in dataclasses.fields(r) if f.name != "launches"},
                "outputs": compared.get(r.package, []),
                "layers": r.launches[0].host.layers,
            }
            for r in results
        ]
        emit("profile", store=str(store.path), results=rows)
        return
    _show(results)
    for name, measurements in compared.items():
        click.echo(f"\n{name}, outputs against float:")
        click.echo(
            table(
                [(m.name, number(m.value, m.unit), m.provenance, m.note) for m in measurements],
                ("what", "value", "how", "on"),
            )
        )
    click.echo(f"raw samples: {store.path}")


def _compare(packages: tuple[str, ...], device: Device, options: Given, record: bool) -> dict[str, list[Measurement]]:
    """Outputs on the device against the float original's, by package."""
    from edgekit.conversion.compare import compare_outputs
    from edgekit.data.images import read_dataset
    from edgekit.package import Package

    images = read_dataset(options["images"]).first(options["image_count"]) if options["images"] else None
    opened = [Package(p) for p in packages]
    return {p.manifest.name: compare_outputs(p, options["source"], images, device, record) for p in opened}


def _show(results: list[Result]) -> None:
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
                f"{r.cold_load_s * 1e3:.0f}/{r.warm_load_s * 1e3:.0f}",
                f"{r.peak_memory_bytes / 1e6:.0f}",
            )
        )
    header = ("package", "run ms", "95 %", "p90", "p99", "total", "cold/warm", "MB")
    if lines:
        click.echo(table(lines, header))
    texts = [] if simulated else [r for r in results if r.launches[0].text]
    if texts:
        click.echo(_texts(texts))
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


def _agreement(a: Agreement) -> str:
    from edgekit.profiling.agreement import EQUAL_DB

    return f"{a.output} {'equal' if a.snr_db == EQUAL_DB else f'{a.snr_db:.0f} dB'}"


def _texts(results: list[Result]) -> str:
    """Language models: tokens a second."""
    from edgekit.profiling.sampler import text_speeds

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
