"""Options of `convert` that tasks and services own: made from their tables, and shown in a section for each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from edgekit import registry
from edgekit.cli.completion import PATH
from edgekit.cli.output import Given
from edgekit.cli.unused import is_said
from edgekit.options import Option
from edgekit.tasks.base import find_task

F = TypeVar("F", bound=Callable[..., Any])


def owners() -> list[tuple[str, tuple[Option, ...]]]:
    """The title of each task and service, as a section's, and its options; one that several have is the first's."""
    tasks = [find_task(name) for name in registry.names("tasks")]
    services = [(registry.load("services", name), name) for name in registry.names("services")]
    sections = [(t.words.plural.capitalize(), t.options) for t in tasks]
    sections += [(f"{service.title} (--via {name})", service.options) for service, name in services]
    taken: set[str] = set()
    shown = []
    for title, options in sections:
        shown.append((title, tuple(o for o in options if o.name not in taken)))
        taken |= {o.name for o in options}
    return shown


def owned_options(function: F) -> F:
    """Adds all of them to a command."""
    for _, options in reversed(owners()):
        for option in reversed(options):
            function = _made(option)(function)
    return function


def given_options(context: click.Context) -> Given:
    """The options of tasks and services that were typed or stand in the recipe, by name, without those about reading the source."""
    names = {o.name for _, options in owners() for o in options if o.use != "reading"}
    return {name: context.params[name] for name in names if is_said(context, name)}


class Sections(click.Command):
    """A command whose help has a section for each owner of options."""

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        sections = owners()
        owned = {o.name for _, options in sections for o in options}
        records = {p.name: p.get_help_record(context) for p in self.get_params(context) if isinstance(p, click.Option)}
        with formatter.section("Options"):
            formatter.write_dl([r for name, r in records.items() if r and name not in owned])
        for title, options in sections:
            with formatter.section(title):
                formatter.write_dl([r for o in options if (r := records.get(o.name))])


def _made(option: Option) -> Callable[[F], F]:
    if option.kind is bool:
        return click.option(option.flag, option.name, is_flag=True, help=option.help)
    kind: Any = click.INT if option.kind is int else click.STRING  # numbers with a point have edgekit's own words
    if option.choices:
        kind = click.Choice(option.choices)
    elif option.file:
        kind = PATH
    elif option.kind is int and option.minimum is not None:
        kind = click.IntRange(int(option.minimum))
    return click.option(option.flag, option.name, type=kind, metavar=option.metavar or None, help=_help(option))


def _help(option: Option) -> str:
    if option.default is None:
        return option.help
    return f"{option.help.removesuffix('.')} (default: {option.default})."
