"""edgekit devices"""

from __future__ import annotations

import click

from edgekit.cli.completion import complete_devices
from edgekit.cli.output import common_options, emit, number, table

_ACTIONS = ("clean", "setup")


@click.command()
@click.argument("words", metavar="[DEVICE | clean DEVICE | setup KIND]", nargs=-1, shell_complete=complete_devices)
@common_options
def command(words: tuple[str, ...], as_json: bool) -> None:
    """List what packages can be measured on, as far as it can be reached now.

    \b
    edgekit devices                    this machine, phones on cables, and what
                                       devices.toml names, asked at once
    edgekit devices ssh:pi@HOST        one of them; or a kind: adb, aihub, ...
    edgekit devices clean ssh:pi@HOST  remove all that edgekit left there
    edgekit devices setup web          fetch what a kind of device needs here

    The last column names the targets whose speed check may run there: `edgekit convert -d DEVICE`.
    """
    if words and words[0] in _ACTIONS:
        _act(words, as_json)
        return
    if len(words) > 1:
        raise click.UsageError(f"Got unexpected extra argument ({words[1]})")
    from edgekit.devices.base import DeviceInfo
    from edgekit.devices.census import ask, everything
    from edgekit.devices.census import one as asked

    rows = ask(everything()) if not words else asked(words[0])
    if as_json:
        empty = DeviceInfo("", "", "", 0, 0)
        devices = {r.address: {**vars(r.info or empty), "problem": r.problem, "targets": r.targets} for r in rows}
        emit("devices", devices=devices)
        return
    lines = [
        (
            r.address,
            str(r.info.cores or "-") if r.info else "-",
            number(r.info.memory_bytes, "bytes") if r.info and r.info.memory_bytes else "-",
            r.info.system if r.info else "-",
            r.info.chip if r.info else r.problem,
            ", ".join(r.targets) or "-",
        )
        for r in rows
    ]
    click.echo(table(lines, ("device", "cores", "memory", "system", "chip", "targets")))


def _act(words: tuple[str, ...], as_json: bool) -> None:
    from edgekit.devices.care import clean, set_up
    from edgekit.errors import UsageError

    if len(words) != 2:
        what = "the kind of device to set up" if words[0] == "setup" else "the device to clean"
        raise UsageError(f"edgekit devices {words[0]} needs {what}", "", "edgekit devices --help shows how")
    done = clean(words[1]) if words[0] == "clean" else set_up(words[1])
    if as_json:
        emit("devices", **{words[0]: done})
        return
    click.echo(done)
