"""Decoders of the YOLO families whose outputs still hold every candidate."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.graph.decoders.base import Decoded, Decoder, Heads

Array = np.ndarray[Any, Any]


def _rows(heads: Heads) -> tuple[str, int, int]:
    """The output, its number of candidates and of channels, when it is (1, N, channels)."""
    name = heads.outputs[0]
    _, count, channels = heads.shape(name)
    return name, count, channels


def _matches_yolov8(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 3 or shape[1] < 5:
        return False
    if heads.strides(shape[2]) and shape[1] < shape[2]:
        parts = heads.parts(heads.outputs[0], 1)
        return [size for size, _ in parts][:2] != [4, 1] or not heads.classes
    return bool(heads.classes) and bool(heads.strides(shape[1])) and shape[2] == 4 + heads.classes


def _decode_yolov8(heads: Heads) -> Decoded:
    name = heads.outputs[0]
    _, channels, count = heads.shape(name)
    if channels > count or not heads.strides(count):  # (1, N, 4 + C)
        channels, count = count, channels
        boxes = heads.channels(name, 2, 0, 4)
        scores = heads.edit.transpose(heads.channels(name, 2, 4, channels), 0, 2, 1)
    else:
        boxes = heads.edit.transpose(heads.channels(name, 1, 0, 4), 0, 2, 1)
        scores = heads.channels(name, 1, 4, channels)
    return Decoded(heads.corners(boxes), scores, count, channels - 4)


def _matches_yolov5(heads: Heads) -> bool:
    shape = heads.single()
    return len(shape) == 3 and shape[2] > 5 and bool(heads.strides(shape[1], anchors=3))


def _with_objectness(heads: Heads, boxes: str) -> Decoded:
    """Boxes beside (1, N, 5 + C) predictions whose fifth channel is the objectness."""
    name, count, channels = _rows(heads)
    objectness = heads.channels(name, 2, 4, 5)
    scores = heads.edit.op("Mul", heads.channels(name, 2, 5, channels), objectness)
    return Decoded(boxes, heads.edit.transpose(scores, 0, 2, 1), count, channels - 5)


def _decode_yolov5(heads: Heads) -> Decoded:
    return _with_objectness(heads, heads.corners(heads.channels(heads.outputs[0], 2, 0, 4)))


def _matches_yolox(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 3 or shape[2] <= 5 or not heads.strides(shape[1]):
        return False
    sizes = [size for size, _ in heads.parts(heads.outputs[0], 2)]
    if heads.classes:
        return shape[2] == 5 + heads.classes
    return sizes[:2] == [4, 1]


def _decode_yolox(heads: Heads) -> Decoded:
    name, count, _ = _rows(heads)
    raw = heads.channels(name, 2, 0, 4)
    if any(size == 2 for size, _ in heads.parts(name, 2)):  # exported with its own decoding
        return _with_objectness(heads, heads.corners(raw))
    grid, scale = _grid(heads, heads.strides(count), offset=0.0)
    edit = heads.edit
    steps = edit.const(scale)
    centre = edit.op("Mul", edit.op("Add", edit.slice(raw, 2, 0, 2), edit.const(grid)), steps)
    size = edit.op("Mul", edit.op("Exp", edit.slice(raw, 2, 2, 4)), steps)
    return _with_objectness(heads, heads.corners(edit.op("Concat", centre, size, axis=2)))


def _grid(heads: Heads, strides: tuple[int, ...], offset: float) -> tuple[Array, Array]:
    """Cell positions (1, N, 2) as x, y in strides, and the stride (1, N, 1) of each cell."""
    points, scales = [], []
    for stride in strides:
        rows, columns = -(-heads.height // stride), -(-heads.width // stride)
        y, x = np.mgrid[:rows, :columns]
        points.append(np.stack((x, y), -1).reshape(-1, 2) + offset)
        scales.append(np.full((rows * columns, 1), stride))
    return np.concatenate(points)[None], np.concatenate(scales)[None]


def _nanodet_split(heads: Heads) -> int:
    """Classes of a NanoDet output (1, N, C + 4·(bins)), or 0 when it is none."""
    shape = heads.single()
    if len(shape) != 3 or not heads.strides(shape[1]):
        return 0
    parts = heads.parts(heads.outputs[0], 2)
    sizes = [size for size, _ in parts]
    if len(parts) == 2 and parts[0][1] == "Sigmoid" and sizes[1] % 4 == 0 and sizes[1] >= 16:
        return sizes[0]
    rest = shape[2] - heads.classes
    return heads.classes if heads.classes and rest in (32, 64, 68) else 0


def _decode_nanodet(heads: Heads) -> Decoded:
    name, count, channels = _rows(heads)
    classes = _nanodet_split(heads) or heads.classes or channels - 32
    edit = heads.edit
    bins = (channels - classes) // 4
    sides = edit.reshape(heads.channels(name, 2, classes, channels), 1, count, 4, bins)
    steps = edit.const(np.arange(bins).reshape(bins, 1))
    distance = edit.reshape(edit.op("MatMul", edit.op("Softmax", sides, axis=3), steps), 1, count, 4)
    # NanoDet's cells are at their corner, not their centre (its `get_single_level_center_priors`).
    grid, scale = _grid(heads, heads.strides(count), offset=0.0)
    centre = edit.const(grid)
    low = edit.op("Sub", centre, edit.slice(distance, 2, 0, 2))
    high = edit.op("Add", centre, edit.slice(distance, 2, 2, 4))
    boxes = edit.op("Mul", edit.op("Concat", low, high, axis=2), edit.const(scale))
    scores = edit.transpose(heads.channels(name, 2, 0, classes), 0, 2, 1)
    return Decoded(boxes, scores, count, classes)


def _matches_fastestdet(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) != 4 or shape[1] <= 5:
        return False
    return [size for size, _ in heads.parts(heads.outputs[0], 1)][:2] == [1, 4]


def _decode_fastestdet(heads: Heads) -> Decoded:
    name, edit = heads.outputs[0], heads.edit
    _, channels, rows, columns = heads.shape(name)
    count, classes = rows * columns, channels - 5

    def flat(start: int, end: int) -> str:
        return edit.reshape(heads.channels(name, 1, start, end), 1, end - start, count)

    objectness, box, probability = flat(0, 1), flat(1, 5), flat(5, channels)
    y, x = np.mgrid[:rows, :columns]
    grid = edit.const(np.stack((x, y)).reshape(1, 2, count))
    cell = edit.const(np.array([1 / columns, 1 / rows]).reshape(1, 2, 1))
    offset = edit.op("Tanh", edit.slice(box, 1, 0, 2))
    centre = edit.op("Mul", edit.op("Add", offset, grid), cell)
    size = edit.op("Sigmoid", edit.slice(box, 1, 2, 4))
    boxes = edit.transpose(edit.op("Concat", centre, size, axis=1), 0, 2, 1)
    # The score its authors use: objectness^0.6 · class^0.4.
    scores = edit.op(
        "Mul",
        edit.op("Pow", objectness, edit.const(0.6)),
        edit.op("Pow", probability, edit.const(0.4)),
    )
    return Decoded(heads.corners(boxes, heads.image_scale()), scores, count, classes)


_YOLOX_IMAGE = {
    "resize": "letterbox-topleft", "color": "bgr", "mean": (0.0,) * 3, "std": (1.0,) * 3
}  # fmt: skip
_NANODET_IMAGE = {
    "resize": "stretch", "color": "bgr",
    "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395),
}  # fmt: skip

YOLO_DECODERS = (
    Decoder("yolov8", "(1, 4+C, N) or (1, N, 4+C): xywh pixels, class probabilities "
            "(Ultralytics YOLOv8, v9, 11; WongKinYiu YOLOv9)", _matches_yolov8, _decode_yolov8),
    Decoder("yolov5", "(1, 3N, 5+C): xywh pixels, objectness, classes (YOLOv5, YOLOv7)",
            _matches_yolov5, _decode_yolov5),
    Decoder("yolox", "(1, N, 5+C): xy offset and log wh per cell, objectness, classes (YOLOX)",
            _matches_yolox, _decode_yolox, _YOLOX_IMAGE, 0.65),
    Decoder("nanodet", "(1, N, C+4·bins): class probabilities, side distributions (NanoDet)",
            lambda heads: _nanodet_split(heads) > 0, _decode_nanodet, _NANODET_IMAGE, 0.6),
    Decoder("fastestdet", "(1, 5+C, H, W): objectness, box, classes (FastestDet)",
            _matches_fastestdet, _decode_fastestdet, {"resize": "stretch", "color": "bgr"}, 0.45),
)  # fmt: skip
