"""Detectors that give every candidate with its best class only, and leave suppression to others."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit.errors import UsageError
from tests.heads import CELLS, RANDOM, Array, corners, decode, graph, sigmoid

CLASSES = 5


def parts() -> tuple[dict[str, Array], Array, Array]:
    low = RANDOM.random((1, CELLS, 2)) * 40
    boxes = np.concatenate([low, low + 3 + RANDOM.random((1, CELLS, 2)) * 20], 2)
    logits = RANDOM.standard_normal((1, CELLS, CLASSES))
    likely = sigmoid(logits[0])
    expected = np.where(np.arange(CLASSES)[:, None] == likely.argmax(1), likely.max(1), 0)
    return {"b": boxes, "logits": logits}, boxes, expected


def separate(arrays: dict[str, Array], kind: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("ReduceMax", ["likely"], ["scores"], axes=[2], keepdims=0),
        helper.make_node("ArgMax", ["likely"], ["best"], axis=2, keepdims=0),
        helper.make_node("Cast", ["best"], ["class_idx"], to=kind),
        helper.make_node("Identity", ["b"], ["boxes"]),
    ]
    outputs = {"boxes": (1, CELLS, 4), "scores": (1, CELLS), "class_idx": (1, CELLS)}
    return graph(nodes, outputs, arrays, {"class_idx": kind})


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT64, TensorProto.FLOAT])
def test_three_outputs(kind: int) -> None:
    arrays, boxes, expected = parts()
    found, spec = decode(separate(arrays, kind))
    assert (spec.decoder, spec.nms_in_graph, len(spec.labels)) == ("best-class", False, CLASSES)
    np.testing.assert_allclose(found["boxes"], boxes, rtol=1e-5)
    np.testing.assert_allclose(found["scores"][0], expected, rtol=1e-5)


@pytest.mark.parametrize("score_first", [True, False])
def test_rows(score_first: bool) -> None:
    """An integer beside a probability is a class, no angle."""
    arrays, boxes, expected = parts()
    columns = ["score", "class"] if score_first else ["class", "score"]
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("ReduceMax", ["likely"], ["score"], axes=[2], keepdims=1),
        helper.make_node("ArgMax", ["likely"], ["best"], axis=2, keepdims=1),
        helper.make_node("Cast", ["best"], ["class"], to=TensorProto.FLOAT),
        helper.make_node("Concat", ["b", *columns], ["rows"], axis=2),
    ]
    found, spec = decode(graph(nodes, {"rows": (1, CELLS, 6)}, arrays))
    assert (spec.decoder, spec.nms_in_graph) == ("best-class", False)
    np.testing.assert_allclose(found["boxes"], boxes, rtol=1e-5)
    np.testing.assert_allclose(found["scores"][0], expected, rtol=1e-5)


def test_a_number_of_classes_that_nothing_says_is_asked_for() -> None:
    arrays = {"b": parts()[1], "s": RANDOM.random((1, CELLS)), "l": RANDOM.integers(0, 3, (1, CELLS))}
    nodes = [
        helper.make_node("Cast", ["l"], ["labels"], to=TensorProto.INT64),
        helper.make_node("Identity", ["b"], ["boxes"]),
        helper.make_node("Identity", ["s"], ["scores"]),
    ]
    outputs = {"boxes": (1, CELLS, 4), "scores": (1, CELLS), "labels": (1, CELLS)}
    model = graph(nodes, outputs, arrays, {"labels": TensorProto.INT64})
    with pytest.raises(UsageError, match="How many classes") as caught:
        decode(model)
    assert "--labels" in caught.value.next
    found, _ = decode(model, labels=("a", "b", "c"))
    np.testing.assert_array_equal(found["scores"][0].argmax(0), arrays["l"][0])


def test_what_was_suppressed_is_not_suppressed_again() -> None:
    """As many rows as no grid has."""
    arrays = {"r": np.concatenate([corners(RANDOM.random((1, 30, 4)) * 60), RANDOM.random((1, 30, 2))], 2)}
    model = graph([helper.make_node("Identity", ["r"], ["rows"])], {"rows": (1, 30, 6)}, arrays)
    assert decode(model)[1].decoder == "end-to-end"
