"""Decoder of detectors that give every candidate with its best class only, and suppress nothing.

Qualcomm's models write boxes, scores and class numbers so; others rows of them. The shapes are those of detectors
that have suppressed already: that there are as many as a grid has cells tells them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edgekit.errors import UsageError
from edgekit.graph.decoders.base import Decoded, Decoder, Heads
from edgekit.graph.decoders.forms import Form, in_pixels
from edgekit.graph.decoders.suppressed import Columns, order_of, separate
from edgekit.graph.view import attribute

_MOVES = ("Cast", "Squeeze", "Unsqueeze", "Reshape", "Identity", "Transpose")


class _Layout(NamedTuple):
    rows: int
    outputs: tuple[str, str, str] | None  # boxes, scores, labels
    columns: Columns | None  # of the only output


def _find(heads: Heads) -> _Layout | None:
    if any(n.op_type == "NonMaxSuppression" for n in heads.view.model.graph.node):
        return None
    outputs = separate(heads) if len(heads.outputs) == 3 else None
    shape = heads.shape(outputs[0]) if outputs else heads.single()
    if len(shape) != 3 or not (heads.strides(shape[1]) or heads.strides(shape[1], anchors=3)):
        return None
    if outputs:
        return _Layout(shape[1], outputs, None)
    columns = order_of(heads, heads.outputs[0]) if shape[2] == 6 else None
    return _Layout(shape[1], None, columns) if columns else None


def _decode(heads: Heads) -> Decoded:
    layout = _find(heads)
    assert layout is not None
    edit = heads.edit
    if layout.outputs:
        boxes, scores, labels = layout.outputs
        indices = labels
        scores, labels = (edit.op("Unsqueeze", n, edit.ints(1)) for n in (scores, labels))
    else:
        assert layout.columns is not None
        name, at = heads.outputs[0], layout.columns
        indices = heads.origins.channels(name, 2)[at.cls].tensor
        boxes = heads.channels(name, 2, at.box, at.box + 4)
        scores, labels = (edit.transpose(heads.channels(name, 2, c, c + 1), 0, 2, 1) for c in (at.score, at.cls))
    classes = _classes(heads, indices)
    each = edit.const(np.arange(classes).reshape(1, classes, 1), np.int64)
    whole = edit.op("Cast", edit.op("Equal", edit.op("Cast", labels, to=7), each), to=1)
    usual = Form(corners=True, unit=False)
    return Decoded(in_pixels(heads, boxes, usual), edit.op("Mul", scores, whole), layout.rows, classes)


def _classes(heads: Heads, labels: str) -> int:
    """The number of classes that the best one was chosen from."""
    if heads.classes:
        return heads.classes
    name = labels
    for _ in range(16):
        node = heads.view.producers.get(name)
        if node is None:
            break
        if node.op_type in ("ArgMax", "TopK"):
            shape = heads.shape(node.input[0])
            count = shape[attribute(node, "axis", -1 if node.op_type == "TopK" else 0)] if shape else 0
            if count > 0:
                return count
        if node.op_type not in _MOVES:
            break
        name = node.input[0]
    raise UsageError(
        "How many classes it has cannot be told from the graph",
        f"{labels} holds the best class of each box only",
        "pass their names: --labels FILE",
    )


BEST_CLASS = Decoder(
    "best-class",
    "boxes, scores, labels of every candidate, not suppressed (Qualcomm's models)",
    lambda heads: _find(heads) is not None,
    _decode,
)
