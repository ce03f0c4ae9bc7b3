"""Decoders of the families that leave several outputs for each stride, to be put together outside."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.origins import PROBABILITY, RAW
from edgekit.graph.decoders.yolo import NANODET_IMAGE, as_likely

_YOLOV8 = 64  # channels of four sides, of 16 bins each
_STRIDES = (4, 8, 16, 32, 64, 128)
Levels = Mapping[int, list[tuple[str, int]]]  # (output, channels) of each stride


def _levels(heads: Heads) -> Levels:
    """Outputs by their stride, where all are (1, N, channels), (1, channels, H, W) or (1, H, W, channels) of one."""
    for last in (False, True):  # where all are one way: 80 classes on 80 x 80 cells are either by themselves
        tensors: dict[int, list[tuple[str, int]]] = {}
        for name in heads.outputs:
            sizes = {s: _channels(heads, name, s, last) for s in _STRIDES}
            for stride in [s for s, c in sizes.items() if c][:1]:
                tensors.setdefault(stride, []).append((name, sizes[stride]))
        strides = sorted(tensors)
        doubling = all(b == 2 * a for a, b in itertools.pairwise(strides))
        if sum(map(len, tensors.values())) == len(heads.outputs) and doubling and len(strides) > 1:
            return {s: tensors[s] for s in strides}
    return {}


def _channels(heads: Heads, name: str, stride: int, last: bool) -> int:
    """The number of channels of an output that has a row for each cell of a stride, or 0."""
    shape = heads.shape(name)
    cells = -(-heads.height // stride), -(-heads.width // stride)
    if len(shape) == 3:
        return shape[2] if shape[1] == cells[0] * cells[1] else 0
    if len(shape) != 4:
        return 0
    places, channels = (shape[1:3], shape[3]) if last else (shape[2:], shape[1])
    return channels if places == cells else 0


def _is_last(heads: Heads) -> bool:
    """Whether channels of maps are their last axis."""
    maps = [heads.shape(n) for n in heads.outputs if len(heads.shape(n)) == 4]
    cells = {(-(-heads.height // s), -(-heads.width // s)) for s in _STRIDES}
    return not all(shape[2:] in cells for shape in maps)


def _axis(heads: Heads, name: str) -> int:
    return 2 if len(heads.shape(name)) == 3 else 3 if _is_last(heads) else 1


def _flat(heads: Heads, name: str, channels: int) -> str:
    """(1, N, channels) of one stride."""
    shape = heads.shape(name)
    if len(shape) == 3:
        return name
    if _is_last(heads):
        return heads.edit.reshape(name, 1, shape[1] * shape[2], channels)
    flat = heads.edit.reshape(name, 1, channels, shape[2] * shape[3])
    return heads.edit.transpose(flat, 0, 2, 1)


def _joined(heads: Heads, names: list[str], channels: int) -> str:
    """The same output of every stride as one (1, N, channels)."""
    return heads.edit.op("Concat", *(_flat(heads, n, channels) for n in names), axis=1)


def _pairs(heads: Heads) -> tuple[tuple[int, ...], list[str], list[str], int, int]:
    """(strides, class outputs, side outputs, classes, bins), of distributions over distances; the first is
    () where the outputs are none."""
    none: tuple[tuple[int, ...], list[str], list[str], int, int] = ((), [], [], 0, 0)
    classes, sides = [], []
    levels = _levels(heads)
    for outputs in levels.values():
        if len(outputs) == 3 and outputs[2][1] == 1:  # Rockchip's sum of all classes, to skip cells by
            outputs = outputs[:2]
        likely = [(n, c) for n, c in outputs if heads.kind(n) == PROBABILITY]
        raw = [(n, c) for n, c in outputs if heads.kind(n) == RAW and c % 4 == 0 and c >= 16]
        if len(outputs) == 2 and not likely:  # classes before their sigmoid: YOLOv8's 64 are sides
            raw = [(n, c) for n, c in raw if c == _YOLOV8]
            likely = [(n, c) for n, c in outputs if heads.kind(n) == RAW and c != _YOLOV8]
        if len(outputs) != 2 or len(likely) != 1 or len(raw) != 1:
            return none
        classes += likely
        sides += raw
    if len({c for _, c in classes}) != 1 or len({c for _, c in sides}) != 1:
        return none
    return (tuple(levels), [n for n, _ in classes], [n for n, _ in sides], classes[0][1], sides[0][1] // 4)


def _family(heads: Heads) -> str:
    """The family that these pairs belong to, which decides how images are prepared."""
    strides, classes, _, _, bins = _pairs(heads)
    if not strides:
        return ""
    if bins == 16 and len(heads.shape(classes[0])) == 4:
        return "yolov8-strides"
    return "picodet" if len(strides) == 4 else "nanodet-strides"


def _matches_pairs(family: str, heads: Heads) -> bool:
    return _family(heads) == family


def _decode_pairs(heads: Heads) -> Decoded:
    strides, classes, sides, count_classes, bins = _pairs(heads)
    assert strides
    count = heads.cells(strides)
    distances = heads.distances(_joined(heads, sides, 4 * bins), count, bins)
    # NanoDet before Plus, PicoDet and YOLOv8 measure from the middle of a cell.
    boxes = heads.around(distances, *heads.grid(strides, offset=0.5))
    scores = heads.edit.transpose(_joined(heads, classes, count_classes), 0, 2, 1)
    if heads.kind(classes[0]) == RAW:
        scores = as_likely(heads, scores)
    return Decoded(boxes, scores, count, count_classes)


def _whole_heads(heads: Heads) -> tuple[tuple[int, ...], int]:
    """(strides, classes) of one output a stride that holds sides, then classes, as YOLOv8 joins them; ((), 0)."""
    levels = _levels(heads)
    for outputs in levels.values():
        name, channels = outputs[0]
        runs = heads.runs(name, _axis(heads, name))
        if len(outputs) > 1 or [r.size for r in runs] != [_YOLOV8, channels - _YOLOV8]:
            return (), 0
        if runs[0].kind != RAW or runs[1].kind not in (RAW, PROBABILITY):
            return (), 0
    widths = {c for outputs in levels.values() for _, c in outputs}
    return (tuple(levels), widths.pop() - _YOLOV8) if len(widths) == 1 else ((), 0)


def _decode_whole(heads: Heads) -> Decoded:
    strides, classes = _whole_heads(heads)
    assert strides
    names = [outputs[0][0] for outputs in _levels(heads).values()]
    whole, count = _joined(heads, names, _YOLOV8 + classes), heads.cells(strides)
    sides = heads.distances(heads.edit.slice(whole, 2, 0, _YOLOV8), count, _YOLOV8 // 4)
    boxes = heads.around(sides, *heads.grid(strides, offset=0.5))
    likely = heads.edit.slice(whole, 2, _YOLOV8, _YOLOV8 + classes)
    scores = heads.edit.transpose(likely, 0, 2, 1)
    if heads.kinds(names[0], _axis(heads, names[0]))[-1] == RAW:
        scores = as_likely(heads, scores)
    return Decoded(boxes, scores, count, classes)


def _faces(heads: Heads) -> tuple[tuple[int, ...], list[list[str]]]:
    """(strides, [class, objectness, box] outputs of each) of YuNet; ((), []) where they are none."""
    levels, groups = _levels(heads), []
    for outputs in levels.values():
        likely = [n for n, c in outputs if c == 1 and heads.kind(n) == PROBABILITY]
        boxes = [n for n, c in outputs if c == 4 and heads.kind(n) == RAW]
        points = [n for n, c in outputs if c == 10]
        if len(likely) != 2 or len(boxes) != 1 or 3 + len(points) != len(outputs):
            return (), []
        groups.append([*likely, *boxes])
    return tuple(levels), groups


def _decode_faces(heads: Heads) -> Decoded:
    strides, outputs = _faces(heads)
    assert strides
    edit, count = heads.edit, heads.cells(strides)
    first, second, raw = (_joined(heads, [level[i] for level in outputs], c) for i, c in enumerate((1, 1, 4)))
    grid, scale = heads.grid(strides, offset=0.0)
    steps = edit.const(scale)
    centre = edit.op("Mul", edit.op("Add", edit.slice(raw, 2, 0, 2), edit.const(grid)), steps)
    size = edit.op("Mul", edit.op("Exp", edit.slice(raw, 2, 2, 4)), steps)
    boxes = heads.corners(edit.op("Concat", centre, size, axis=2))
    scores = edit.transpose(edit.op("Sqrt", edit.op("Mul", first, second)), 0, 2, 1)
    left = (
        ("its five points a face are left out: a package holds boxes",) if len(heads.outputs) > 3 * len(strides) else ()
    )
    return Decoded(boxes, scores, count, 1, notes=left)


_PICODET_IMAGE = {"resize": "stretch", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
_YUNET_IMAGE = {"resize": "letterbox-topleft", "color": "bgr", "pad": 0, "mean": (0.0,) * 3, "std": (1.0,) * 3}

STRIDE_DECODERS = (
    Decoder(
        "nanodet-strides",
        "at each of 3 strides classes and side distributions (NanoDet)",
        functools.partial(_matches_pairs, "nanodet-strides"),
        _decode_pairs,
        NANODET_IMAGE,
        0.6,
    ),
    Decoder(
        "picodet",
        "the same at 4 strides (PicoDet)",
        functools.partial(_matches_pairs, "picodet"),
        _decode_pairs,
        _PICODET_IMAGE,
        0.6,
    ),
    Decoder(
        "yolov8-strides",
        "the same as maps, of 16 bins (YOLOv8 for Rockchip, Hailo)",
        functools.partial(_matches_pairs, "yolov8-strides"),
        _decode_pairs,
    ),
    Decoder(
        "yolov8-heads",
        "the same, sides and classes in one (YOLOv8's heads)",
        lambda heads: bool(_whole_heads(heads)[0]),
        _decode_whole,
    ),
    Decoder(
        "yunet",
        "at each stride class, objectness, box, points (YuNet)",
        lambda heads: bool(_faces(heads)[0]),
        _decode_faces,
        _YUNET_IMAGE,
        0.3,
    ),
)
