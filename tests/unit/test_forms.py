"""One network, exported with its boxes and scores in the forms that people's scripts write: read alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from edgekit.errors import SourceError, UsageError
from edgekit.graph.decoders import canonical_outputs
from edgekit.graph.shapes import fix_shapes
from edgekit.graph.simplify import simplify
from edgekit.spec import DetectionSpec
from tests.heads import CELLS, RANDOM, SIDE, Array, cells, corners, decode, graph, sigmoid
from tests.suppressing import expected, suppressing

CLASSES = 5
FORMS = [(c, u) for c in (True, False) for u in (True, False)]


def predictions(anchors: int = 1) -> Array:
    """Boxes (N, 4) around the cells they come from, as trained networks give: centre and size in pixels."""
    grid, scale = cells()
    centre = (grid + 0.5) * scale
    centre = np.concatenate([np.tile(centre[scale[:, 0] == s], (anchors, 1)) for s in (8, 16, 32)]) + RANDOM.normal(
        size=(anchors * CELLS, 2)
    )
    return np.concatenate([centre, 3 + RANDOM.random((len(centre), 2)) * 50], 1)


def written(boxes: Array, as_corners: bool, unit: bool) -> Array:
    found = corners(boxes) if as_corners else boxes
    return (found / SIDE if unit else found)[None]


def check(found: dict[str, Array], boxes: Array, logits: Array) -> None:
    np.testing.assert_allclose(found["boxes"][0], corners(boxes), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["scores"][0], sigmoid(logits[0]).T, rtol=1e-4)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("logits_leave", [False, True])
@pytest.mark.parametrize(("as_corners", "unit"), FORMS)
def test_in_one_output(as_corners: bool, unit: bool, logits_leave: bool, transposed: bool) -> None:
    boxes, logits = predictions(), RANDOM.standard_normal((1, CELLS, CLASSES))
    nodes = [
        helper.make_node("Identity" if logits_leave else "Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["box", "likely"], ["joined"], axis=2),
        helper.make_node("Transpose", ["joined"], ["out"], perm=[0, 2, 1] if transposed else [0, 1, 2]),
    ]
    shape = (1, 4 + CLASSES, CELLS) if transposed else (1, CELLS, 4 + CLASSES)
    arrays = {"box": written(boxes, as_corners, unit), "logits": logits}
    found, spec = decode(graph(nodes, {"out": shape}, arrays, raw=("logits",)))
    assert spec.decoder == "yolov8"
    check(found, boxes, logits)


def pair(arrays: dict[str, Array], last: str, axes: tuple[bool, bool], turned: bool) -> onnx.ModelProto:
    nodes = [helper.make_node(last, ["logits"], ["likely"])]
    outputs: dict[str, tuple[Any, ...]] = {}
    for name, source, whole, upright in zip(("p", "q"), ("box", "likely"), arrays.values(), axes):
        perm = [0, 1, 2] if upright else [0, 2, 1]
        nodes.append(helper.make_node("Transpose", [source], [name], perm=perm))
        outputs[name] = tuple(whole.shape[i] for i in perm)
    names = sorted(outputs, reverse=turned)
    return graph(nodes, {n: outputs[n] for n in names}, arrays, raw=("logits",))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("axes", [(True, True), (False, False), (True, False)])
@pytest.mark.parametrize("last", ["Sigmoid", "Identity"])
@pytest.mark.parametrize(("as_corners", "unit"), FORMS)
def test_in_two_outputs(as_corners: bool, unit: bool, last: str, axes: tuple[bool, bool], turned: bool) -> None:
    boxes, logits = predictions(), RANDOM.standard_normal((1, CELLS, CLASSES))
    arrays = {"box": written(boxes, as_corners, unit), "logits": logits}
    found, _ = decode(pair(arrays, last, axes, turned))
    check(found, boxes, logits)


@pytest.mark.parametrize(("as_corners", "unit"), FORMS)
def test_three_boxes_a_cell(as_corners: bool, unit: bool) -> None:
    boxes, logits = predictions(3), RANDOM.standard_normal((1, 3 * CELLS, 6))
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["box", "likely"], ["out"], axis=2),
    ]
    arrays = {"box": written(boxes, as_corners, unit), "logits": logits}
    found, spec = decode(graph(nodes, {"out": (1, 3 * CELLS, 10)}, arrays))
    assert spec.decoder == "yolov5"
    np.testing.assert_allclose(found["boxes"][0], corners(boxes), rtol=1e-4, atol=1e-3)


def queries(boxes: Array, logits: Array) -> tuple[dict[str, Array], DetectionSpec]:
    nodes = [helper.make_node("Identity", ["b"], ["boxes"]), helper.make_node("Sigmoid", ["s"], ["scores"])]
    return decode(graph(nodes, {"boxes": boxes.shape, "scores": logits.shape}, {"b": boxes, "s": logits}))


@pytest.mark.parametrize(("as_corners", "unit"), FORMS)
def test_away_from_any_grid(as_corners: bool, unit: bool) -> None:
    """SSD's pairs: corners in 0..1 is what its authors write."""
    centre = 16 + RANDOM.random((50, 2)) * 32
    boxes = np.concatenate([centre, 2 + RANDOM.random((50, 2)) * 28], 1)
    logits = RANDOM.standard_normal((1, 50, CLASSES))
    found, spec = queries(written(boxes, as_corners, unit), logits)
    assert spec.decoder == "ssd"
    check(found, boxes, logits)


def rewritten(as_corners: bool, unit: bool, ending: str) -> onnx.ModelProto:
    """Suppression in the graph, and boxes brought to another form after it."""
    model = suppressing(ending)
    nodes = list(model.graph.node)
    at = next(i for i, n in enumerate(nodes) if "box" in n.output)
    nodes[at].output[0] = "kept_boxes"
    half = np.array([[0.5, 0], [0, 0.5], [0.5, 0], [0, 0.5]])
    size = np.array([[-1, 0], [0, -1], [1, 0], [0, 1]])
    change = np.eye(4) if as_corners else np.concatenate([half, size], 1)
    change = (change / (SIDE if unit else 1)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(change, "change"))
    nodes.insert(at + 1, helper.make_node("MatMul", ["kept_boxes", "change"], ["box"]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("ending", ["box score class", "batch box class score", "dets", "separate"])
@pytest.mark.parametrize(("as_corners", "unit"), FORMS)
def test_after_suppression(as_corners: bool, unit: bool, ending: str) -> None:
    """Noise leaves no box above the graph's least score: the form shows all the same."""
    model = rewritten(as_corners, unit, ending)
    canonical, _ = canonical_outputs(simplify(fix_shapes(model, None, "m"), "m"), "m")
    image = np.clip(0.5 + RANDOM.normal(size=(1, 3, SIDE, SIDE)) * 0.5, 0, 1).astype(np.float32)
    session = ort.InferenceSession(canonical.SerializeToString(), providers=["CPUExecutionProvider"])
    boxes, scores = session.run(["boxes", "scores"], {"image": image})
    rows = expected(suppressing(ending), image)
    assert len(rows) > 2
    np.testing.assert_allclose(boxes[0][np.argsort(-scores[0], kind="stable")], rows[:, :4], atol=1e-3)


def test_boxes_in_another_unit_are_refused() -> None:
    """In strides, or of a picture of another size: they follow their cells, at another pace."""
    logits = RANDOM.standard_normal((1, CELLS, CLASSES))
    boxes = np.concatenate([cells()[0] * cells()[1], np.full((CELLS, 2), 9.0)], 1) / 2
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["box", "likely"], ["out"], axis=2),
    ]
    model = graph(nodes, {"out": (1, CELLS, 4 + CLASSES)}, {"box": boxes[None], "logits": logits})
    with pytest.raises(SourceError, match="unit of its boxes") as caught:
        decode(model)
    assert "they move 0.5 for each pixel" in caught.value.why


@pytest.mark.parametrize("shape", [(4 + CLASSES, CELLS), (1, 4 + CLASSES, CELLS, 1), (1, 1, CELLS, 4 + CLASSES)])
def test_of_another_rank(shape: tuple[int, ...]) -> None:
    boxes, logits = predictions(), RANDOM.standard_normal((1, CELLS, CLASSES))
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["box", "likely"], ["joined"], axis=2),
        helper.make_node("Transpose", ["joined"], ["t"], perm=[0, 1, 2] if shape[-1] == 4 + CLASSES else [0, 2, 1]),
        helper.make_node("Reshape", ["t", "shape"], ["out"]),
    ]
    model = graph(nodes, {"out": shape}, {"box": boxes[None], "logits": logits})
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array(shape), "shape"))
    found, spec = decode(model)
    assert spec.decoder == "yolov8"
    check(found, boxes, logits)


def test_the_maps_that_boxes_were_put_together_from_are_left_out() -> None:
    """As YOLOv5's export.py leaves them beside what it decodes."""
    boxes, logits = predictions(3), RANDOM.standard_normal((1, 3 * CELLS, 6))
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["box", "likely"], ["out"], axis=2),
    ]
    arrays: dict[str, Array] = {"box": boxes[None], "logits": logits}
    outputs: dict[str, tuple[Any, ...]] = {"out": (1, 3 * CELLS, 10)}
    for stride in (8, 16, 32):
        shape = (1, 3, SIDE // stride, SIDE // stride, 10)
        arrays[f"m{stride}"] = np.zeros(shape)
        nodes.append(helper.make_node("Identity", [f"m{stride}"], [f"map{stride}"]))
        outputs[f"map{stride}"] = shape
    found, spec = decode(graph(nodes, outputs, arrays))
    assert spec.decoder == "yolov5"
    np.testing.assert_allclose(found["boxes"][0], corners(boxes), rtol=1e-4, atol=1e-3)


def test_distances_without_their_points_are_no_boxes() -> None:
    """Means of distributions, as the layer leaves them: nothing adds the cells they are measured from."""
    sides, logits = (RANDOM.standard_normal((1, 16, 4, CELLS)), RANDOM.standard_normal((1, CLASSES, CELLS)))
    nodes = [
        helper.make_node("Softmax", ["sides"], ["shares"], axis=1),
        helper.make_node("Conv", ["shares", "steps"], ["means"]),
        helper.make_node("Reshape", ["means", "four"], ["distances"]),
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["distances", "likely"], ["out"], axis=1),
    ]
    model = graph(nodes, {"out": (1, 4 + CLASSES, CELLS)}, {"sides": sides, "logits": logits})
    steps = np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1)
    model.graph.initializer.append(onnx.numpy_helper.from_array(steps, "steps"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 4, CELLS]), "four"))
    with pytest.raises(UsageError, match="cannot be told"):
        decode(model)
