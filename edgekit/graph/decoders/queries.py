"""Decoders of detectors whose boxes and scores leave separately (SSD, YOLO-NAS), or as queries (DETR)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.forms import Form, in_pixels, sample
from edgekit.graph.decoders.origins import ARITHMETIC, OTHER, PROBABILITY, RAW
from edgekit.graph.decoders.yolo import as_likely


class _Pair(NamedTuple):
    """Two outputs: four numbers a box, and a score for each class of it; the axes hold those."""

    boxes: str
    scores: str
    box_axis: int
    class_axis: int
    rows: int
    classes: int


def _pair(heads: Heads) -> _Pair | None:
    if len(heads.outputs) != 2 or any(len(heads.shape(n)) != 3 for n in heads.outputs):
        return None
    pairs = []
    for boxes, scores in (heads.outputs, heads.outputs[::-1]):
        p, q = heads.shape(boxes), heads.shape(scores)
        for box_axis in (2, 1):
            for class_axis in (2, 1):
                if p[box_axis] == 4 and p[3 - box_axis] == q[3 - class_axis] > 4:
                    pair = _Pair(boxes, scores, box_axis, class_axis, p[3 - box_axis], q[class_axis])
                    pairs.append(pair)
    named = [p for p in pairs if "box" in p.boxes.lower() and "box" not in p.scores.lower()]
    if len(pairs) > 1:  # of four classes
        pairs = named or [p for p in pairs if heads.kind(p.scores) == PROBABILITY]
    return pairs[0] if len(pairs) == 1 else None


def _box_kinds(heads: Heads, pair: _Pair) -> set[str]:
    return set(heads.kinds(pair.boxes, pair.box_axis))


def _decoded(heads: Heads, pair: _Pair) -> bool:
    """Whether boxes went through arithmetic since the network's last layer, so that no anchors are missing."""
    return not {RAW, PROBABILITY} & _box_kinds(heads, pair)


def _upright(heads: Heads, pair: _Pair) -> tuple[str, str]:
    """Boxes (1, N, 4) and scores (1, C, N)."""
    boxes, scores = pair.boxes, pair.scores
    if pair.box_axis == 1:
        boxes = heads.edit.transpose(boxes, 0, 2, 1)
    return boxes, heads.edit.transpose(scores, 0, 2, 1) if pair.class_axis == 2 else scores


def _on_grid(heads: Heads, pair: _Pair) -> bool:
    return bool(heads.strides(pair.rows) or heads.strides(pair.rows, anchors=3))


def _is_nms_inputs(pair: _Pair) -> bool:
    return (pair.box_axis, pair.class_axis) == (2, 1)


def _likely(heads: Heads, pair: _Pair) -> bool:
    """Whether the scores of a pair are probabilities."""
    return heads.kind(pair.scores) == PROBABILITY


def _matches_nms_inputs(heads: Heads) -> bool:
    pair = _pair(heads)
    return pair is not None and _is_nms_inputs(pair) and _decoded(heads, pair) and heads.kind(pair.scores) != RAW


def _matches_ssd(heads: Heads) -> bool:
    pair = _pair(heads)
    return (
        pair is not None
        and not _is_nms_inputs(pair)
        and _likely(heads, pair)
        and not _on_grid(heads, pair)
        and _decoded(heads, pair)
    )


def _decode_ssd(heads: Heads) -> Decoded:
    pair = _pair(heads)
    assert pair is not None
    boxes, scores = _upright(heads, pair)
    classes = pair.classes
    if heads.activation(pair.scores) == "Softmax" and heads.classes != classes:
        # Softmax over classes needs a "none of them": SSD's background is the first class, others' the last.
        last = _none_of_them(heads, scores) == classes - 1
        scores, classes = _without(heads, scores, classes, classes - 1 if last else 0), classes - 1
    return Decoded(in_pixels(heads, boxes, Form(True, True)), scores, pair.rows, classes)


def _none_of_them(heads: Heads, scores: str, logits: bool = False) -> int | None:
    """The class, first or last, that most boxes in noise are of: there is nothing in it. Logits that go through
    sigmoids are below nought there, all of them."""
    outputs = sample(heads, scores)
    if outputs is None or outputs.ndim != 3 or outputs.shape[1] < 2:
        return None
    values = outputs[0].astype(np.float64)
    share = np.exp(values - values.max(0)) if logits else values
    usual = np.median(share / np.maximum(share.sum(0), 1e-12), axis=1)
    certain = usual > 0.5
    if logits:
        certain &= np.median(values, axis=1) > 0
    return next((at for at in (len(usual) - 1, 0) if certain[at]), None)


def _without(heads: Heads, scores: str, classes: int, none: int) -> str:
    start = 0 if none else 1
    return heads.edit.slice(scores, 1, start, start + classes - 1)


def _matches_boxes_scores(heads: Heads) -> bool:
    pair = _pair(heads)
    if pair is None or not _on_grid(heads, pair) or not _decoded(heads, pair):
        return False
    logits = heads.kind(pair.scores) == RAW
    return logits or (_likely(heads, pair) and not _is_nms_inputs(pair))


def _decode_pair(heads: Heads) -> Decoded:
    pair = _pair(heads)
    assert pair is not None
    boxes, scores = _upright(heads, pair)
    if heads.kind(pair.scores) == RAW:
        scores = as_likely(heads, scores)
    return Decoded(in_pixels(heads, boxes, Form(True, False)), scores, pair.rows, pair.classes)


def _matches_rtdetr(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) == 3:
        on_grid = heads.strides(shape[1]) or heads.strides(shape[1], anchors=3)
        kinds = heads.kinds(heads.outputs[0], 2)
        if not 0 < shape[1] <= 1000 or on_grid or shape[2] <= 4 or shape[1] <= shape[2]:
            return False
        return set(kinds[:4]) == {PROBABILITY} and len(set(kinds[4:])) == 1 and kinds[4] in (PROBABILITY, RAW)
    pair = _pair(heads)
    if pair is None:
        return False
    boxes = _box_kinds(heads, pair)
    if boxes == {PROBABILITY}:  # a sigmoid gives centres and sizes in 0..1
        return True
    # boxes that went through arithmetic (D-FINE), beside logits; SSD's before decoding come from layers
    return (
        not _likely(heads, pair)
        and not _is_nms_inputs(pair)
        and boxes <= {ARITHMETIC, OTHER}
        and not _on_grid(heads, pair)
    )


def _decode_rtdetr(heads: Heads) -> Decoded:
    edit, pair = heads.edit, _pair(heads)
    if pair is None:
        name = heads.outputs[0]
        _, count, channels = heads.shape(name)
        boxes, scores = heads.channels(name, 2, 0, 4), heads.channels(name, 2, 4, channels)
        scores = edit.transpose(scores, 0, 2, 1)
        classes, kinds = channels - 4, heads.kinds(name, 2)
        sure, likely = set(kinds[:4]) == {PROBABILITY}, kinds[-1] == PROBABILITY
    else:
        boxes, scores = _upright(heads, pair)
        count, classes = pair.rows, pair.classes
        sure, likely = _box_kinds(heads, pair) == {PROBABILITY}, _likely(heads, pair)
    softmax = pair is not None and (not likely or heads.activation(pair.scores) == "Softmax")
    if softmax and heads.classes != classes:
        none = _none_of_them(heads, scores, logits=not likely)
        if none is None and 0 < heads.classes == classes - 1:
            none = classes - 1
        if none is not None:  # DETR's softmax over classes and "no object"
            scores = scores if likely else edit.op("Softmax", scores, axis=1)
            scores, classes, likely = _without(heads, scores, classes, none), classes - 1, True
            heads.notes.append(f"class {none} of {classes + 1} stands for no object, and was left out")
    scores = scores if likely else edit.op("Sigmoid", scores)
    usual = Form(corners=False, unit=True)
    pixels = heads.corners(boxes, heads.image_scale()) if sure else in_pixels(heads, boxes, usual)
    return Decoded(pixels, scores, count, classes)


_STRETCH = {"resize": "stretch"}
_SSD_IMAGE = {"resize": "stretch", "mean": (127.0,) * 3, "std": (128.0,) * 3}

QUERY_DECODERS = (
    Decoder(
        "nms-inputs",
        "boxes (1, N, 4) x1y1x2y2 pixels, scores (1, C, N): edgekit's form",
        _matches_nms_inputs,
        _decode_pair,
    ),
    Decoder(
        "boxes-scores",
        "boxes (1, N, 4) x1y1x2y2 pixels, scores (1, N, C) (YOLO-NAS)",
        _matches_boxes_scores,
        _decode_pair,
    ),
    Decoder(
        "ssd",
        "boxes (1, N, 4) x1y1x2y2 in 0..1, scores (1, N, C), background first",
        _matches_ssd,
        _decode_ssd,
        _SSD_IMAGE,
        0.5,
    ),
    Decoder(
        "rtdetr",
        "(1, Q, 4+C), or boxes and logits; cxcywh in 0..1 (RT-DETR, D-FINE)",
        _matches_rtdetr,
        _decode_rtdetr,
        _STRETCH,
    ),
)
