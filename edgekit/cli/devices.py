"""edgekit devices"""

from __future__ import annotations

import click

from edgekit import registry
from edgekit.cli.output import common_options, emit, number, table
from edgekit.devices.address import open_device


@click.command()
@click.argument("kind", required=False)
@common_options
def command(kind: str | None, as_json: bool) -> None:
    """List the kinds of device packages can be measured on.

    With KIND, each device of that kind: `edgekit devices aihub` asks Qualcomm AI Hub.
    """
    if kind:
        devices = {info.name: info for info in open_device(kind).listing()}
    else:
        devices = {name: open_device(name).info() for name in registry.names("devices")}
    if as_json:
        emit("devices", devices=devices)
        return
    rows = [
        (name, str(i.cores or "-"), number(i.memory_bytes, "bytes") if i.memory_bytes else "-", i.system, i.chip)
        for name, i in devices.items()
    ]
    click.echo(table(rows, ("device", "cores", "memory", "system", "chip")))
