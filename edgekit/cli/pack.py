"""edgekit pack"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit, number
from edgekit.package import Package
from edgekit.package.writing import pack


@click.command()
@click.argument("package", type=PATH)
@click.option("-o", "--out", type=PATH, help="File to write (default: beside the package, NAME.edgepkg).")
@common_options
def command(package: str, out: str | None, as_json: bool) -> None:
    """Write PACKAGE as one .edgepkg file, which `load` and every verb here also take."""
    opened = Package(package)
    file = pack(opened, Path(out) if out else opened.path.with_name(f"{opened.manifest.name}.edgepkg"))
    if as_json:
        emit("pack", file=str(file), bytes=file.stat().st_size)
    else:
        click.echo(f"{file}  {number(file.stat().st_size, 'bytes')}")
