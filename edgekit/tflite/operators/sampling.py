"""GridSample: pixels at computed places, as deformable attention and flow fields read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema

from edgekit.graph.view import attribute
from edgekit.tflite.layout import CHANNELS_LAST, arrange, identity
from edgekit.tflite.operators.spatial import image
from edgekit.tflite.state import Lowering, lowers

if TYPE_CHECKING:
    from numpy.typing import DTypeLike


_OPTIONS = {
    "ADD": schema.AddOptionsT,
    "SUB": schema.SubOptionsT,
    "MUL": schema.MulOptionsT,
    "PAD": schema.PadOptionsT,
    "CAST": schema.CastOptionsT,
    "SUM": schema.ReducerOptionsT,
    "SLICE": schema.SliceOptionsT,
    "GATHER": schema.GatherOptionsT,
}


@lowers("GridSample")
def grid_sample(to: Lowering, node: onnx.NodeProto) -> None:
    """Four gathers from the flat image, each times its share. What lies outside is a ring of zeros,
    where all places further out are moved to."""
    (x, grid), result = node.input, node.output[0]
    count, channels, height, width = image(to, x)
    rows, columns = image(to, grid)[1:3]
    mode = attribute(node, "mode", b"linear").decode()
    outside = attribute(node, "padding_mode", b"zeros").decode()
    if mode not in ("linear", "bilinear", "nearest") or outside not in ("zeros", "border"):
        raise to.cannot(f"edgekit writes no GridSample that is {mode} with padding {outside}")
    ring = int(outside == "zeros")
    places, flat = (count, rows, columns, 2), count * (height + 2 * ring) * (width + 2 * ring)
    sizes, larger = np.asarray([width, height]), np.asarray([width, height]) + 2 * ring

    def op(kind: str, inputs: Sequence[int], shape: Sequence[int] = places, dtype: DTypeLike = np.float32) -> int:
        return to.temporary(kind, inputs, shape, dtype, _OPTIONS[kind]() if kind in _OPTIONS else None)

    tensor = to.take(x, CHANNELS_LAST)
    if ring:
        around = to.ints([[0, 0], [1, 1], [1, 1], [0, 0]])
        tensor = op("PAD", [tensor, around], (count, *larger[::-1].tolist(), channels))
    pixels = to.reshape(tensor, (flat, channels))
    spread = (sizes - bool(attribute(node, "align_corners", 0))) / 2
    place = op("MUL", [to.take(grid, identity(4)), to.floats(spread)])
    place = op("ADD", [place, to.floats((sizes - 1) / 2 + ring)])
    place = place if mode != "nearest" else op("ROUND", [place])
    place = op("MINIMUM", [op("MAXIMUM", [place, to.floats([0.0])]), to.floats(larger - 1)])
    corner = place if mode == "nearest" else op("FLOOR", [place])
    last = np.maximum(larger - 2, 0)  # the last pixel that has one to its right and below
    corner = corner if mode == "nearest" else op("MINIMUM", [corner, to.floats(last)])
    whole = op("MUL", [op("CAST", [corner], dtype=np.int32), to.ints([1, larger[0]])], dtype=np.int32)
    index = op("SUM", [whole, to.ints([3])], places[:3], np.int32)
    if count > 1:
        starts = np.arange(count).reshape(-1, 1, 1) * (flat // count)
        index = op("ADD", [index, to.ints(starts)], places[:3], np.int32)
    out = arrange(to.shape(result), CHANNELS_LAST)
    if mode == "nearest":
        inputs = [pixels, index]
        to.put(result, "GATHER", inputs, CHANNELS_LAST, schema.GatherOptionsT())
        return
    share, one = op("SUB", [place, corner]), to.floats([1.0])
    total = -1
    for down in (0, 1):
        for right in (0, 1):
            parts = []
            for axis, far in ((0, right), (1, down)):
                begin, size = to.ints([0, 0, 0, axis]), to.ints([*places[:3], 1])
                part = op("SLICE", [share, begin, size], (*places[:3], 1))
                parts.append(part if far else op("SUB", [one, part], (*places[:3], 1)))
            step = int(right * (larger[0] > 1) + down * (larger[1] > 1) * larger[0])
            moved = op("ADD", [index, to.ints([step])], places[:3], np.int32) if step else index
            value = op("GATHER", [pixels, moved], out)
            weight = op("MUL", parts, (*places[:3], 1))
            if right and down:
                last_part = op("MUL", [value, weight], out)
                to.put(result, "ADD", [total, last_part], CHANNELS_LAST, schema.AddOptionsT())
            else:
                value = op("MUL", [value, weight], out)
                total = value if total < 0 else op("ADD", [total, value], out)
