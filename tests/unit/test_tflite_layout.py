"""The mathematics of axes, against numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert")

from edgekit.tflite.layout import (
    Order,
    arrange,
    between,
    collapsed,
    identity,
    in_groups,
    last,
    moves_nothing,
    reshaped,
    without,
)

rng = np.random.default_rng(0)


def numbered(shape: tuple[int, ...], order: Order) -> np.ndarray:
    """A value whose elements are their own ONNX positions, as it lies."""
    return np.arange(math.prod(shape)).reshape(shape).transpose(order)


def drawn(rank: int, sizes: tuple[int, ...] = (1, 1, 2, 3, 4)) -> tuple[tuple[int, ...], Order]:
    return tuple(rng.choice(sizes, rank).tolist()), tuple(rng.permutation(rank).tolist())


def factored(size: int, rank: int) -> tuple[int, ...]:
    """Some shape of this rank that holds as many elements."""
    shape = []
    for _ in range(rank - 1):
        shape.append(int(rng.choice([d for d in range(1, size + 1) if size % d == 0])))
        size //= shape[-1]
    shape.append(size)
    return tuple(rng.permutation(shape).tolist())


@pytest.mark.parametrize("rank", range(1, 6))
def test_orders_are_what_transpose_does(rank: int) -> None:
    for _ in range(100):
        shape, have = drawn(rank)
        want = tuple(rng.permutation(rank).tolist())
        there = numbered(shape, have).transpose(between(have, want))
        assert (there == numbered(shape, want)).all()
        assert there.shape == arrange(shape, want)
        still = (numbered(shape, have).ravel() == numbered(shape, want).ravel()).all()
        assert moves_nothing(shape, have, want) <= still
        if min(shape) > 1:
            assert moves_nothing(shape, have, want) == (have == want)
        axis = int(rng.integers(rank))
        assert last(have, axis)[-1] == axis
        assert set(last(have, axis)) == set(range(rank))


def test_removed_axes_are_counted_anew() -> None:
    for rank in range(1, 6):
        for _ in range(50):
            shape, order = drawn(rank)
            axes = [a for a in range(rank) if rng.integers(2)]
            value = np.arange(math.prod(shape)).reshape(shape)
            left = value.sum(tuple(axes)).transpose(without(order, axes))
            stored = value.transpose(order).sum(tuple(order.index(a) for a in axes))
            assert (left == stored).all()


def test_a_reshape_keeps_every_element() -> None:
    still = 0
    for _ in range(3000):
        shape, order = drawn(int(rng.integers(1, 6)))
        target = factored(math.prod(shape), int(rng.integers(1, 6)))
        have, result = reshaped(shape, order, target)
        assert sorted(have) == list(range(len(shape)))
        assert sorted(result) == list(range(len(target)))
        stored = numbered(shape, have).reshape(arrange(target, result))
        assert (stored == numbered(target, result)).all()
        still += have == order
    assert still > 500


def test_nothing_moves_where_nothing_must() -> None:
    missed = []
    for _ in range(300):
        shape, order = drawn(int(rng.integers(1, 5)), (1, 2, 3))
        target = factored(math.prod(shape), int(rng.integers(1, 5)))
        flat = numbered(shape, order).ravel()
        possible = any(
            (flat == numbered(target, o).ravel()).all() for o in itertools.permutations(identity(len(target)))
        )
        have, _ = reshaped(shape, order, target)
        assert possible or have != order
        if possible and have != order:
            missed.append((shape, order, target))
    assert not missed


def test_images_stay_where_they_are() -> None:
    shape, nhwc = (1, 64, 20, 10), (0, 2, 3, 1)
    assert reshaped(shape, nhwc, (1, 64, 200)) == (nhwc, (0, 2, 1))
    assert reshaped(shape, nhwc, (1, 4, 16, 20, 10)) == (nhwc, (0, 3, 4, 1, 2))
    assert reshaped(shape, nhwc, (1, 64 * 200)) == (identity(4), (0, 1))
    assert reshaped((1, 64, 1, 1), nhwc, (1, 64)) == (nhwc, (0, 1))
    assert reshaped(shape, identity(4), (1, 64 * 200)) == (identity(4), (0, 1))
    # a channel shuffle: only the groups change places, so that the image stays an image
    assert reshaped((1, 8, 2, 20, 10), (0, 3, 4, 2, 1), (1, 16, 20, 10)) == ((0, 3, 4, 1, 2), nhwc)
    assert reshaped((1, 0, 6, 8), nhwc, (1, 0, 48)) == (nhwc, (0, 1, 2))


def test_transposes_take_as_few_dimensions_as_they_can() -> None:
    assert collapsed((1, 3, 2, 4, 2, 4), (0, 1, 3, 2, 4, 5)) == ([3, 2, 4, 8], (0, 2, 1, 3))
    assert collapsed((1, 5, 1, 6), (2, 3, 1, 0)) == ([5, 6], (1, 0))
    for _ in range(300):
        rank = int(rng.integers(1, 8))
        shape, moves = drawn(rank, (1, 1, 2, 3))
        sizes, fewer = collapsed(shape, moves)
        value = np.arange(math.prod(shape))
        want = value.reshape(shape).transpose(moves).ravel()
        assert (value.reshape(sizes).transpose(fewer).ravel() == want).all()
        assert len(sizes) <= rank


def test_neighbours_alike_are_grouped() -> None:
    assert in_groups([1, 1, 2, None, 2, 1]) == [[0, 1], [2, 3, 4], [5]]
    assert in_groups([None, None, 1]) == [[0, 1, 2]]
    assert in_groups([1, None]) == [[0, 1]]
    assert in_groups([None]) == [[0]]
