"""edgekit doctor"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

import click

from edgekit import registry, settings
from edgekit.cli.output import emit, json_option, table
from edgekit.store.database import default_path


@click.command()
@json_option
def command(as_json: bool) -> None:
    """Check this installation: versions, what is missing and the command that fixes it, and where
    every setting came from. Exit code 0 also when optional parts are missing.
    """
    extras = {
        extra: _missing(extra)
        for extra in ("runtime", "litert", "images", "convert", "tflite", "report")
    }
    if find_spec("tflite_runtime"):  # which does as well
        extras["litert"] = []
    backends = {n: registry.load("backends", n).available() for n in registry.names("backends")}
    values = {name: settings.get(name) for name in settings.KNOWN}
    folders = {
        "config": settings.config_folder(),
        "cache": settings.cache_folder(),
        "store": default_path(),
    }
    if as_json:
        emit("doctor", edgekit=version("edgekit"), python=platform.python_version(), missing=extras,
             backends=backends, settings=values, folders={n: str(p) for n, p in folders.items()})  # fmt: skip
        return
    click.echo(
        f"edgekit {version('edgekit')}, Python {platform.python_version()}, {platform.platform()}\n"
    )
    rows = [
        (extra, "ready" if not missing else "missing",
         "" if not missing else f"{', '.join(missing)}: pip install 'edgekit[{extra}]'")
        for extra, missing in extras.items()
    ]  # fmt: skip
    rows += [
        (f"backend {n}", "missing" if a.missing else "ready", a.install) for n, a in backends.items()
    ]
    click.echo(table(rows, ("part", "state", "what to do")))
    click.echo()
    shown = [(n, v.value or "-", v.origin, settings.KNOWN[n]) for n, v in values.items()]
    click.echo(table(shown, ("setting", "value", "from", "meaning")))
    click.echo()
    click.echo(table([(n, str(p)) for n, p in folders.items()], ("folder", "path")))


def _missing(extra: str) -> list[str]:
    """Requirements of an extra that are not installed."""
    missing = []
    for line in requires("edgekit") or []:
        requirement, _, marker = line.partition(";")
        if f'"{extra}"' not in marker.replace("'", '"'):
            continue
        name = requirement.strip().split("[")[0]
        for sign in "<>=!~ ":
            name = name.split(sign)[0]
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(name)
    return missing
