"""edgekit report"""

from __future__ import annotations

from pathlib import Path

import click

from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit


@click.command()
@click.argument("packages", nargs=-1, required=True, type=PATH, metavar="PACKAGE...")
@click.option("-o", "--out", type=PATH, default="report.html", show_default=True, help="The file to write.")
@click.option("--store", metavar="FILE", type=PATH, help="Database of measurements (default: see `edgekit doctor`).")
@common_options
def command(packages: tuple[str, ...], out: str, store: str | None, as_json: bool) -> None:
    """Write one HTML file that compares packages: accuracy, size, latency, memory.

    The file needs no network and no other files. Numbers come from the receipts and from what
    `edgekit profile` stored; each says where it comes from, and missing ones say so.

    \b
    edgekit report dist/yolov9-t-cpu-* -o report.html
    """
    from edgekit.errors import UsageError
    from edgekit.report.render import write_report

    if Path(out).suffix.lower() not in (".html", ".htm"):
        raise UsageError(
            f"A report is an HTML file, and {out} is called otherwise",
            "",
            "use -o NAME.html; a browser prints it as PDF",
        )
    page = write_report(packages, Path(out), Path(store) if store else None)
    if as_json:
        paths = [
            {
                "name": row.evidence.manifest.name,
                "verdict": row.evidence.receipt.verdict,
                "devices": row.evidence.labels,
            }
            for row in page.rows
        ]
        emit("report", path=out, packages=paths, warnings=page.warnings)
        return
    for warning in page.warnings:
        click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    click.echo(out)
