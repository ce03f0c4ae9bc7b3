"""Decoders of the families that leave several outputs for each stride, to be put together outside."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping

from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.origins import PROBABILITY, RAW
from edgekit.graph.decoders.yolo import NANODET_IMAGE

_STRIDES = (4, 8, 16, 32, 64, 128)
Levels = Mapping[int, list[tuple[str, int]]]  # (output, channels) of each stride


def _levels(heads: Heads) -> Levels:
    """Outputs by their stride, where all are (1, N, channels) or (1, channels, H, W) of one."""
    found: dict[int, list[tuple[str, int]]] = {}
    for name in heads.outputs:
        shape = heads.shape(name)
        for stride in _STRIDES:
            rows, columns = -(-heads.height // stride), -(-heads.width // stride)
            if len(shape) == 3 and shape[1] == rows * columns:
                found.setdefault(stride, []).append((name, shape[2]))
                break
            if len(shape) == 4 and shape[2:] == (rows, columns):
                found.setdefault(stride, []).append((name, shape[1]))
                break
        else:
            return {}
    strides = sorted(found)
    doubling = all(b == 2 * a for a, b in itertools.pairwise(strides))
    return {s: found[s] for s in strides} if doubling and len(strides) > 1 else {}


def _joined(heads: Heads, names: list[str]) -> str:
    """The same output of every stride as one (1, N, channels)."""
    rows = []
    for name in names:
        shape = heads.shape(name)
        if len(shape) == 4:
            flat = heads.edit.reshape(name, 1, shape[1], shape[2] * shape[3])
            name = heads.edit.transpose(flat, 0, 2, 1)
        rows.append(name)
    return heads.edit.op("Concat", *rows, axis=1)


def _pairs(heads: Heads) -> tuple[tuple[int, ...], list[str], list[str], int, int]:
    """(strides, class outputs, side outputs, classes, bins), of distributions over distances; the first is
    () where the outputs are none."""
    none: tuple[tuple[int, ...], list[str], list[str], int, int] = ((), [], [], 0, 0)
    classes, sides = [], []
    levels = _levels(heads)
    for outputs in levels.values():
        likely = [(n, c) for n, c in outputs if heads.kind(n) == PROBABILITY]
        raw = [(n, c) for n, c in outputs if heads.kind(n) == RAW and c % 4 == 0 and c >= 16]
        if len(outputs) != 2 or len(likely) != 1 or len(raw) != 1:
            return none
        classes += likely
        sides += raw
    if len({c for _, c in classes}) != 1 or len({c for _, c in sides}) != 1:
        return none
    return (
        tuple(levels),
        [n for n, _ in classes],
        [n for n, _ in sides],
        classes[0][1],
        sides[0][1] // 4,
    )


def _family(heads: Heads) -> str:
    """Which family's pairs these are: what tells how images are prepared for it."""
    strides, classes, _, _, bins = _pairs(heads)
    if not strides:
        return ""
    if bins == 16 and len(heads.shape(classes[0])) == 4:
        return "yolov8-strides"
    return "picodet" if len(strides) == 4 else "nanodet-strides"


def _matches_pairs(wanted: str, heads: Heads) -> bool:
    return _family(heads) == wanted


def _decode_pairs(heads: Heads) -> Decoded:
    strides, classes, sides, count_classes, bins = _pairs(heads)
    assert strides
    count = heads.cells(strides)
    distances = heads.distances(_joined(heads, sides), count, bins)
    # NanoDet before Plus, PicoDet and YOLOv8 measure from the middle of a cell.
    boxes = heads.around(distances, *heads.grid(strides, offset=0.5))
    scores = heads.edit.transpose(_joined(heads, classes), 0, 2, 1)
    return Decoded(boxes, scores, count, count_classes)


def _faces(heads: Heads) -> tuple[tuple[int, ...], list[list[str]]]:
    """(strides, [class, objectness, box] outputs of each) of YuNet; ((), []) where they are none."""
    levels, found = _levels(heads), []
    for outputs in levels.values():
        likely = [n for n, c in outputs if c == 1 and heads.kind(n) == PROBABILITY]
        boxes = [n for n, c in outputs if c == 4 and heads.kind(n) == RAW]
        points = [n for n, c in outputs if c == 10]
        if len(likely) != 2 or len(boxes) != 1 or 3 + len(points) != len(outputs):
            return (), []
        found.append([*likely, *boxes])
    return tuple(levels), found


def _decode_faces(heads: Heads) -> Decoded:
    strides, outputs = _faces(heads)
    assert strides
    edit, count = heads.edit, heads.cells(strides)
    first, second, raw = (_joined(heads, [level[i] for level in outputs]) for i in range(3))
    grid, scale = heads.grid(strides, offset=0.0)
    steps = edit.const(scale)
    centre = edit.op("Mul", edit.op("Add", edit.slice(raw, 2, 0, 2), edit.const(grid)), steps)
    size = edit.op("Mul", edit.op("Exp", edit.slice(raw, 2, 2, 4)), steps)
    boxes = heads.corners(edit.op("Concat", centre, size, axis=2))
    scores = edit.transpose(edit.op("Sqrt", edit.op("Mul", first, second)), 0, 2, 1)
    left = (
        ("its five points a face are left out: a package holds boxes",)
        if len(heads.outputs) > 3 * len(strides)
        else ()
    )
    return Decoded(boxes, scores, count, 1, notes=left)


_PICODET_IMAGE = {
    "resize": "stretch",
    "mean": (123.675, 116.28, 103.53),
    "std": (58.395, 57.12, 57.375),
}
_YUNET_IMAGE = {
    "resize": "letterbox-topleft",
    "color": "bgr",
    "pad": 0,
    "mean": (0.0,) * 3,
    "std": (1.0,) * 3,
}

STRIDE_DECODERS = (
    Decoder("nanodet-strides", "at each of 3 strides classes and side distributions (NanoDet)",
            functools.partial(_matches_pairs, "nanodet-strides"), _decode_pairs, NANODET_IMAGE, 0.6),
    Decoder("picodet", "the same at 4 strides (PicoDet)",
            functools.partial(_matches_pairs, "picodet"), _decode_pairs, _PICODET_IMAGE, 0.6),
    Decoder("yolov8-strides", "the same as maps, of 16 bins (YOLOv8 for Rockchip, Hailo)", functools.partial(_matches_pairs, "yolov8-strides"),
            _decode_pairs),
    Decoder("yunet", "at each stride class, objectness, box, points (YuNet)",
            lambda heads: bool(_faces(heads)[0]), _decode_faces, _YUNET_IMAGE, 0.3),
)  # fmt: skip
