"""edgekit unpack"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit
from edgekit.errors import no_file
from edgekit.package import Package
from edgekit.package.mistaken import may_be_packed, no_package
from edgekit.package.writing import unpack


@click.command()
@click.argument("file", type=PATH)
@click.option(
    "-o", "--out", type=PATH, default=".", show_default=True, help="Folder that will hold the package's folder."
)
@common_options
def command(file: str, out: str, as_json: bool) -> None:
    """Write the .edgepkg FILE back as a package folder, and verify it."""
    if not Path(file).is_file():
        raise no_file(".edgepkg file", file)
    if not may_be_packed(Path(file)):
        raise no_package(file)
    folder = unpack(Path(file), Path(out))
    Package(folder).verify()
    if as_json:
        emit("unpack", package=str(folder))
    else:
        click.echo(folder)
