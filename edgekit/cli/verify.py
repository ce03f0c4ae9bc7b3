"""edgekit verify"""

from __future__ import annotations

import click

from edgekit.cli.output import emit, json_option, number
from edgekit.package import Package


@click.command()
@click.argument("packages", nargs=-1, required=True)
@json_option
def command(packages: tuple[str, ...], as_json: bool) -> None:
    """Check every byte of PACKAGES against their manifests and receipts.

    Exit code 6, and the file that differs, when one does not match.
    """
    rows = []
    for path in packages:
        package = Package(path)
        size = package.verify()
        rows.append({"package": path, "files": len(package.manifest.files) + 2, "bytes": size})
        if not as_json:
            click.echo(f"ok  {path}  {len(package.manifest.files) + 2} files, {number(size, 'bytes')}")
    if as_json:
        emit("verify", packages=rows)
