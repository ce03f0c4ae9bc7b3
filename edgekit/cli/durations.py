"""Lengths of time as people type them."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LONGEST = 24 * 3600.0


def duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float:
    """Seconds of `10m`, `90s`, `1h` or `90`; 0 for none. Raises click.BadParameter."""
    if value is None:
        return 0.0
    match = re.fullmatch(r"(\d{1,6}(?:\.\d{1,3})?)\s*(s|m|min|h|)", value)
    seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
    if not 0 < seconds <= _LONGEST:
        raise click.BadParameter(f"{value!r} is no time up to a day; write 10m, 90s or 1h")
    return seconds
