"""In which order precisions are compiled: what is quantised is compared with a float package of the same model."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.spec import Precision
from edgekit.target import Target


def float_first(precisions: Sequence[Precision]) -> list[Precision]:
    """Each precision once, float ones first, and of those fp32: the others are timed against the first."""
    return sorted(dict.fromkeys(precisions), key=lambda p: (not p.is_float, p is not Precision.FP32))


def with_float_parent(target: Target, precisions: Sequence[Precision]) -> list[Precision]:
    """`float_first`, with a float precision to time the others against where none is wanted."""
    order = float_first(precisions)
    if order and not order[0].is_float:
        order = [*[p for p in target.precisions if p.is_float][:1], *order]
    return order
