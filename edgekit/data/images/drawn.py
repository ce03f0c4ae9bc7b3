"""How boxes were written down. Their numbers alone rarely tell, all of them together do: read as corners, or as
parts of the image where pixels are meant, a whole set fits its images only when that is what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_SLACK = 0.02  # of the image, by which an honest box may reach beyond its edge
_MOST = 0.25  # of the boxes may reach further, of what is only partly to be seen
_SAME = 0.02  # of an area
_FEW = 3  # boxes, of which anything may be true by chance


@dataclass(frozen=True)
class Drawn:
    """Four numbers in parts of the image, and the stated area in parts of it (0: not stated)."""

    first: float
    second: float
    third: float
    fourth: float
    area: float = 0.0


def centres(boxes: Sequence[Drawn]) -> str:
    """The form that boxes look like, which should be a centre and a size; "" where nothing speaks against that."""
    beyond = [
        b
        for b in boxes
        if not _inside(b.first - b.third / 2, b.second - b.fourth / 2, b.first + b.third / 2, b.second + b.fourth / 2)
    ]
    if not beyond or len(boxes) < _FEW:
        return ""
    if all(_are_corners(b) for b in boxes):
        return "two corners"
    if len(beyond) >= _FEW and all(_inside(b.first, b.second, b.first + b.third, b.second + b.fourth) for b in boxes):
        return "a corner and a size"
    return "something else" if len(beyond) >= max(_MOST * len(boxes), _FEW) else ""


def corner_and_size(boxes: Sequence[Drawn]) -> str:
    """The form that boxes look like, which should be the upper left corner and a size; "" where nothing speaks
    against that."""
    if len(boxes) < _FEW or not all(_are_corners(b) for b in boxes):
        return ""
    beyond = any(not _inside(b.first, b.second, b.first + b.third, b.second + b.fourth) for b in boxes)
    areas = all(b.area and _close(b.area, (b.third - b.first) * (b.fourth - b.second)) for b in boxes)
    differing = any(not _close(b.area, b.third * b.fourth) for b in boxes)
    return "two corners" if beyond or (areas and differing) else ""


def _are_corners(b: Drawn) -> bool:
    return b.third > b.first and b.fourth > b.second and _inside(b.first, b.second, b.third, b.fourth)


def _inside(left: float, top: float, right: float, bottom: float) -> bool:
    return left >= -_SLACK and top >= -_SLACK and right <= 1 + _SLACK and bottom <= 1 + _SLACK


def _close(a: float, b: float) -> bool:
    return abs(a - b) <= _SAME * max(abs(a), abs(b))
