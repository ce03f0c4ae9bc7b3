"""edgekit verify"""

from __future__ import annotations

import click

from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit, number
from edgekit.errors import EdgekitError, IntegrityError
from edgekit.package import Package
from edgekit.system.documents import JsonObject
from edgekit.system.redaction import printable


@click.command()
@click.argument("packages", nargs=-1, required=True, type=PATH)
@common_options
@click.pass_context
def command(context: click.Context, packages: tuple[str, ...], as_json: bool) -> None:
    """Check every byte of PACKAGES against their manifests and receipts.

    All are checked, one line each. Exit code 6, and the file that differs, when one does not match.
    """
    errors: list[EdgekitError] = []
    rows = []
    for path in packages:
        try:
            row = _verified(path)
        except EdgekitError as error:
            if len(packages) == 1:
                raise
            errors.append(error)
            row = {"package": path, "ok": False, "error": error.to_dict()}
        rows.append(row)
        if not as_json:
            click.echo(_line(row))
    if as_json:
        emit("verify", packages=rows)
    elif errors:
        count = f"{len(errors)} of {len(packages)} packages are not what they should be"
        click.echo(f"{count}; `edgekit verify PACKAGE` says of one what to do next", err=True)
    if errors:
        context.exit(IntegrityError.exit_code)


def _verified(path: str) -> JsonObject:
    try:
        package = Package(path)
        size = package.verify()
    except OSError as error:  # a file that may not be read; those after it may be
        why = str(error.strerror or error)
        raise IntegrityError(f"{error.filename or path} cannot be read", why) from error
    result = {"package": path, "ok": True, "files": len(package.manifest.files) + 2, "bytes": size}
    return {**result, "ignored": list(package.ignored)} if package.ignored else result


def _line(row: JsonObject) -> str:
    if row["ok"]:
        ignored = f"; ignored: {printable(', '.join(row['ignored'][:5]))}" if "ignored" in row else ""
        return f"ok  {row['package']}  {row['files']} files, {number(row['bytes'], 'bytes')}{ignored}"
    error = row["error"]
    return f"{click.style('bad', fg='red')} {row['package']}  {printable(': '.join(t for t in (error['what'], error['why']) if t))}"
