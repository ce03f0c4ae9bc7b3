"""edgekit profile"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.bundles import MACHINE, write_bundle
from edgekit.cli.completion import PATH, complete_devices
from edgekit.cli.durations import duration
from edgekit.cli.output import Given, common_options, emit, number, table, threads_option
from edgekit.cli.profile_tables import show
from edgekit.cli.unused import check_needs, check_without

if TYPE_CHECKING:
    from edgekit.devices.base import Device
    from edgekit.package.receipt import Measurement


_OF_BUNDLES = ("packages", "bundle", "machine", "as_json", "quiet", "verbose", "help")


@click.command()
@click.argument("packages", nargs=-1, required=True, type=PATH)
@click.option(
    "-d", "--device", shell_complete=complete_devices, default="local", show_default=True, help="See `edgekit devices`."
)
@click.option("--host", help="With -d web: where its page is served (default: this machine alone).")
@click.option("--launches", type=click.IntRange(1), default=5, show_default=True, help="Fresh processes a package.")
@click.option("--iterations", type=click.IntRange(1), default=50, show_default=True, help="Runs a launch.")
@click.option("--warmup", type=click.IntRange(1), default=5, show_default=True, help="Runs before the measured ones.")
@click.option("--seconds", type=float, default=20.0, show_default=True, help="A launch measures no longer.")
@threads_option
@click.option(
    "--store", metavar="FILE", type=PATH, help="Database for the raw samples (default: see `edgekit doctor`)."
)
@click.option("--no-record", is_flag=True, help="Leave the packages' receipts as they are.")
@click.option(
    "--sustained",
    metavar="TIME",
    callback=duration,
    help="Then run on without a pause, as 10m or 90s: does it throttle? One launch.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Then so many copies at once: throughput.",
)
@click.option("--strict", is_flag=True, help="Record nothing, and exit with 1, when launches were noisy or throttled.")
@click.option(
    "--bundle",
    metavar="FILE",
    type=PATH,
    help="Measure nothing: write edgekit and the engines of PACKAGES to FILE, for a device without a network.",
)
@click.option(
    "--machine",
    default=MACHINE,
    show_default=True,
    help="With --bundle: the device's Python (cp313: 3.13) and processor.",
)
@click.option("--ops", is_flag=True, help="Time each operator instead; nothing is recorded.")
@click.option(
    "--source", metavar="MODEL", type=PATH, help="Compare outputs there with this float original's here, too."
)
@click.option("--images", metavar="DATA", type=PATH, help="Images to measure with, and to compare on (default: noise).")
@click.option("--image-count", type=click.IntRange(1), default=8, show_default=True, help="Of --images, at most.")
@common_options
@click.pass_context
def command(context: click.Context, /, packages: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Measure latency, load time and memory of PACKAGES on a device.

    \b
    edgekit profile dist/net-cpu-w8a8 dist/net-cpu-fp32
    edgekit profile dist/net-raspberry-pi-5-w8a8 -d ssh:pi@192.168.1.7
    edgekit profile dist/net-cpu-w8a8 --sustained 10m --images photos/

    Every launch is a fresh process; launches of several packages alternate. Intervals are 95 % of
    the median and resample launches: they say what another day's launches would give. Of a device
    elsewhere it is checked that it gives what this machine gives.
    """
    check_needs(context)
    if options["bundle"]:
        said = [p.name for p in context.command.params if p.name not in _OF_BUNDLES]
        check_without(context, [n for n in said if n], "--bundle measures nothing")
        write_bundle(packages, options["machine"], Path(options["bundle"]), as_json)
        return
    if options["ops"]:
        from edgekit.cli.operators import show as show_operators

        unused = ("source", "images", "store", "no_record", "launches", "sustained", "streams", "strict", "host")
        check_without(context, unused, "--ops measures once, and records nothing")
        show_operators(packages, options, as_json)
        return
    from edgekit.devices.address import open_device
    from edgekit.devices.base import Plan
    from edgekit.profiling.sampler import profile
    from edgekit.store.database import Store

    if options["sustained"]:
        check_without(context, ("launches",), "--sustained is one launch")
        options["launches"] = 1
    store = Store(Path(options["store"]) if options["store"] else None)
    device, record = open_device(options["device"], _options(options)), not options["no_record"]
    compared = _compare(packages, device, options, record) if options["source"] else {}
    with _arrays(options, device) as images:
        plan = Plan(
            options["iterations"],
            options["warmup"],
            options["seconds"],
            options["threads"],
            options["sustained"],
            options["streams"],
            images,
        )
        results = profile(
            packages,
            device,
            launches=options["launches"],
            plan=plan,
            store=store,
            record=record,
            strict=options["strict"],
        )
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
    show(results)
    for name, measurements in compared.items():
        click.echo(f"\n{name}, outputs against float:")
        click.echo(
            table(
                [(m.name, number(m.value, m.unit), m.provenance, m.note) for m in measurements],
                ("what", "value", "how", "on"),
            )
        )
    click.echo(f"raw samples: {store.path}")


def _options(given: Given) -> dict[str, str]:
    """Of the device, those that were typed."""
    return {"host": given["host"]} if given["host"] else {}


@contextlib.contextmanager
def _arrays(options: Given, device: Device) -> Iterator[str]:
    """A folder with the images to measure with, decoded: a device needs no library for that. "" for none."""
    from edgekit.data.images import read_dataset
    from edgekit.profiling.pictures import write_pictures

    elsewhere = options["source"] and "images" not in getattr(device, "plans", ())  # compared on, and no more
    if not options["images"] or elsewhere:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        write_pictures(read_dataset(options["images"]).first(options["image_count"]), Path(folder))
        yield folder


def _compare(packages: tuple[str, ...], device: Device, options: Given, record: bool) -> dict[str, list[Measurement]]:
    """Outputs on the device against the float original's, by package."""
    from edgekit.conversion.compare import compare_outputs
    from edgekit.data.images import read_dataset
    from edgekit.package import Package

    images = read_dataset(options["images"]).first(options["image_count"]) if options["images"] else None
    opened = [Package(p) for p in packages]
    return {p.manifest.name: compare_outputs(p, options["source"], images, device, record) for p in opened}
