"""edgekit targets"""

from __future__ import annotations

from collections.abc import Iterable

import click

from edgekit import registry
from edgekit.cli.completion import complete_targets
from edgekit.cli.output import common_options, emit, table
from edgekit.target import Target, find_target, targets, user_folder
from edgekit.tasks.base import SPEED_LIMITS, find_task


@click.command()
@click.argument("name", required=False, shell_complete=complete_targets)
@common_options
def command(name: str | None, as_json: bool) -> None:
    """List the targets packages can be made for and their precisions. With NAME, or the path of a
    TOML: everything that is known of that one.
    """
    listed = [find_target(name)] if name else list(targets().values())
    if as_json:
        emit("targets", targets=listed)
    elif name:
        click.echo(table(list(_facts(listed[0])), ("", "")).strip())
    else:
        _list(listed)


def _list(listed: list[Target]) -> None:
    plain = [(t.name, " ".join(t.precisions), t.about) for t in listed if not t.chips]
    click.echo(table(plain, ("target", "precisions", "about")))
    chips = [
        (t.name, c.soc, f"v{c.htp}", " ".join(t.precisions), _measures(c.aihub, c.proxy))
        for t in listed
        for c in t.chips
    ]
    click.echo()
    click.echo(table(chips, ("Snapdragon", "chip", "Hexagon", "precisions", "AI Hub")))
    click.echo()
    for task in _tasks(listed):
        plural = find_task(task).words.plural
        click.echo(table(list(_supported(listed, task)), (f"{plural} for", "precisions")))
    click.echo(
        "\nSnapdragons are compiled here, or with --via aihub at AI Hub. edgekit targets NAME: all of one."
        f"\nYour own: a TOML in {user_folder()}, or its path after -t."
    )


def _tasks(listed: list[Target]) -> list[str]:
    """Tasks whose models are compiled in another way than graphs are, as far as they are known here."""
    known = registry.names("tasks")
    return [name for name in dict.fromkeys(n for t in listed for n in t.tasks) if name in known]


def _supported(listed: list[Target], task: str) -> Iterable[tuple[str, str]]:
    ways = {t.name: t.tasks[task].precisions for t in listed if task in t.tasks}
    for precisions in dict.fromkeys(ways.values()):
        able = [t for t in listed if ways.get(t.name) == precisions]
        names = [t.name for t in able if not t.chips]
        if len(able) > len(names):
            names.append(f"{len(able) - len(names)} Snapdragons, those with fp16")
        yield ", ".join(names), " ".join(precisions)


def _measures(devices: tuple[str, ...], proxy: str) -> str:
    """Whether AI Hub has a device with the chip."""
    return ("stand-in" if proxy else "yes") if devices else "no"


def _facts(t: Target) -> Iterable[tuple[str, str]]:
    yield "target", t.name
    yield "about", t.about
    yield "backend", t.backend
    yield "precisions", " ".join(t.precisions)
    for task in _tasks([t]):
        support = t.tasks[task]
        yield find_task(task).words.plural, f"{support.backend}: {' '.join(support.precisions)}"
    yield "run on", ", ".join(t.devices)
    limits = {**SPEED_LIMITS, **{n: v for task in registry.names("tasks") for n, v in find_task(task).limits.items()}}
    yield "refused above", ", ".join(f"{name} {t.tolerance.get(name, value):g}" for name, value in limits.items())
    for c in t.chips:
        yield ("chip", f"{c.soc}, number {c.soc_id}, Hexagon v{c.htp}, {'fp16' if c.fp16 else 'integers only'}")
        yield "recognised by", ", ".join(c.android)
        yield "AI Hub", ", ".join(c.aihub) + (f"; figures of {c.proxy}" if c.proxy else "")
        yield from (("note", n) for n in c.notes)
    for p in t.published:
        ratio = f", float {p.float_ms:g} ms" if p.float_ms is not None else ""
        yield "published", f"{p.model} {p.precision} on {p.device}: {p.ms:g} ms{ratio} ({p.source})"
    if t.source:
        yield "source", t.source
