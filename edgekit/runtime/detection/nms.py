"""Greedy non-maximum suppression in vectorised numpy."""

from __future__ import annotations

import numpy as np

from edgekit.runtime.engine import Array

_BLOCK = 256  # pairs within a block are compared as one matrix: 256² fits a core's cache


def suppress(boxes: Array, scores: Array, classes: Array | None, iou_threshold: float, limit: int) -> Array:
    """Indices of the boxes to keep, best score first, at most `limit`.

    boxes float32 (N, 4) as x1 y1 x2 y2; scores (N,); classes (N,), or None when boxes of
    different classes suppress each other too. A box goes when its IoU with a better one that
    stays is above `iou_threshold`.
    """
    order = np.argsort(-scores, kind="stable")
    boxes = boxes[order]
    labels = None if classes is None else classes[order]
    areas = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    survivors = np.empty(0, np.intp)
    for start in range(0, len(order), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(order)))
        if len(survivors):
            overlaps = _overlaps(boxes, areas, labels, survivors, block, iou_threshold)
            block = block[~overlaps.any(0)]
        overlaps = _overlaps(boxes, areas, labels, block, block, iou_threshold)
        alive = np.ones(len(block), bool)
        for i in np.flatnonzero(np.triu(overlaps, 1).any(1)):
            if alive[i]:
                alive[i + 1 :] &= ~overlaps[i, i + 1 :]
        survivors = np.concatenate((survivors, block[alive]))
        if len(survivors) >= limit:
            break
    return order[survivors[:limit]]


def _overlaps(boxes: Array, areas: Array, labels: Array | None, a: Array, b: Array, threshold: float) -> Array:
    """Boolean (len(a), len(b)): same class and IoU above the threshold."""
    low = np.maximum(boxes[a, None, :2], boxes[None, b, :2])
    high = np.minimum(boxes[a, None, 2:], boxes[None, b, 2:])
    sides = np.maximum(high - low, 0)
    shared = sides[..., 0] * sides[..., 1]
    # shared / union > threshold, without dividing by an empty union
    result = shared > threshold * (areas[a, None] + areas[None, b] - shared)
    if labels is not None:
        result &= labels[a, None] == labels[None, b]
    return result
