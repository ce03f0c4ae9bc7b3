"""Decoders of the families with one prediction a cell, in one output that still holds every candidate."""

from __future__ import annotations

import numpy as np

from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.forms import Form, in_pixels
from edgekit.graph.decoders.origins import ARITHMETIC, CONSTANT, OTHER, PROBABILITY, RAW

_SCORES = (PROBABILITY, OTHER)  # OTHER: the graph does something to them that was not followed
CENTRES = Form(corners=False, unit=False)


def rows(heads: Heads) -> tuple[str, int, int]:
    """The output, its number of candidates and of channels, when it is (1, N, channels)."""
    name = heads.outputs[0]
    _, count, channels = heads.shape(name)
    return name, count, channels


def _matches_yolov8(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 3 or shape[1] < 5:
        return False
    upright = bool(heads.strides(shape[2])) and shape[1] < shape[2]
    if not upright and not heads.strides(shape[1]):
        return False
    axis = 1 if upright else 2
    kinds, sizes = (heads.kinds(heads.outputs[0], axis), [r.size for r in heads.runs(heads.outputs[0], axis)])
    likely = all(k in _SCORES for k in kinds[4:]) or _logits(heads, axis)
    if PROBABILITY in kinds[:4] or _distances(heads, axis) or not likely:
        return False
    objectness = sizes[:2] == [4, 1] and len(kinds) > 5
    if upright:
        return not objectness or heads.classes == len(kinds) - 4
    # (1, N, channels) may be YOLOX or YOLOv6 as well, whose fifth channel is another tensor than its sixth
    return heads.classes == len(kinds) - 4 or (not heads.classes and len(_after_boxes(heads)) == 1)


def _distances(heads: Heads, axis: int) -> bool:
    """Whether boxes are means of distributions as they are: distances to points that the graph does not add."""
    first = heads.origins.channels(heads.outputs[0], axis)[0]
    layer = heads.view.producers.get(first.tensor.partition("[")[0])
    return first.kind == RAW and layer is not None and heads.activation(layer.input[0]) == "Softmax"


def _logits(heads: Heads, axis: int) -> bool:
    """Whether classes leave one layer, before their sigmoid, beside boxes that are decoded."""
    kinds, runs = heads.kinds(heads.outputs[0], axis), heads.runs(heads.outputs[0], axis)
    return RAW not in kinds[:4] and runs[-1].kind == RAW and runs[-1].size == len(kinds) - 4


def _after_boxes(heads: Heads) -> list[int]:
    """Sizes of what is joined after the four numbers of a box, in (1, N, channels)."""
    sizes = [r.size for r in heads.runs(heads.outputs[0], 2)]
    return next((sizes[i:] for i in range(1, len(sizes)) if sum(sizes[:i]) == 4), [])


def _decode_yolov8(heads: Heads) -> Decoded:
    name = heads.outputs[0]
    _, channels, count = heads.shape(name)
    axis = 2 if channels > count or not heads.strides(count) else 1
    if axis == 2:  # (1, N, 4 + C)
        channels, count = count, channels
        boxes = heads.channels(name, 2, 0, 4)
        scores = heads.edit.transpose(heads.channels(name, 2, 4, channels), 0, 2, 1)
    else:
        boxes = heads.edit.transpose(heads.channels(name, 1, 0, 4), 0, 2, 1)
        scores = heads.channels(name, 1, 4, channels)
    if _logits(heads, axis):
        scores = as_likely(heads, scores)
    return Decoded(in_pixels(heads, boxes, CENTRES), scores, count, channels - 4)


def as_likely(heads: Heads, scores: str) -> str:
    heads.notes.append("its scores leave before their sigmoid; it was added")
    return heads.edit.op("Sigmoid", scores)


def with_objectness(heads: Heads, boxes: str) -> Decoded:
    """Boxes beside (1, N, 5 + C) predictions whose fifth channel is the objectness."""
    name, count, channels = rows(heads)
    objectness = heads.channels(name, 2, 4, 5)
    scores = heads.edit.op("Mul", heads.channels(name, 2, 5, channels), objectness)
    return Decoded(boxes, heads.edit.transpose(scores, 0, 2, 1), count, channels - 5)


def _matches_yolox(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 3 or shape[2] <= 5 or not heads.strides(shape[1]):
        return False
    kinds = heads.kinds(heads.outputs[0], 2)
    if PROBABILITY in kinds[:4] or kinds[4] not in _SCORES:
        return False
    if not all(k in _SCORES for k in kinds[5:]):
        return False
    if heads.classes:
        return shape[2] == 5 + heads.classes
    return _after_boxes(heads)[:1] == [1]


def _decode_yolox(heads: Heads) -> Decoded:
    name, count, _ = rows(heads)
    raw = heads.channels(name, 2, 0, 4)
    if heads.kinds(name, 2)[0] == ARITHMETIC:  # exported with its own decoding
        return with_objectness(heads, in_pixels(heads, raw, CENTRES))
    grid, scale = heads.grid(heads.strides(count), offset=0.0)
    edit = heads.edit
    steps = edit.const(scale)
    centre = edit.op("Mul", edit.op("Add", edit.slice(raw, 2, 0, 2), edit.const(grid)), steps)
    size = edit.op("Mul", edit.op("Exp", edit.slice(raw, 2, 2, 4)), steps)
    return with_objectness(heads, heads.corners(edit.op("Concat", centre, size, axis=2)))


def _matches_yolov6(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 3 or shape[2] <= 5 or not heads.strides(shape[1]):
        return False
    kinds = heads.kinds(heads.outputs[0], 2)
    return set(kinds[:5]) == {ARITHMETIC, CONSTANT} and kinds[4] == CONSTANT and set(kinds[5:]) == {PROBABILITY}


def _decode_yolov6(heads: Heads) -> Decoded:
    return with_objectness(heads, in_pixels(heads, heads.channels(heads.outputs[0], 2, 0, 4), CENTRES))


def _nanodet_split(heads: Heads) -> int:
    """Classes of a NanoDet output (1, N, C + 4·(bins)), or 0 when it is none."""
    shape = heads.single()
    if len(shape) != 3 or not heads.strides(shape[1]):
        return 0
    runs = heads.runs(heads.outputs[0], 2)
    kinds = [r.kind for r in runs]
    if kinds[:1] == [PROBABILITY] and len(runs) == 2 and runs[1].size % 4 == 0 and runs[1].size >= 16:
        return runs[0].size if kinds[1] != PROBABILITY else 0
    rest = shape[2] - heads.classes
    certain = set(kinds) & {PROBABILITY, RAW}
    return heads.classes if heads.classes and rest in (32, 64, 68) and not certain else 0


def _decode_nanodet(heads: Heads) -> Decoded:
    name, count, channels = rows(heads)
    classes = _nanodet_split(heads) or heads.classes or channels - 32
    sides = heads.distances(heads.channels(name, 2, classes, channels), count, (channels - classes) // 4)
    # NanoDet-Plus has four strides, and measures from the corner of a cell (its `get_single_level_center_priors`);
    # those before it have three, and measure from its middle.
    strides = heads.strides(count)
    boxes = heads.around(sides, *heads.grid(strides, offset=0.0 if len(strides) > 3 else 0.5))
    scores = heads.edit.transpose(heads.channels(name, 2, 0, classes), 0, 2, 1)
    return Decoded(boxes, scores, count, classes)


def _matches_fastestdet(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 4 or shape[1] <= 5:
        return False
    runs = heads.runs(heads.outputs[0], 1)
    kinds = [r.kind for r in runs[:3]]
    return [r.size for r in runs][:2] == [1, 4] and kinds == [PROBABILITY, RAW, PROBABILITY]


def _decode_fastestdet(heads: Heads) -> Decoded:
    name, edit = heads.outputs[0], heads.edit
    _, channels, height, width = heads.shape(name)
    count, classes = height * width, channels - 5

    def flat(start: int, end: int) -> str:
        return edit.reshape(heads.channels(name, 1, start, end), 1, end - start, count)

    objectness, box, probability = flat(0, 1), flat(1, 5), flat(5, channels)
    y, x = np.mgrid[:height, :width]
    grid = edit.const(np.stack((x, y)).reshape(1, 2, count))
    cell = edit.const(np.array([1 / width, 1 / height]).reshape(1, 2, 1))
    offset = edit.op("Tanh", edit.slice(box, 1, 0, 2))
    centre = edit.op("Mul", edit.op("Add", offset, grid), cell)
    size = edit.op("Sigmoid", edit.slice(box, 1, 2, 4))
    boxes = edit.transpose(edit.op("Concat", centre, size, axis=1), 0, 2, 1)
    # The score its authors use: objectness^0.6 · class^0.4.
    scores = edit.op("Mul", edit.op("Pow", objectness, edit.const(0.6)), edit.op("Pow", probability, edit.const(0.4)))
    return Decoded(heads.corners(boxes, heads.image_scale()), scores, count, classes)


_YOLOX_IMAGE = {"resize": "letterbox-topleft", "color": "bgr", "mean": (0.0,) * 3, "std": (1.0,) * 3}
NANODET_IMAGE = {"resize": "stretch", "color": "bgr", "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}

YOLO_DECODERS = (
    Decoder(
        "yolov8",
        "(1, 4+C, N) or (1, N, 4+C): xywh pixels, classes (Ultralytics, YOLOv9)",
        _matches_yolov8,
        _decode_yolov8,
    ),
    Decoder(
        "yolox",
        "(1, N, 5+C): a box a cell, objectness, classes (YOLOX)",
        _matches_yolox,
        _decode_yolox,
        _YOLOX_IMAGE,
        0.65,
    ),
    Decoder("yolov6", "(1, N, 5+C): xywh pixels, one, classes (YOLOv6)", _matches_yolov6, _decode_yolov6),
    Decoder(
        "nanodet",
        "(1, N, C+4·bins): classes, side distributions (NanoDet-Plus)",
        lambda heads: _nanodet_split(heads) > 0,
        _decode_nanodet,
        NANODET_IMAGE,
        0.6,
    ),
    Decoder(
        "fastestdet",
        "(1, 5+C, H, W): objectness, box, classes (FastestDet)",
        _matches_fastestdet,
        _decode_fastestdet,
        {"resize": "stretch", "color": "bgr"},
        0.45,
    ),
)
