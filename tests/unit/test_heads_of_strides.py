"""YOLOv8's heads before their decoding, in the ways that exporters for chips leave them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.heads import RANDOM, SIDE, Array, decode, graph, sigmoid

CLASSES, STRIDES = (8, (8, 16, 32))  # as many classes as the finest cells in a row: shapes do not tell axes apart


def exported(
    sides: list[Array], logits: list[Array], likely: bool, last: bool, joined: bool, sums: bool
) -> onnx.ModelProto:
    arrays, nodes, outputs = {}, [], dict[str, tuple[Any, ...]]()
    for stride, side, logit in zip(STRIDES, sides, logits):
        s, c, p = f"s{stride}", f"c{stride}", f"p{stride}"
        arrays |= {s: side, c: logit}
        nodes.append(helper.make_node("Sigmoid" if likely else "Identity", [c], [p]))
        parts = {"sides": (s, 64), "classes": (p, CLASSES)}
        if joined:
            nodes.append(helper.make_node("Concat", [s, p], [f"j{stride}"], axis=1))
            parts = {"joined": (f"j{stride}", 64 + CLASSES)}
        if sums:
            nodes.append(helper.make_node("ReduceSum", [p, "one"], [f"t{stride}"], keepdims=1))
            parts["sum"] = (f"t{stride}", 1)
        for name, (source, channels) in parts.items():
            perm = [0, 2, 3, 1] if last else [0, 1, 2, 3]
            nodes.append(helper.make_node("Transpose", [source], [f"{name}{stride}"], perm=perm))
            n = SIDE // stride
            outputs[f"{name}{stride}"] = (1, n, n, channels) if last else (1, channels, n, n)
    made = graph(nodes, outputs, arrays, raw=tuple(arrays))
    if sums:
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1]), "one"))
    return made


@pytest.mark.parametrize("likely", [True, False])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize(("joined", "sums"), [(True, False), (False, False), (False, True)])
def test_all_are_read_alike(likely: bool, last: bool, joined: bool, sums: bool) -> None:
    sides = [RANDOM.standard_normal((1, 64, SIDE // s, SIDE // s)) for s in STRIDES]
    logits = [RANDOM.standard_normal((1, CLASSES, SIDE // s, SIDE // s)) for s in STRIDES]
    found, spec = decode(exported(sides, logits, likely, last, joined, sums))
    assert spec.decoder == ("yolov8-heads" if joined else "yolov8-strides")
    boxes, scores = [], []
    for stride, side, logit in zip(STRIDES, sides, logits):
        weights = np.exp(side[0].reshape(4, 16, -1))
        d = (weights / weights.sum(1, keepdims=True) * np.arange(16)[:, None]).sum(1)
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride].reshape(2, -1) + 0.5
        boxes.append(np.stack([x - d[0], y - d[1], x + d[2], y + d[3]], 1) * stride)
        scores.append(sigmoid(logit[0].reshape(CLASSES, -1)))
    np.testing.assert_allclose(found["boxes"][0], np.concatenate(boxes), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["scores"][0], np.concatenate(scores, 1), rtol=1e-4)
