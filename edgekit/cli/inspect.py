"""edgekit inspect"""

from __future__ import annotations

from collections.abc import Sequence

import click

from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit, interval, number, table
from edgekit.package import Package
from edgekit.package.receipt import Measurement, read_receipt
from edgekit.system.redaction import printable


@click.command()
@click.argument("package", type=PATH)
@common_options
def command(package: str, as_json: bool) -> None:
    """Show what PACKAGE is made from, what it needs, and its receipt.

    Checks the manifest and the receipt; `edgekit verify` checks every byte.
    """
    opened = Package(package)
    receipt = opened.receipt()
    if as_json:
        emit("inspect", manifest=opened.manifest, manifest_sha256=opened.manifest_sha256, receipt=receipt)
        return
    manifest = opened.manifest
    source = manifest.source
    known = read_receipt(receipt)
    facts = [
        ("package", f"{manifest.name}  ({manifest.task}, {manifest.target}, {manifest.precision})"),
        ("verdict", str(receipt.get("verdict", known.verdict))),
        ("engine", f"{manifest.engine.name} {manifest.engine.versions}: {manifest.engine.artifact}"),
        *manifest.model.facts(),
        ("source", f"{source.get('name', '')}  sha256 {source.get('sha256', '')[:16]}…"),
        ("layout", source.get("layout", "")),
        ("licence", source.get("licence") or "not stated in the source"),
    ]
    for name, text in facts:
        click.echo(f"{name:8} {printable(text)}")
    click.echo()
    click.echo(_evidence(known.measurements))
    for trip in known.trips:
        click.echo(f"\n{click.style('tripped:', fg='red')} {printable(trip.message)}")
    for trip in known.cannot_tell:
        click.echo(f"\n{click.style('cannot tell:', fg='yellow')} {printable(trip.message)}")
    for text in (*known.not_checked, *known.notes):
        click.echo(f"note: {printable(text)}")


def _evidence(measurements: Sequence[Measurement]) -> str:
    """A table, with what was measured on what as numbered notes below it."""
    notes: dict[str, int] = {}
    rows = []
    for m in measurements:
        text = "; ".join(t for t in (m.device, m.note) if t)
        mark = f"[{notes.setdefault(text, len(notes) + 1)}]" if text else ""
        rows.append(
            (
                m.group,
                m.name,
                number(m.value, m.unit),
                interval(m.interval, m.unit),
                m.provenance.value,
                str(m.samples),
                mark,
            )
        )
    shown = table(rows, ("group", "what", "value", "95 %", "how", "n", ""))
    return "\n".join([shown, "", *(f"[{number}] {printable(text)}" for text, number in notes.items())])
