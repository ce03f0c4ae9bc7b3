"""edgekit devices"""

from __future__ import annotations

import click

from edgekit import registry
from edgekit.cli.output import common_options, emit, number, table
from edgekit.devices.address import open_device
from edgekit.devices.base import DeviceInfo
from edgekit.errors import DeviceError, MissingError, UsageError


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
        devices = {name: _described(name) for name in registry.names("devices")}
    if as_json:
        emit("devices", devices=devices)
        return
    rows = [
        (name, str(i.cores or "-"), number(i.memory_bytes, "bytes") if i.memory_bytes else "-", i.system, i.chip)
        for name, i in devices.items()
    ]
    click.echo(table(rows, ("device", "cores", "memory", "system", "chip")))


def _described(kind: str) -> DeviceInfo:
    """What a kind says of itself, or why it cannot."""
    try:
        return open_device(kind).info()
    except (DeviceError, MissingError, UsageError) as error:
        return DeviceInfo(kind, error.next, error.what, 0, 0)
