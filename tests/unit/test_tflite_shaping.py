"""Operators that move values give in TFLite what they give in ONNX Runtime, with few transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto

from edgekit.graph.view import Editor
from tests.tflite import Build, Case, both, check, one, random

IMAGE = (1, 4, 6, 8)
ROWS = (2, 5, 6)


def shuffle(e: Editor, x: str) -> str:
    """Channels of two groups mixed, as ShuffleNet writes it."""
    pairs = e.transpose(e.reshape(x, 1, 2, 2, 6, 8), 0, 2, 1, 3, 4)
    return e.reshape(pairs, 1, 4, 6, 8)


def halves(e: Editor, x: str) -> list[str]:
    """Every other channel, as FastestDet writes it."""
    pairs = e.transpose(e.reshape(x, 2, 2, 48), 1, 0, 2)
    pairs = e.reshape(pairs, 2, 1, 2, 6, 8)
    return [e.op("Gather", pairs, e.const(i, np.int64), axis=0) for i in (0, 1)]


def attention_heads(e: Editor, x: str) -> str:
    return e.transpose(e.reshape(x, 2, 5, 3, 2), 0, 2, 1, 3)


def joined(*builds: Build, axis: int = 1) -> Build:
    return lambda e, x: e.op("Concat", x, *[str(b(e, x)) for b in builds], axis=axis)


def sliced(*ranges: tuple[int, int, int, int]) -> Build:
    """(axis, start, end, step) of each."""

    def build(e: Editor, x: str) -> str:
        axes, starts, ends, steps = zip(*ranges)
        return e.op("Slice", x, *[e.ints(*v) for v in (starts, ends, axes, steps)])

    return build


def split(*sizes: int, axis: int = 1, read: int | None = None) -> Build:
    def build(e: Editor, x: str) -> Any:
        parts = e.ops("Split", x, e.ints(*sizes), outputs=len(sizes), axis=axis)
        return parts if read is None else parts[read]

    return build


def indices(e: Editor, x: str, most: int, *shape: int) -> str:
    """Computed indices from 0 to `most`."""
    size = int(np.prod(shape))
    values = e.op("Abs", e.slice(e.reshape(x, -1), 0, 0, size))
    near = e.op("Cast", e.op("Clip", values, e.const(0.0), e.const(float(most))), to=TensorProto.INT64)
    return e.reshape(near, *shape)


END = 2**63 - 1
RESHAPES = {
    "Reshape merges pixels": Case(IMAGE, lambda e, x: e.reshape(x, 1, 4, 48)),
    "Reshape merges channels": Case(IMAGE, lambda e, x: e.reshape(x, 1, 24, 8)),
    "Reshape splits channels": Case(IMAGE, lambda e, x: e.reshape(x, 1, 2, 2, 6, 8)),
    "Reshape splits pixels": Case(IMAGE, lambda e, x: e.reshape(x, 1, 4, 3, 2, 4, 2)),
    "Reshape mixes": Case(IMAGE, lambda e, x: e.reshape(x, 1, 3, 8, 8)),
    "Reshape flat": Case(IMAGE, lambda e, x: e.reshape(x, -1)),
    "Reshape zero and minus": Case(IMAGE, lambda e, x: e.reshape(x, 0, 0, -1)),
    "Reshape ones": Case(IMAGE, lambda e, x: e.reshape(x, 1, 1, 4, 1, 6, 8, 1)),
    "Reshape to scalar": Case((1, 1, 1, 1), lambda e, x: e.op("Reshape", x, e.const([], np.int64))),
    "Flatten": Case(IMAGE, one("Flatten")),
    "Flatten axis": Case(IMAGE, one("Flatten", axis=2)),
    "Flatten pixels away": Case((1, 4, 1, 1), one("Flatten")),
    "Squeeze": Case((1, 4, 1, 8), one("Squeeze", np.asarray([2]))),
    "Squeeze all": Case((1, 4, 1, 8), one("Squeeze")),
    "Unsqueeze": Case(IMAGE, one("Unsqueeze", np.asarray([1, -1]))),
    "Transpose to NHWC": Case(IMAGE, one("Transpose", perm=[0, 2, 3, 1])),
    "Transpose reversed": Case(IMAGE, one("Transpose")),
    "Transpose chain": Case(IMAGE, lambda e, x: e.transpose(e.op("Exp", e.transpose(x, 0, 2, 1, 3)), 3, 1, 0, 2)),
    "one tensor, two orders": Case(
        IMAGE,
        lambda e, x: [
            e.op("Softmax", e.transpose(x, *p), axis=1)
            for p in ((0, 2, 3, 1), (0, 3, 2, 1), (0, 1, 3, 2), (3, 2, 1, 0))
        ],
    ),
    "Transpose of swapped sizes": Case(
        (1, 5, 5, 5), lambda e, x: [x, e.transpose(x, 0, 3, 1, 2), e.transpose(x, 0, 2, 3, 1)]
    ),
    "shuffle": Case(IMAGE, shuffle),
    "shuffle twice": Case(IMAGE, lambda e, x: shuffle(e, shuffle(e, x))),
    "shuffle by gathers": Case(IMAGE, halves),
    "heads": Case(ROWS, attention_heads),
    "heads and back": Case(
        ROWS, lambda e, x: e.reshape(e.transpose(e.op("Exp", attention_heads(e, x)), 0, 2, 1, 3), 2, 5, 6)
    ),
    "windows": Case(
        (1, 4, 6, 8),
        lambda e, x: e.reshape(
            e.transpose(e.reshape(e.transpose(x, 0, 2, 3, 1), 1, 3, 2, 4, 2, 4), 0, 1, 3, 2, 4, 5), 12, 4, 4
        ),
    ),
    "pixel unshuffle": Case(
        IMAGE, lambda e, x: e.reshape(e.transpose(e.reshape(x, 1, 4, 3, 2, 4, 2), 0, 1, 3, 5, 2, 4), 1, 16, 3, 4)
    ),
}
JOINS = {
    "Concat": Case(IMAGE, joined(one("Exp"), one("Relu"))),
    "Concat pixels": Case(IMAGE, joined(one("Exp"), axis=2)),
    "Concat negative axis": Case(IMAGE, joined(one("Exp"), axis=-1)),
    "Concat orders": Case(IMAGE, joined(lambda e, x: e.op("Softmax", e.op("Softmax", x, axis=3), axis=2), one("Exp"))),
    "Concat constants": Case(IMAGE, joined(lambda e, x: e.const(random(1, 3, 6, 8)))),
    "Concat one": Case(IMAGE, joined()),
    "Concat itself": Case(IMAGE, joined(lambda e, x: x)),
    "Concat empty": Case(IMAGE, joined(lambda e, x: e.const(np.zeros((1, 0, 6, 8))))),
    "Concat of rank 5": Case((1, 2, 3, 2, 4), joined(one("Exp"), axis=2)),
    "focus": Case(
        IMAGE,
        lambda e, x: e.op(
            "Concat", *[sliced((2, i, END, 2), (3, j, END, 2))(e, x) for j in (0, 1) for i in (0, 1)], axis=1
        ),
    ),
    "Split even": Case(IMAGE, split(2, 2)),
    "Split even pixels": Case(IMAGE, split(2, 2, 2, axis=2)),
    "Split uneven": Case(IMAGE, split(1, 2, 1)),
    "Split number": Case(IMAGE, lambda e, x: e.ops("Split", x, outputs=2, axis=1, num_outputs=2)),
    "Split number, rest": Case(IMAGE, lambda e, x: e.ops("Split", x, outputs=3, axis=-1, num_outputs=3)),
    "Split, one read": Case(IMAGE, split(2, 2, read=1)),
    "Split uneven, one read": Case(IMAGE, split(1, 3, read=1)),
    "Split of one": Case(IMAGE, split(4)),
    "Expand": Case((1, 4, 1, 1), one("Expand", np.asarray([1, 4, 6, 8]))),
    "Expand longer": Case((4, 1), one("Expand", np.asarray([2, 3, 1, 5]))),
    "Expand both ways": Case((1, 4, 1, 8), one("Expand", np.asarray([2, 1, 3, 1]))),
    "Expand to itself": Case(IMAGE, one("Expand", np.asarray([1]))),
    "Expand integers": Case(
        (1, 4, 1, 1), lambda e, x: e.op("Expand", e.op("Cast", x, to=TensorProto.INT64), e.ints(1, 4, 3, 2))
    ),
    "Expand bools": Case((1, 4, 1, 1), lambda e, x: e.op("Expand", e.op("Less", x, e.const(0.0)), e.ints(1, 4, 3, 2))),
    "Expand to rank 6": Case((1, 4, 1, 1, 2, 1), one("Expand", np.asarray([1, 4, 3, 2, 2, 2]))),
    "Tile": Case(IMAGE, one("Tile", np.asarray([1, 2, 3, 1]))),
}
PICKS = {
    "Slice": Case(IMAGE, sliced((1, 1, 3, 1))),
    "Slice axes": Case(IMAGE, sliced((2, 1, -1, 1), (-1, -3, END, 1))),
    "Slice steps": Case(IMAGE, sliced((2, 1, END, 2), (1, 0, 4, 3))),
    "Slice backwards": Case(IMAGE, sliced((1, -1, -END, -1))),
    "Slice backwards, part": Case(IMAGE, sliced((2, 4, 1, -2), (3, -1, -END, -3))),
    "Slice no axes": Case(IMAGE, lambda e, x: e.op("Slice", x, e.ints(0, 1), e.ints(1, 3))),
    "Slice of rank 5": Case((1, 2, 3, 4, 5), sliced((4, 1, 3, 1), (2, 0, 3, 2))),
    "Slice of rank 6": Case((1, 2, 3, 4, 2, 5), sliced((5, 1, 3, 1), (2, 0, 2, 1))),
    "Slice of rank 6, steps": Case((1, 2, 3, 4, 2, 5), sliced((5, 1, 5, 2), (2, -1, -END, -1))),
    "Slice of integers": Case(IMAGE, lambda e, x: sliced((1, 3, 0, -2))(e, e.op("Cast", x, to=TensorProto.INT64))),
    **{
        f"Gather {name} {axis}": Case(IMAGE, one("Gather", np.asarray(picks), axis=axis))
        for name, picks in {
            "scalar": 1,
            "negative scalar": -1,
            "list": [2, 0, 2],
            "matrix": [[0, 1], [-1, 2]],
            "neighbours": [1, 2],
            "single": [1],
        }.items()
        for axis in (1, 2, -1)
    },
    "Gather computed": Case(IMAGE, lambda e, x: e.op("Gather", x, indices(e, x, 3, 5), axis=1)),
    "Gather computed 2-D": Case(IMAGE, lambda e, x: e.op("Gather", x, indices(e, x, 5, 2, 3), axis=2)),
    "Gather computed scalar": Case(IMAGE, lambda e, x: e.op("Gather", x, e.op("Squeeze", indices(e, x, 5, 1)), axis=2)),
    "Gather from constant": Case(
        IMAGE, lambda e, x: e.op("Gather", e.const(random(6, 3)), indices(e, x, 5, 2, 3), axis=0)
    ),
    "Gather from constant, last": Case(
        IMAGE, lambda e, x: e.op("Gather", e.const(random(3, 6)), indices(e, x, 5, 4), axis=1)
    ),
    "Gather best": Case(
        (1, 20, 3),
        lambda e, x: e.op(
            "Gather",
            e.op("Squeeze", x, e.ints(0)),
            e.op("Squeeze", e.ops("TopK", e.op("ReduceMax", x, e.ints(2), keepdims=0), e.ints(5), outputs=2)[1]),
            axis=0,
        ),
    ),
    "GatherElements": Case((1, 20, 4), lambda e, x: e.op("GatherElements", x, indices(e, x, 19, 1, 6, 4), axis=1)),
    "GatherElements image": Case(IMAGE, lambda e, x: e.op("GatherElements", x, indices(e, x, 7, 1, 3, 6, 5), axis=-1)),
    "GatherElements constant": Case(IMAGE, one("GatherElements", np.asarray([[[[0, -1]]]]), axis=3)),
    "GatherElements tiled": Case(
        (1, 20, 4),
        lambda e, x: e.op(
            "GatherElements",
            x,
            e.op(
                "Tile",
                e.op(
                    "Unsqueeze",
                    e.ops("TopK", e.op("ReduceMax", x, e.ints(-1), keepdims=0), e.ints(5), outputs=2, axis=1)[1],
                    e.ints(-1),
                ),
                e.ints(1, 1, 4),
            ),
            axis=1,
        ),
    ),
    "GatherND": Case(IMAGE, one("GatherND", np.asarray([[0, 3], [-1, 1]]))),
    "GatherND values": Case(IMAGE, one("GatherND", np.asarray([[0, 3, 5, -1], [0, 1, 2, 3]]))),
    "GatherND computed": Case((4, 5), lambda e, x: e.op("GatherND", x, indices(e, x, 3, 3, 2))),
    "ScatterND": Case((4, 5), one("ScatterND", np.asarray([[1], [-1]]), random(2, 5))),
    "ScatterND in place": Case(
        IMAGE,
        lambda e, x: e.op(
            "ScatterND",
            x,
            e.const(np.stack(np.meshgrid([0], [1, 2], indexing="ij"), -1), np.int64),
            e.op("Exp", sliced((1, 1, 3, 1))(e, x)),
        ),
    ),
    **{
        f"Pad {mode}": Case(IMAGE, one("Pad", np.asarray([0, 1, 0, 2, 0, 0, 3, 1]), mode=mode))
        for mode in ("constant", "reflect", "edge")
    },
    "Pad wrap": Case(IMAGE, one("Pad", np.asarray([0, 1, 0, 2, 0, 0, 3, 1]), mode="wrap"), opset=19),
    "Pad value": Case(IMAGE, one("Pad", np.asarray([0, 0, 1, 1, 0, 0, 1, 1]), np.float32(114))),
    "Pad axes": Case(IMAGE, one("Pad", np.asarray([1, 2, 3, 0]), np.float32(0), np.asarray([-1, 2]))),
    "Pad and crop": Case(IMAGE, one("Pad", np.asarray([0, 0, -1, 1, 0, 0, 2, -3]))),
    "Pad crop": Case(IMAGE, one("Pad", np.asarray([0, 0, -1, -1, 0, 0, -1, -3]))),
    "Pad nothing": Case(IMAGE, one("Pad", np.zeros(8, np.int64), mode="reflect")),
    "Pad rank 5": Case((1, 2, 3, 2, 4), one("Pad", np.asarray([0, 0, 1, 0, 1, 0, 0, 1, 0, 2]))),
}


@both({**RESHAPES, **JOINS})
def test_reshapes_and_joins(case: Case, after_conv: bool) -> None:
    check(case, after_conv)


@both(PICKS)
def test_picks(case: Case, after_conv: bool) -> None:
    check(case, after_conv)
