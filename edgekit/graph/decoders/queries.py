"""Decoders of detectors with separate outputs (SSD, DETR) or with suppression in the graph."""

from __future__ import annotations

from edgekit.graph.decoders.base import Decoded, Decoder, Heads

_INTEGERS = (6, 7)  # onnx.TensorProto.INT32, INT64


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
    return len(a) == len(b) == 3 and a[2] == 4 and b[2] == a[1] and a[1] > 4


def _decode_nms_inputs(heads: Heads) -> Decoded:
    boxes, scores = heads.outputs
    _, classes, count = heads.shape(scores)
    return Decoded(boxes, scores, count, classes)


def _scores_activation(heads: Heads) -> str:
    pair = _pair(heads)
    return heads.activation(pair[1]) if pair else ""


def _matches_ssd(heads: Heads) -> bool:
    pair = _pair(heads)
    if pair is None or not _scores_activation(heads):
        return False
    return not _on_grid(heads, pair[0])


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
    return pair is not None and bool(_scores_activation(heads)) and _on_grid(heads, pair[0])


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
        queries = 0 < shape[1] <= 1000 and not on_grid
        return queries and shape[2] > 7 and shape[1] > shape[2]
    return _pair(heads) is not None and not _scores_activation(heads)


def _decode_rtdetr(heads: Heads) -> Decoded:
    edit, pair = heads.edit, _pair(heads)
    if pair is None:
        name = heads.outputs[0]
        _, count, channels = heads.shape(name)
        boxes, scores = heads.channels(name, 2, 0, 4), heads.channels(name, 2, 4, channels)
        classes = channels - 4
        if not heads.activation(scores):
            # joined by a Concat whose last part already went through a sigmoid, or raw logits
            last = heads.parts(name, 2)[-1]
            scores = scores if last[1] else edit.op("Sigmoid", scores)
    else:
        boxes, scores = pair
        _, count, classes = heads.shape(scores)
        scores = scores if heads.activation(scores) else edit.op("Sigmoid", scores)
    pixels = heads.corners(boxes, heads.image_scale())
    return Decoded(pixels, edit.transpose(scores, 0, 2, 1), count, classes)


def _matches_end_to_end(heads: Heads) -> bool:
    shape = heads.single()
    return len(shape) == 3 and shape[2] == 6 and not heads.strides(shape[1])


def _decode_end_to_end(heads: Heads) -> Decoded:
    name, edit = heads.outputs[0], heads.edit
    _, count, columns = heads.shape(name)
    assert columns == 6
    boxes = edit.slice(name, 2, 0, 4)
    scores, classes = (edit.op("Squeeze", edit.slice(name, 2, i, i + 1), edit.ints(2)) for i in (4, 5))
    return Decoded(boxes, scores, count, 0, classes)


def _matches_flat_end_to_end(heads: Heads) -> bool:
    shape = heads.single()
    return len(shape) == 2 and shape[1] == 7


def _decode_flat_end_to_end(heads: Heads) -> Decoded:
    """YOLOv7's `--end2end`: rows of batch, x1, y1, x2, y2, class, score."""
    edit = heads.edit
    assert heads.shape(heads.outputs[0])[1:] == (7,)
    name = edit.op("Unsqueeze", heads.outputs[0], edit.ints(0))
    scores, classes = (edit.op("Squeeze", edit.slice(name, 2, i, i + 1), edit.ints(2)) for i in (6, 5))
    return Decoded(edit.slice(name, 2, 1, 5), scores, -1, 0, classes)


def _triple(heads: Heads) -> tuple[str, str, str] | None:
    """(boxes, scores, labels) among three outputs: boxes end in 4, labels are integers."""
    if len(heads.outputs) != 3:
        return None
    boxes = [n for n in heads.outputs if heads.shape(n)[-1:] == (4,)]
    labels = [n for n in heads.outputs if heads.view.types.get(n) in _INTEGERS]
    scores = [n for n in heads.outputs if n not in boxes and n not in labels]
    if len(boxes) == len(labels) == len(scores) == 1:
        return boxes[0], scores[0], labels[0]
    return None


def _decode_triple(heads: Heads) -> Decoded:
    triple = _triple(heads)
    assert triple is not None
    edit, batched = heads.edit, len(heads.shape(triple[0])) == 3
    boxes, scores, labels = (n if batched else edit.op("Unsqueeze", n, edit.ints(0)) for n in triple)
    count = heads.shape(triple[0])[-2]
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
_SSD_IMAGE = {"resize": "stretch", "mean": (127.0,) * 3, "std": (128.0,) * 3}
_RAW_IMAGE = {"resize": "stretch", "mean": (0.0,) * 3, "std": (1.0,) * 3}

QUERY_DECODERS = (
    Decoder("nms-inputs", "boxes (1, N, 4) x1y1x2y2 pixels and scores (1, C, N): edgekit's own form",
            _matches_nms_inputs, _decode_nms_inputs),
    Decoder("boxes-scores", "boxes (1, N, 4) x1y1x2y2 pixels and scores (1, N, C) (YOLO-NAS, PP-YOLOE)",
            _matches_boxes_scores, _decode_boxes_scores),
    Decoder("ssd", "boxes (1, N, 4) x1y1x2y2 in 0..1 and scores (1, N, C), background first "
            "(SSD, UltraFace)", _matches_ssd, _decode_ssd, _SSD_IMAGE, 0.5),
    Decoder("rtdetr", "queries (1, Q, 4+C), or boxes (1, Q, 4) and logits (1, Q, C); "
            "cxcywh in 0..1 (RT-DETR, D-FINE)", _matches_rtdetr, _decode_rtdetr, _STRETCH),
    Decoder("end-to-end", "(1, K, 6): x1y1x2y2 pixels, score, class; NMS is in the graph "
            "(YOLOv10, YOLO26, Ultralytics nms=True)", _matches_end_to_end, _decode_end_to_end),
    Decoder("end-to-end-flat", "(K, 7): batch, x1y1x2y2 pixels, class, score (YOLOv7 --end2end)",
            _matches_flat_end_to_end, _decode_flat_end_to_end),
    Decoder("boxes-scores-labels", "three outputs, boxes in pixels, NMS is in the graph "
            "(torchvision SSD, RetinaNet, Faster R-CNN)",
            lambda heads: _triple(heads) is not None, _decode_triple, _STRETCH),
    Decoder("tf-detection", "detection_boxes, _scores, _classes of TensorFlow's detection API",
            _matches_tensorflow, _decode_tensorflow, _RAW_IMAGE),
)  # fmt: skip
