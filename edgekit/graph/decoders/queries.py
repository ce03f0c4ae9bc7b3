"""Decoders of detectors whose boxes and scores leave separately (SSD, YOLO-NAS), or as queries (DETR)."""

from __future__ import annotations

from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.origins import ARITHMETIC, OTHER, PROBABILITY, RAW


def _pair(heads: Heads) -> tuple[str, str] | None:
    """(boxes, scores) when there are two outputs (1, N, 4) and (1, N, C)."""
    if len(heads.outputs) != 2:
        return None
    first, second = heads.outputs
    a, b = heads.shape(first), heads.shape(second)
    if len(a) != 3 or len(b) != 3:
        return None
    for (boxes, p), (scores, q) in (((first, a), (second, b)), ((second, b), (first, a))):
        if p[2] == 4 and p[1] == q[1] and (q[2] != 4 or "box" in boxes.lower()):
            return boxes, scores
    return None


def _matches_nms_inputs(heads: Heads) -> bool:
    if len(heads.outputs) != 2:
        return False
    a, b = (heads.shape(n) for n in heads.outputs)
    if not (len(a) == len(b) == 3 and a[2] == 4 and b[2] == a[1] and a[1] > 4):
        return False
    return _decoded(heads, heads.outputs[0]) and heads.kind(heads.outputs[1]) != RAW


def _decoded(heads: Heads, boxes: str) -> bool:
    """Whether boxes went through arithmetic since the network's last layer, so that no anchors are missing."""
    return not {RAW, PROBABILITY} & set(heads.kinds(boxes, 2))


def _decode_nms_inputs(heads: Heads) -> Decoded:
    boxes, scores = heads.outputs
    _, classes, count = heads.shape(scores)
    return Decoded(boxes, scores, count, classes)


def _likely(heads: Heads) -> bool:
    """Whether the scores of a pair are probabilities."""
    pair = _pair(heads)
    return pair is not None and heads.kind(pair[1]) == PROBABILITY


def _matches_ssd(heads: Heads) -> bool:
    pair = _pair(heads)
    return (
        pair is not None
        and _likely(heads)
        and not _on_grid(heads, pair[0])
        and _decoded(heads, pair[0])
    )


def _on_grid(heads: Heads, boxes: str) -> bool:
    return bool(heads.strides(heads.shape(boxes)[1]))


def _decode_ssd(heads: Heads) -> Decoded:
    pair = _pair(heads)
    assert pair is not None
    boxes, scores = pair
    _, count, classes = heads.shape(scores)
    if heads.activation(scores) == "Softmax" and heads.classes != classes:
        # Softmax over classes needs a "none of them": SSD's background, the first class.
        scores, classes = heads.channels(scores, 2, 1, classes), classes - 1
    pixels = heads.edit.op("Mul", boxes, heads.edit.const(heads.image_scale()))
    return Decoded(pixels, heads.edit.transpose(scores, 0, 2, 1), count, classes)


def _matches_boxes_scores(heads: Heads) -> bool:
    pair = _pair(heads)
    return pair is not None and _likely(heads) and _on_grid(heads, pair[0]) and _decoded(heads, pair[0])


def _decode_boxes_scores(heads: Heads) -> Decoded:
    pair = _pair(heads)
    assert pair is not None
    boxes, scores = pair
    _, count, classes = heads.shape(scores)
    return Decoded(boxes, heads.edit.transpose(scores, 0, 2, 1), count, classes)


def _matches_rtdetr(heads: Heads) -> bool:
    shape = heads.single()
    if len(shape) == 3:
        on_grid = heads.strides(shape[1]) or heads.strides(shape[1], anchors=3)
        kinds = heads.kinds(heads.outputs[0], 2)
        if not 0 < shape[1] <= 1000 or on_grid or shape[2] <= 4 or shape[1] <= shape[2]:
            return False
        return (
            set(kinds[:4]) == {PROBABILITY}
            and len(set(kinds[4:])) == 1
            and kinds[4] in (PROBABILITY, RAW)
        )
    pair = _pair(heads)
    if pair is None:
        return False
    boxes = set(heads.kinds(pair[0], 2))
    if boxes == {PROBABILITY}:  # a sigmoid gives centres and sizes in 0..1
        return True
    # boxes that went through arithmetic (D-FINE), beside logits; SSD's before decoding come from layers
    return not _likely(heads) and boxes <= {ARITHMETIC, OTHER} and not _on_grid(heads, pair[0])


def _decode_rtdetr(heads: Heads) -> Decoded:
    edit, pair = heads.edit, _pair(heads)
    if pair is None:
        name = heads.outputs[0]
        _, count, channels = heads.shape(name)
        boxes, scores = heads.channels(name, 2, 0, 4), heads.channels(name, 2, 4, channels)
        classes, likely = channels - 4, heads.kinds(name, 2)[-1] == PROBABILITY
    else:
        boxes, scores = pair
        _, count, classes = heads.shape(scores)
        likely = _likely(heads)
    scores = scores if likely else edit.op("Sigmoid", scores)
    pixels = heads.corners(boxes, heads.image_scale())
    return Decoded(pixels, edit.transpose(scores, 0, 2, 1), count, classes)


_STRETCH = {"resize": "stretch"}
_SSD_IMAGE = {"resize": "stretch", "mean": (127.0,) * 3, "std": (128.0,) * 3}

QUERY_DECODERS = (
    Decoder("nms-inputs", "boxes (1, N, 4) x1y1x2y2 pixels, scores (1, C, N): edgekit's form",
            _matches_nms_inputs, _decode_nms_inputs),
    Decoder("boxes-scores", "boxes (1, N, 4) x1y1x2y2 pixels, scores (1, N, C) (YOLO-NAS)",
            _matches_boxes_scores, _decode_boxes_scores),
    Decoder("ssd", "boxes (1, N, 4) x1y1x2y2 in 0..1, scores (1, N, C), background first", _matches_ssd, _decode_ssd, _SSD_IMAGE, 0.5),
    Decoder("rtdetr", "(1, Q, 4+C), or boxes and logits; cxcywh in 0..1 (RT-DETR, D-FINE)", _matches_rtdetr, _decode_rtdetr, _STRETCH),
)  # fmt: skip
