"""edgekit backends"""

from __future__ import annotations

import click

from edgekit import registry
from edgekit.cli.output import common_options, emit, table


@click.command()
@common_options
def command(as_json: bool) -> None:
    """List the compilers, whether they are ready, and what installs those that are not."""
    rows = []
    for name in registry.names("backends"):
        have = registry.load("backends", name).available()
        rows.append(
            {
                "name": name,
                "ready": not have.missing,
                "missing": have.missing,
                "install": have.install,
                "versions": have.versions,
            }
        )
    if as_json:
        emit("backends", backends=rows)
        return
    shown = [
        (
            r["name"],
            "yes" if r["ready"] else "no",
            " ".join(f"{n} {v}" for n, v in r["versions"].items())
            or (f"{r['missing']}: {r['install']}" if r["missing"] else "-"),
        )
        for r in rows
    ]
    click.echo(table(shown, ("backend", "ready", "versions, or what to do")))
