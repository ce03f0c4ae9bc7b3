"""How ONNX values lie in memory in a TFLite graph.

TFLite computes on images with channels last, ONNX with channels first. Instead of transposing
around every operator, each value keeps its own order of axes, operators follow it, and a transpose
is written only where two orders meet that cannot be reconciled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.spec import DetectionSpec

Order = tuple[int, ...]  # dimension i of the tensor holds ONNX axis order[i]

CHANNELS_LAST: Order = (0, 2, 3, 1)


@dataclass(frozen=True)
class Stored:
    """An ONNX value and how it lies: `tensor` has the shape `arrange(onnx_shape, order)`."""

    tensor: int
    order: Order


def identity(rank: int) -> Order:
    return tuple(range(rank))


def arrange(shape: Sequence[int], order: Order) -> tuple[int, ...]:
    """An ONNX shape as it is stored."""
    return tuple(shape[axis] for axis in order)


def between(have: Order, want: Order) -> Order:
    """The permutation that turns a tensor stored as `have` into one stored as `want`."""
    return tuple(have.index(axis) for axis in want)


def last(order: Order, axis: int) -> Order:
    """`order` with `axis` moved to the end."""
    return (*(a for a in order if a != axis), axis)


def channels_first(spec: DetectionSpec) -> list[str]:
    """The inputs of a detector that are NCHW, and become NHWC in TFLite."""
    return [spec.input.name] if spec.input.layout == "NCHW" else []


def without(order: Order, axes: Sequence[int]) -> Order:
    """The order of what is left when `axes` are removed and the others counted anew."""
    axes_left = [a for a in range(len(order)) if a not in axes]
    return tuple(axes_left.index(a) for a in order if a in axes_left)


def moves_nothing(shape: Sequence[int], have: Order, want: Order) -> bool:
    """Whether going from one order to the other only moves axes of size one."""
    return [a for a in have if shape[a] != 1] == [a for a in want if shape[a] != 1]


def in_groups(keys: Sequence[object]) -> list[list[int]]:
    """Neighbouring dimensions with equal keys. One whose key is None goes with either neighbour."""
    groups: list[list[int]] = []
    latest: object = None
    for place, key in enumerate(keys):
        if groups and (key is None or latest is None or key == latest):
            groups[-1].append(place)
        else:
            groups.append([place])
        latest = latest if key is None else key
    return groups


def collapsed(shape: Sequence[int], moves: Order) -> tuple[list[int], Order]:
    """The same transpose with as few dimensions as it takes."""
    places = [place for place in moves if shape[place] != 1]
    runs: list[list[int]] = []
    rank_of = {place: i for i, place in enumerate(sorted(places))}
    for place in places:
        if runs and rank_of[place] == rank_of[runs[-1][-1]] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    straight = sorted(runs)
    sizes = [math.prod(shape[p] for p in run) for run in straight]
    return sizes, tuple(straight.index(run) for run in runs)


def reshaped(shape: Sequence[int], order: Order, target: Sequence[int]) -> tuple[Order, Order]:
    """The order that a value must have to become `target` by a reshape, and the one it then lies in.

    The axes that are merged or split must lie next to each other and in their own order; the
    groups of axes stay in the order in which they lie.
    """
    if 0 in shape:
        return order, identity(len(target))
    placed = {axis: place for place, axis in enumerate(order)}
    blocks = sorted(_blocks(shape, target), key=lambda block: placed[block[0][0]])
    have = _with_ones([axis for old, _ in blocks for axis in old], len(shape))
    result = _with_ones([axis for _, new in blocks for axis in new], len(target))
    return (order if moves_nothing(shape, order, have) else have), result


def _with_ones(order: list[int], rank: int) -> Order:
    """Adds the axes of size one, which fit anywhere, after their left neighbour."""
    for axis in range(rank):
        if axis not in order:
            order.insert(order.index(axis - 1) + 1 if axis else 0, axis)
    return tuple(order)


def _blocks(a: Sequence[int], b: Sequence[int]) -> list[tuple[list[int], list[int]]]:
    """The smallest groups of axes of two shapes that hold the same number of elements."""
    left = [i for i, d in enumerate(a) if d != 1]
    right = [i for i, d in enumerate(b) if d != 1]
    blocks = []
    while left and right:
        old, new = [left.pop(0)], [right.pop(0)]
        x, y = a[old[0]], b[new[0]]
        while x != y:
            if x < y:
                old.append(left.pop(0))
                x *= a[old[-1]]
            else:
                new.append(right.pop(0))
                y *= b[new[-1]]
        blocks.append((old, new))
    return blocks
