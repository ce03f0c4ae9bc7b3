"""edgekit targets"""

from __future__ import annotations

import click

from edgekit.cli.output import emit, json_option, table
from edgekit.target import targets, user_folder


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the targets packages can be made for, their precisions and tolerances."""
    found = targets()
    if as_json:
        emit("targets", targets=list(found.values()))
        return
    rows = [
        (t.name, t.backend, " ".join(t.precisions), " ".join(t.devices), t.about)
        for t in found.values()
    ]
    click.echo(table(rows, ("target", "backend", "precisions", "measured on", "about")))
    click.echo(f"\nYour own: a TOML in {user_folder()}, or its path after -t.")
