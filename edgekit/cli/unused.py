"""An option without effect is an error: what was typed is compared with what the work at hand looks at."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.core import ParameterSource

from edgekit.errors import UsageError

_NEEDS = {"image_count": "images", "machine": "bundle"}


def check_needs(context: click.Context) -> None:
    """Raises UsageError for an option that says more about one that was not given."""
    for name, other in _NEEDS.items():
        if is_said(context, name) and not context.params.get(other):
            raise UsageError(
                f"{_flag(context, name)} says nothing without {_flag(context, other)}",
                "",
                f"add {_flag(context, other)}, or leave it out",
            )


def check_without(context: click.Context, names: Sequence[str], why: str) -> None:
    """Raises UsageError where one of the options was typed, which `why` leaves without effect."""
    for name in names:
        if is_said(context, name):
            raise UsageError(f"{_flag(context, name)} has no effect here", why, "leave it out")


def is_said(context: click.Context, name: str) -> bool:
    """Whether an option was typed, or stands in the recipe."""
    return context.get_parameter_source(name) in (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)


def _flag(context: click.Context, name: str) -> str:
    return next(p.opts[-1] for p in context.command.params if p.name == name)
