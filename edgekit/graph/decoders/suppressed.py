"""Decoders of detectors that have suppressed duplicates already: rows of box, score and class.

Exporters order the columns of such rows as they like, and write the same shape. Names of outputs say the order,
or what the graph does to each column: a class is an integer, a score a probability.
"""

from __future__ import annotations

import functools
import re
from typing import NamedTuple

from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.forms import rows_in_pixels
from edgekit.graph.decoders.origins import INTEGER, PROBABILITY

INTEGERS = (2, 3, 6, 7)  # onnx.TensorProto.UINT8, INT8, INT32, INT64
_WORDS = (
    ("batch", r"batch(?:_?(?:no|id|idx|index|ind))?|image_?id"),
    ("cls", r"class(?:_?(?:id|no|idx))?|cls(?:_?id)?|labels?"),
    ("score", r"scores?|conf(?:idence)?|prob(?:ability)?"),
    ("box", r"x[01]_?y[01]_?x[12]_?y[12]|xyxy|b?box(?:es)?"),
)


class Columns(NamedTuple):
    """The positions of values in a row. `box` is the first of four."""

    box: int
    score: int
    cls: int


END = Columns(0, 4, 5)  # Ultralytics, YOLOv10
_YOLOV7 = Columns(1, 6, 5)
_CLASS_FIRST = {7: Columns(3, 2, 1), 6: Columns(2, 1, 0)}


def _named_order(name: str, width: int) -> Columns | None:
    """The order that a name like `batchno_classid_score_x1y1x2y2` spells out."""
    at = {word: match.start() for word, pattern in _WORDS if (match := re.search(pattern, name.lower()))}
    if not {"cls", "score", "box"} <= at.keys() or len(at) != width - 3:
        return None
    start: dict[str, int] = {}
    place = 0
    for word in sorted(at, key=lambda w: at[w]):
        start[word] = place
        place += 4 if word == "box" else 1
    return Columns(start["box"], start["score"], start["cls"])


def _computed_order(heads: Heads, name: str, width: int) -> Columns | None:
    """The order of columns, told from where each column comes from."""
    kinds = heads.kinds(name, len(heads.shape(name)) - 1)
    scores = [i for i, k in enumerate(kinds) if k == PROBABILITY]
    whole = [i for i, k in enumerate(kinds) if k == INTEGER]
    if len(kinds) != width or len(scores) != 1 or len(whole) != width - 5:
        return None
    if width == 7 and 0 not in whole:
        return None
    rest = [i for i in range(width) if i not in (*scores, *whole)]
    return Columns(rest[0], scores[0], whole[-1]) if rest == list(range(rest[0], rest[0] + 4)) else None


def order_of(heads: Heads, name: str) -> Columns | None:
    width = heads.shape(name)[-1]
    named, computed = _named_order(name, width), _computed_order(heads, name, width)
    return computed or named


def _rows_output(heads: Heads) -> tuple[str, int]:
    """(output, width) of rows of 6 or 7, perhaps beside a count of them; ("", 0) where there are none."""
    wide = [n for n in heads.outputs if heads.shape(n)[-1:] in ((6,), (7,)) and 2 <= len(heads.shape(n)) <= 3]
    others = [n for n in heads.outputs if n not in wide]
    counts = [n for n in others if len(heads.shape(n)) <= 1 and heads.view.types.get(n) in INTEGERS]
    if len(wide) != 1 or counts != others or len(others) > 1:
        return "", 0
    shape = heads.shape(wide[0])
    if len(shape) == 3 and (shape[0] not in (1, -1) or heads.strides(shape[1]) or heads.strides(shape[1], 3)):
        return "", 0
    return wide[0], shape[-1]


def _matches_rows(heads: Heads, decoder: str) -> bool:
    name, width = _rows_output(heads)
    if not name:
        return False
    order = order_of(heads, name)
    if order is None:  # fixed rows in three dimensions are Ultralytics'; anything else is asked
        return decoder == "end-to-end" and width == 6 and len(heads.shape(name)) == 3 and len(heads.outputs) == 1
    return decoder == _decoder_of(order, width)


def _decoder_of(order: Columns, width: int) -> str:
    known = {(END, 6): "end-to-end", (_YOLOV7, 7): "end-to-end-flat"}
    known.update({(_CLASS_FIRST[w], w): "class-first" for w in (6, 7)})
    return known.get((order, width), "named-columns")


def _decode_rows(heads: Heads, order: dict[int, Columns] | None = None) -> Decoded:
    name, width = _rows_output(heads)
    assert name
    assert order is None or width in order
    columns = order[width] if order else order_of(heads, name)
    assert columns is not None
    edit = heads.edit
    count = heads.shape(name)[-2]
    batched = name if len(heads.shape(name)) == 3 else edit.op("Unsqueeze", name, edit.ints(0))

    def column(at: int) -> str:
        return edit.op("Squeeze", edit.slice(batched, 2, at, at + 1), edit.ints(2))

    boxes = rows_in_pixels(heads, edit.slice(batched, 2, columns.box, columns.box + 4))
    return Decoded(boxes, column(columns.score), count, 0, column(columns.cls))


def _word(name: str, word: str) -> bool:
    return re.search(dict(_WORDS)[word], name.lower()) is not None


def separate(heads: Heads) -> tuple[str, str, str] | None:
    """(boxes, scores, labels) among three outputs, or four with the number of detections."""
    left = list(heads.outputs)
    if len(left) == 4:
        counts = [n for n in left if len(heads.shape(n)) <= 2 and set(heads.shape(n)) <= {1}]
        counts = [n for n in counts if heads.view.types.get(n) in INTEGERS]
        if len(counts) != 1:
            return None
        left.remove(counts[0])
    boxes = [n for n in left if heads.shape(n)[-1:] == (4,)]
    if len(left) != 3 or len(boxes) != 1:
        return None
    left.remove(boxes[0])
    rank = len(heads.shape(boxes[0])) - 1
    if any(len(heads.shape(n)) != rank for n in left):
        return None
    labels = [n for n in left if heads.view.types.get(n) in INTEGERS] or [n for n in left if _word(n, "cls")]
    if len(labels) != 1:
        return None
    left.remove(labels[0])
    return boxes[0], left[0], labels[0]


def _decode_separate(heads: Heads) -> Decoded:
    tensors = separate(heads)
    assert tensors is not None
    edit, batched = heads.edit, len(heads.shape(tensors[0])) == 3
    boxes, scores, labels = (n if batched else edit.op("Unsqueeze", n, edit.ints(0)) for n in tensors)
    count = heads.shape(tensors[0])[-2]
    if len(heads.outputs) == 4:  # rows after the number of detections mean nothing
        number = next(n for n in heads.outputs if n not in tensors)
        place = edit.op(
            "Range",
            edit.const(0, int),
            edit.op("Gather", edit.op("Shape", scores), edit.const(1, int)),
            edit.const(1, int),
        )
        there = edit.op("Less", place, edit.reshape(edit.op("Cast", number, to=7), 1))
        scores = edit.op("Mul", scores, edit.op("Cast", there, to=1))
    boxes = rows_in_pixels(heads, boxes)
    return Decoded(boxes, scores, count, 0, edit.op("Cast", labels, to=1))


def _five(heads: Heads) -> tuple[str, str] | None:
    """(dets, labels) of MMDeploy: rows of box and score, and their integer classes."""
    if len(heads.outputs) != 2:
        return None
    dets = [n for n in heads.outputs if heads.shape(n)[-1:] == (5,) and 2 <= len(heads.shape(n)) <= 3]
    labels = [n for n in heads.outputs if n not in dets and heads.view.types.get(n) in INTEGERS]
    if len(dets) != 1 or len(labels) != 1 or len(heads.shape(labels[0])) != len(heads.shape(dets[0])) - 1:
        return None
    return dets[0], labels[0]


def _decode_five(heads: Heads) -> Decoded:
    tensors = _five(heads)
    assert tensors is not None
    edit, batched = heads.edit, len(heads.shape(tensors[0])) == 3
    dets, labels = (n if batched else edit.op("Unsqueeze", n, edit.ints(0)) for n in tensors)
    scores = edit.op("Squeeze", edit.slice(dets, 2, 4, 5), edit.ints(2))
    count = heads.shape(tensors[0])[-2]
    boxes = rows_in_pixels(heads, edit.slice(dets, 2, 0, 4))
    return Decoded(boxes, scores, count, 0, edit.op("Cast", labels, to=1))


def _named(heads: Heads, word: str) -> str:
    return next((n for n in heads.outputs if word in n.lower()), "")


def _matches_tensorflow(heads: Heads) -> bool:
    return all(_named(heads, f"detection_{w}") for w in ("boxes", "scores", "classes"))


def _decode_tensorflow(heads: Heads) -> Decoded:
    edit = heads.edit
    boxes, scores, classes = (_named(heads, f"detection_{w}") for w in ("boxes", "scores", "classes"))
    count = heads.shape(boxes)[1]
    order = edit.const([1, 0, 3, 2], dtype=int)  # y1 x1 y2 x2 → x1 y1 x2 y2
    corners = edit.op("Gather", boxes, order, axis=2)
    pixels = edit.op("Mul", corners, edit.const(heads.image_scale()))
    # its label maps count from 1
    return Decoded(pixels, scores, count, 0, edit.op("Sub", classes, edit.const(1.0)))


_STRETCH = {"resize": "stretch"}
_RAW_IMAGE = {"resize": "stretch", "mean": (0.0,) * 3, "std": (1.0,) * 3}
_MMDET_IMAGE = {"resize": "stretch", "mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}


def _rows(name: str, about: str, order: dict[int, Columns] | None) -> Decoder:
    return Decoder(name, about, lambda heads: _matches_rows(heads, name), functools.partial(_decode_rows, order=order))


SUPPRESSED_DECODERS = (
    _rows("end-to-end", "(1, K, 6): x1y1x2y2 pixels, score, class (YOLOv10, YOLO26, nms=True)", {6: END}),
    _rows("end-to-end-flat", "(K, 7): batch, x1y1x2y2 pixels, class, score (YOLOv7)", {7: _YOLOV7}),
    _rows("class-first", "(K, 6) or (K, 7): batch, class, score, x1y1x2y2 pixels (Paddle)", _CLASS_FIRST),
    _rows("named-columns", "rows as the output's name or the graph orders them", None),
    Decoder(
        "boxes-scores-labels",
        "suppressed: boxes in pixels, scores, labels",
        lambda heads: separate(heads) is not None and not _matches_tensorflow(heads),
        _decode_separate,
        _STRETCH,
    ),
    Decoder(
        "dets-labels",
        "(1, K, 5): x1y1x2y2 pixels, score; labels (1, K) (MMDeploy)",
        lambda heads: _five(heads) is not None,
        _decode_five,
        _MMDET_IMAGE,
    ),
    Decoder(
        "tf-detection",
        "detection_boxes, _scores, _classes of TensorFlow's API",
        _matches_tensorflow,
        _decode_tensorflow,
        _RAW_IMAGE,
    ),
)
