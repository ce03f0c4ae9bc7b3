"""Ranges of versions as manifests and requirements write them. `packaging` is not on every device, and little of
it is needed."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable

Version = tuple[int, ...]

_COMPARE: dict[str, Callable[[Version, Version], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
_CLAUSE = re.compile(r"\s*(>=|<=|==|!=|>|<)\s*(\d+(?:\.\d+)*)\s*")


def numbers(text: str) -> Version:
    """2.7.0rc1 as (2, 7): the release, without zeros at its end; () for what is no version."""
    match = re.match(r"v?(\d+(?:\.\d+)*)", text.strip())
    parts = [int(p) for p in match[1].split(".")] if match else []
    while parts and parts[-1] == 0:
        parts.pop()
    return tuple(parts)


def within(version: str, allowed: str) -> bool | None:
    """Whether a version is in a range like `>=2,<3`; None for ranges of another kind (~=, ==2.*).

    Pre-releases count as the release they lead to, so that 3.0rc1 is not below 3, as PEP 440 has it.
    """
    release, fits = numbers(version), True
    for clause in filter(str.strip, allowed.split(",")):
        match = _CLAUSE.fullmatch(clause)
        if match is None:
            return None
        fits = fits and _COMPARE[match[1]](release, numbers(match[2]))
    return fits
