"""edgekit doctor"""

from __future__ import annotations

import platform

import click

from edgekit import __version__, registry, settings
from edgekit.cli.completion import PATH
from edgekit.cli.output import common_options, emit, table
from edgekit.errors import MissingError, UsageError
from edgekit.store.database import default_path


@click.command()
@click.option("--package", metavar="PACKAGE", type=PATH, help="Check what opening this package needs.")
@click.option("-d", "--device", metavar="DEVICE", help="Where it is to run: local (default), sim:htp, 'aihub:NAME'.")
@common_options
@click.pass_context
def command(context: click.Context, package: str | None, device: str | None, as_json: bool) -> None:
    """Check this installation: versions, what is missing and the command that fixes it, and where
    every setting came from. Exit code 0 also when optional parts are missing.

    With --package: what stands in the way of running PACKAGE on DEVICE. Exit code 3 when something
    does. Nothing is sent to any network.
    """
    if package is not None:
        context.exit(_package(package, device or "local", as_json))
    if device is not None:
        raise UsageError("--device says where a package is to run", "", "add --package PACKAGE")
    _installation(as_json)


def _package(package: str, device: str, as_json: bool) -> int:
    from edgekit.diagnosis import State, examine

    checks = examine(package, device)
    stopped = any(c.state is State.PROBLEM for c in checks)
    if as_json:
        emit("diagnosis", package=package, device=device, ready=not stopped, checks=checks)
    else:
        rows = []
        for c in checks:
            rows.append((c.name, c.state.value, c.found))
            rows += [("", "", f"→ {c.next}")] if c.next else []
        click.echo(table(rows, ("check", "state", "what was found → what to do")))
    return MissingError.exit_code if stopped else 0


def _installation(as_json: bool) -> None:
    from edgekit.diagnosis.installation import extras

    parts = extras()
    backends = {n: registry.load("backends", n).available() for n in registry.names("backends")}
    values = {name: settings.get(name) for name in settings.KNOWN}
    folders = {"config": settings.config_folder(), "cache": settings.cache_folder(), "store": default_path()}
    if as_json:
        emit(
            "doctor",
            edgekit=__version__,
            python=platform.python_version(),
            missing={n: e.missing for n, e in parts.items()},
            backends=backends,
            settings=values,
            folders={n: str(p) for n, p in folders.items()},
        )
        return
    click.echo(f"edgekit {__version__}, Python {platform.python_version()}, {platform.platform()}\n")
    rows = [
        (name, "missing" if e.missing else "ready", f"{', '.join(e.missing)}: {e.install}" if e.missing else "")
        for name, e in parts.items()
    ]
    rows += [(f"backend {n}", "missing" if a.missing else "ready", a.install) for n, a in backends.items()]
    click.echo(table(rows, ("part", "state", "what to do")))
    click.echo()
    shown = [(n, v.value or "-", v.origin, settings.KNOWN[n]) for n, v in values.items()]
    click.echo(table(shown, ("setting", "value", "from", "meaning")))
    click.echo()
    click.echo(table([(n, str(p)) for n, p in folders.items()], ("folder", "path")))
