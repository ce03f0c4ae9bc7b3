"""edgekit devices"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edgekit.cli.completion import complete_devices
from edgekit.cli.output import common_options, emit, number, table

if TYPE_CHECKING:
    from edgekit.devices.census import Asked

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

    After "for" stand the targets whose speed check may run there: `edgekit convert -d DEVICE`.
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
    click.echo(table([(r.address, _described(r)) for r in rows], ("device", "what it is, or why it is not reached")))


def _described(row: Asked) -> str:
    if row.info is None:
        parts = [row.problem]
    else:
        info = row.info
        memory = number(info.memory_bytes, "bytes") if info.memory_bytes else ""
        size = ", ".join(t for t in (f"{info.cores} core{'s' * (info.cores > 1)}" if info.cores else "", memory) if t)
        parts = [info.chip, info.system, size]
    measures = f"for {', '.join(row.targets)}" if row.targets else ""
    return "; ".join(part for part in (*parts, measures) if part)


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
