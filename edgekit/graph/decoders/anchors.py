"""Decoders of the families whose boxes are sizes relative to anchors: YOLOv5, v7 and their like.

Exported with their decoding, anchors are in the graph and boxes leave in pixels. Exported without, they are in
no file that edgekit reads: only the user's word chooses the standard ones.
"""

from __future__ import annotations

import numpy as np

from edgekit.graph.decoders.base import Decoded, Decoder, Heads, never
from edgekit.graph.decoders.forms import in_pixels
from edgekit.graph.decoders.origins import ARITHMETIC, OTHER, PROBABILITY, RAW
from edgekit.graph.decoders.yolo import CENTRES, with_objectness

# Of YOLOv5's models for COCO, in pixels, at strides 8, 16 and 32; v7's differ.
_YOLOV5 = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))


def _matches_yolov5(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 3 or shape[2] <= 5 or not heads.strides(shape[1], anchors=3):
        return False
    kinds = heads.kinds(heads.outputs[0], 2)
    return kinds[0] in (ARITHMETIC, OTHER) and all(k in (PROBABILITY, OTHER) for k in kinds[4:])


def _decode_yolov5(heads: Heads) -> Decoded:
    boxes = heads.channels(heads.outputs[0], 2, 0, 4)
    return with_objectness(heads, in_pixels(heads, boxes, CENTRES))


def undecoded(heads: Heads) -> str:
    """What shows that boxes are still relative to anchors; "" where nothing does."""
    raw = (PROBABILITY, RAW)
    shape = heads.single()
    if len(shape) == 3 and shape[2] > 5 and heads.strides(shape[1], anchors=3):
        kinds = heads.kinds(heads.outputs[0], 2)
        if kinds[0] in raw and kinds[4] in raw:
            from_ = "a sigmoid" if kinds[0] == PROBABILITY else "a convolution"
            return (
                f"its output {heads.outputs[0]} {shape} has 3 boxes a cell at strides "
                f"{', '.join(map(str, heads.strides(shape[1], anchors=3)))}, whose four numbers come straight from {from_}"
            )
    shapes = [heads.shape(n) for n in heads.outputs]
    maps = [(n, s) for n, s in zip(heads.outputs, shapes) if len(s) in (4, 5)]
    if len(maps) < 2 or len(maps) != len(shapes):
        return ""
    if all(len(s) == 5 and s[1] == 3 and s[4] > 5 for _, s in maps):
        return f"its outputs {', '.join(f'{n} {s}' for n, s in maps)} have 3 boxes a cell, not decoded"
    axis = 3 if maps[0][1][1] == maps[0][1][2] != maps[0][1][3] else 1
    runs = [[r.size for r in heads.runs(n, axis)] for n, _ in maps]
    if all(len(r) == 3 and r[0] == 4 * r[1] and r[1] > 1 for r in runs):
        return f"its outputs {', '.join(f'{n} {s}' for n, s in maps)} have {runs[0][1]} boxes a cell, not decoded"
    if all(len(r) == 1 and s[axis] % 3 == 0 and s[axis] > 15 for r, (_, s) in zip(runs, maps)):
        first = {heads.kinds(n, axis)[0] for n, _ in maps}
        if first <= set(raw):
            return f"its outputs {', '.join(f'{n} {s}' for n, s in maps)} come straight from the network"
    return ""


def like_yolov5(heads: Heads) -> bool:
    """Whether three levels of three boxes a cell would fit `yolov5-raw`."""
    shapes = [heads.shape(n) for n in heads.outputs]
    last = shapes[0][1] // 3 if len(shapes[0]) == 4 else shapes[0][-1]
    rows = sum(s[1] if len(s) == 3 else 3 * s[-2] * (s[-3] if len(s) == 5 else s[-1]) for s in shapes)
    if len(shapes[0]) == 4 and any(s[1] != shapes[0][1] or s[1] % 3 for s in shapes):
        return False
    return len(shapes) in (1, 3) and last > 5 and len(heads.strides(rows, anchors=3)) == len(_YOLOV5)


def _rows(heads: Heads) -> tuple[str, tuple[int, ...]]:
    """All levels as one (1, 3N, 5+C) after the sigmoid, anchors outside cells as YOLOv5 orders them."""
    edit, raw = heads.edit, []
    for name in heads.outputs:
        shape = heads.shape(name)
        if len(shape) == 4:  # (1, 3·(5+C), H, W)
            split = edit.reshape(name, 1, 3, shape[1] // 3, shape[2] * shape[3])
            name = edit.reshape(edit.transpose(split, 0, 1, 3, 2), 1, 3 * shape[2] * shape[3], shape[1] // 3)
        elif len(shape) == 5:
            name = edit.reshape(name, 1, shape[1] * shape[2] * shape[3], shape[4])
        raw.append((name, shape))
    joined = raw[0][0] if len(raw) == 1 else edit.op("Concat", *(n for n, _ in raw), axis=1)
    last = raw[0][1]
    count = last[1] if len(last) == 3 else sum(3 * int(np.prod(s[2:4])) for _, s in raw)
    channels = last[1] // 3 if len(last) == 4 else last[-1]
    if heads.kind(heads.outputs[0]) == RAW:
        joined = edit.op("Sigmoid", joined)
    assert channels > 5
    return joined, (count, channels)


def _decode_raw(heads: Heads) -> Decoded:
    edit = heads.edit
    name, (count, channels) = _rows(heads)
    strides = heads.strides(count, anchors=3)
    assert len(strides) == len(_YOLOV5)
    grids, scales, sizes = [], [], []
    for stride, anchors in zip(strides, _YOLOV5):
        grid, scale = heads.grid((stride,), offset=-0.5)
        grids.append(np.tile(grid, (1, 3, 1)))
        scales.append(np.tile(scale, (1, 3, 1)))
        sizes.append(np.repeat(np.array(anchors).reshape(1, 3, 2), grid.shape[1], axis=1))
    twice = edit.op("Mul", edit.slice(name, 2, 0, 4), edit.const(2.0))
    place = edit.op("Add", edit.slice(twice, 2, 0, 2), edit.const(np.concatenate(grids, 1)))
    centre = edit.op("Mul", place, edit.const(np.concatenate(scales, 1)))
    side = edit.slice(twice, 2, 2, 4)
    size = edit.op("Mul", edit.op("Mul", side, side), edit.const(np.concatenate(sizes, 1)))
    boxes = heads.corners(edit.op("Concat", centre, size, axis=2))
    scores = edit.op("Mul", edit.slice(name, 2, 5, channels), edit.slice(name, 2, 4, 5))
    note = "boxes were decoded with the anchors of YOLOv5's COCO models, which the graph does not hold"
    return Decoded(boxes, edit.transpose(scores, 0, 2, 1), count, channels - 5, notes=(note,))


ANCHOR_DECODERS = (
    Decoder(
        "yolov5", "(1, 3N, 5+C): xywh pixels, objectness, classes (YOLOv5, YOLOv7)", _matches_yolov5, _decode_yolov5
    ),
    Decoder("yolov5-raw", "yolov5 before decoding; anchors of its COCO models", never, _decode_raw),
)
