"""edgekit pack"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.archive import pack
from edgekit.cli.output import emit, json_option, number
from edgekit.package import Package


@click.command()
@click.argument("package")
@click.option("-o", "--out", help="File to write (default: beside the package, NAME.edgepkg).")
@json_option
def command(package: str, out: str | None, as_json: bool) -> None:
    """Write PACKAGE as one .edgepkg file, which `load` and every verb here also take."""
    opened = Package(package)
    file = pack(opened, Path(out) if out else opened.path.with_name(f"{opened.manifest.name}.edgepkg"))
    if as_json:
        emit("pack", file=str(file), bytes=file.stat().st_size)
    else:
        click.echo(f"{file}  {number(file.stat().st_size, 'bytes')}")
