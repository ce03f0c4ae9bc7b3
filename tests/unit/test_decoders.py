"""Each family of detectors is recognised from its graph and decoded as its authors do.

The graphs are small, the raw predictions random; what the boxes should be is computed here in
plain numpy, from the families' publications.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import UsageError
from edgekit.graph.decoders import DECODERS, canonical_outputs
from edgekit.graph.shapes import fix_shapes
from edgekit.graph.simplify import simplify
from tests.data import data
from tests.heads import CELLS, RANDOM, SIDE, Array, cells, corners, decode, graph, sigmoid


@pytest.mark.parametrize("transposed", [False, True])
def test_yolov8(transposed: bool) -> None:
    box, logits = RANDOM.random((1, 4, CELLS)) * 50, RANDOM.standard_normal((1, 7, CELLS))
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["probability"]),
        helper.make_node("Concat", ["box", "probability"], ["joined"], axis=1),
        helper.make_node(
            "Transpose" if transposed else "Identity",
            ["joined"],
            ["output0"],
            **({"perm": [0, 2, 1]} if transposed else {}),
        ),
    ]
    shape = (1, CELLS, 11) if transposed else (1, 11, CELLS)
    model = graph(nodes, {"output0": shape}, {"box": box, "logits": logits})
    found, spec = decode(model, labels=tuple("abcdefg"))
    assert spec.decoder == "yolov8"
    np.testing.assert_allclose(found["boxes"], corners(box.transpose(0, 2, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["scores"], sigmoid(logits), rtol=1e-5)


def test_yolov5() -> None:
    """Decoded in the graph, as YOLOv5's export.py does."""
    raw = RANDOM.random((1, 3 * CELLS, 5 + 6))
    nodes = [
        helper.make_node("Sigmoid", ["raw"], ["likely"]),
        helper.make_node("Split", ["likely", "sizes"], ["xywh", "rest"], axis=2),
        helper.make_node("Mul", ["xywh", "scale"], ["boxes"]),
        helper.make_node("Concat", ["boxes", "rest"], ["output"], axis=2),
    ]
    model = graph(nodes, {"output": raw.shape}, {"raw": raw})
    model.graph.initializer.append(numpy_helper.from_array(np.array([4, 7]), "sizes"))
    model.graph.initializer.append(numpy_helper.from_array(np.array(50, np.float32), "scale"))
    found, spec = decode(model)
    assert spec.decoder == "yolov5"
    rows = sigmoid(raw)
    np.testing.assert_allclose(found["boxes"], corners(50 * rows[..., :4]), rtol=1e-4, atol=1e-4)
    expected = (rows[..., 5:] * rows[..., 4:5]).transpose(0, 2, 1)
    np.testing.assert_allclose(found["scores"], expected, rtol=1e-4)


def yolox_parts() -> tuple[onnx.ModelProto, dict[str, Array]]:
    arrays = {
        "reg": RANDOM.standard_normal((1, CELLS, 4)),
        "obj": RANDOM.standard_normal((1, CELLS, 1)),
        "cls": RANDOM.standard_normal((1, CELLS, 5)),
    }
    nodes = [
        helper.make_node("Sigmoid", ["obj"], ["o"]),
        helper.make_node("Sigmoid", ["cls"], ["c"]),
        helper.make_node("Concat", ["reg", "o", "c"], ["output"], axis=2),
    ]
    return graph(nodes, {"output": (1, CELLS, 10)}, arrays, raw=("reg",)), arrays


def test_yolox() -> None:
    model, arrays = yolox_parts()
    found, spec = decode(model)
    assert (spec.decoder, spec.image.color, spec.image.resize) == ("yolox", "bgr", "letterbox-topleft")
    grid, scale = cells()
    centre, size = (arrays["reg"][0, :, :2] + grid) * scale, np.exp(arrays["reg"][0, :, 2:]) * scale
    np.testing.assert_allclose(found["boxes"][0], corners(np.concatenate([centre, size], 1)), rtol=1e-4, atol=1e-3)
    expected = sigmoid(arrays["obj"]) * sigmoid(arrays["cls"])
    np.testing.assert_allclose(found["scores"], expected.transpose(0, 2, 1), rtol=1e-4)


@pytest.mark.parametrize(("strides", "middle"), [((8, 16, 32), 0.5), ((8, 16, 32, 64), 0.0)])
def test_nanodet(strides: tuple[int, ...], middle: float) -> None:
    """Before Plus and since: Plus has a fourth stride, and measures from a cell's corner."""
    points = [np.mgrid[: SIDE // s, : SIDE // s][::-1].reshape(2, -1).T for s in strides]
    grid = np.concatenate(points) + middle
    scale = np.concatenate([np.full((len(p), 1), s) for p, s in zip(points, strides)])
    count = len(grid)
    cls, reg = RANDOM.standard_normal((1, count, 3)), RANDOM.standard_normal((1, count, 32))
    nodes = [helper.make_node("Sigmoid", ["cls"], ["c"]), helper.make_node("Concat", ["c", "reg"], ["output"], axis=2)]
    found, spec = decode(graph(nodes, {"output": (1, count, 35)}, {"cls": cls, "reg": reg}, raw=("reg",)))
    assert spec.decoder == "nanodet"
    weights = np.exp(reg.reshape(count, 4, 8))
    sides = (weights / weights.sum(2, keepdims=True) * np.arange(8)).sum(2)
    expected = np.concatenate([grid - sides[:, :2], grid + sides[:, 2:]], 1) * scale
    np.testing.assert_allclose(found["boxes"][0], expected, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["scores"], sigmoid(cls).transpose(0, 2, 1), rtol=1e-5)


def test_fastestdet() -> None:
    arrays = {n: RANDOM.standard_normal((1, c, 4, 4)) for n, c in (("obj", 1), ("reg", 4), ("cls", 6))}
    nodes = [
        helper.make_node("Sigmoid", ["obj"], ["o"]),
        helper.make_node("Softmax", ["cls"], ["c"], axis=1),
        helper.make_node("Concat", ["o", "reg", "c"], ["output"], axis=1),
    ]
    found, spec = decode(graph(nodes, {"output": (1, 11, 4, 4)}, arrays, raw=("reg",)))
    assert spec.decoder == "fastestdet"
    row, column = 2, 1
    obj, reg, cls = (arrays[n][0, :, row, column] for n in ("obj", "reg", "cls"))
    box = np.array([*((np.tanh(reg[:2]) + np.array([column, row])) / 4), *sigmoid(reg[2:])]) * SIDE
    np.testing.assert_allclose(found["boxes"][0, row * 4 + column], corners(box), rtol=1e-4)
    expected = sigmoid(obj) ** 0.6 * (np.exp(cls) / np.exp(cls).sum()) ** 0.4
    np.testing.assert_allclose(found["scores"][0, :, row * 4 + column], expected, rtol=1e-4)


def test_ssd_drops_the_background() -> None:
    logits, boxes = RANDOM.standard_normal((1, 50, 4)), RANDOM.random((1, 50, 4))
    nodes = [
        helper.make_node("Softmax", ["logits"], ["scores"], axis=2),
        helper.make_node("Identity", ["b"], ["boxes"]),
    ]
    found, spec = decode(graph(nodes, {"scores": (1, 50, 4), "boxes": (1, 50, 4)}, {"logits": logits, "b": boxes}))
    assert (spec.decoder, len(spec.labels)) == ("ssd", 3)
    probability = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    np.testing.assert_allclose(found["scores"], probability[..., 1:].transpose(0, 2, 1), rtol=1e-5)
    np.testing.assert_allclose(found["boxes"], boxes * SIDE, rtol=1e-5)


def test_yolo_nas_boxes_and_scores() -> None:
    logits, boxes = RANDOM.standard_normal((1, CELLS, 6)), RANDOM.random((1, CELLS, 4)) * 60
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["out_scores"]),
        helper.make_node("Identity", ["b"], ["out_boxes"]),
    ]
    model = graph(nodes, {"out_boxes": boxes.shape, "out_scores": logits.shape}, {"logits": logits, "b": boxes})
    found, spec = decode(model)
    assert spec.decoder == "boxes-scores"
    np.testing.assert_allclose(found["boxes"], boxes, rtol=1e-5)
    np.testing.assert_allclose(found["scores"], sigmoid(logits).transpose(0, 2, 1), rtol=1e-5)


@pytest.mark.parametrize("joined", [False, True])
def test_rtdetr(joined: bool) -> None:
    logits, raw = RANDOM.standard_normal((1, 30, 9)), RANDOM.standard_normal((1, 30, 4))
    nodes = [helper.make_node("Sigmoid", ["raw"], ["pred_boxes"])]
    outputs: dict[str, tuple[Any, ...]] = {"logits_out": (1, 30, 9), "pred_boxes": (1, 30, 4)}
    if joined:
        nodes += [
            helper.make_node("Sigmoid", ["logits"], ["p"]),
            helper.make_node("Concat", ["pred_boxes", "p"], ["output0"], axis=2),
        ]
        outputs = {"output0": (1, 30, 13)}
    else:
        nodes.append(helper.make_node("Identity", ["logits"], ["logits_out"]))
    found, spec = decode(graph(nodes, outputs, {"logits": logits, "raw": raw}))
    assert (spec.decoder, spec.image.resize) == ("rtdetr", "stretch")
    np.testing.assert_allclose(found["boxes"], corners(sigmoid(raw)) * SIDE, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["scores"], sigmoid(logits).transpose(0, 2, 1), rtol=1e-5)


def test_end_to_end() -> None:
    rows = np.concatenate(
        [RANDOM.random((1, 30, 4)) * 60, RANDOM.random((1, 30, 1)), RANDOM.integers(0, 5, (1, 30, 1))], 2
    )
    found, spec = decode(
        graph([helper.make_node("Identity", ["r"], ["output0"])], {"output0": (1, 30, 6)}, {"r": rows})
    )
    assert spec.decoder == "end-to-end"
    assert spec.nms_in_graph
    np.testing.assert_allclose(found["boxes"], rows[..., :4], rtol=1e-5)
    np.testing.assert_allclose(found["classes"], rows[..., 5])


def test_torchvision_three_outputs() -> None:
    boxes, scores = RANDOM.random((9, 4)) * 60, RANDOM.random(9)
    nodes = [
        helper.make_node("Cast", ["l"], ["labels"], to=TensorProto.INT64),
        helper.make_node("Identity", ["b"], ["boxes"]),
        helper.make_node("Identity", ["s"], ["scores"]),
    ]
    model = graph(
        nodes,
        {"boxes": (9, 4), "labels": (9,), "scores": (9,)},
        {"b": boxes, "l": np.arange(9), "s": scores},
        {"labels": TensorProto.INT64},
    )
    found, spec = decode(model)
    assert spec.decoder == "boxes-scores-labels"
    np.testing.assert_allclose(found["boxes"][0], boxes, rtol=1e-5)
    np.testing.assert_allclose(found["classes"][0], np.arange(9))


def test_tensorflow_detection() -> None:
    boxes, scores, classes = RANDOM.random((1, 9, 4)), RANDOM.random((1, 9)), np.arange(1, 10)[None]
    names = {"detection_boxes": boxes, "detection_scores": scores, "detection_classes": classes}
    nodes = [helper.make_node("Identity", [f"{n}_in"], [n]) for n in names]
    found, spec = decode(graph(nodes, {n: a.shape for n, a in names.items()}, {f"{n}_in": a for n, a in names.items()}))
    assert spec.decoder == "tf-detection"
    np.testing.assert_allclose(found["boxes"], boxes[..., [1, 0, 3, 2]] * SIDE, rtol=1e-5)
    np.testing.assert_allclose(found["classes"][0], np.arange(9))


def test_our_own_form_is_read_back() -> None:
    boxes, scores = RANDOM.random((1, 40, 4)) * 60, RANDOM.random((1, 3, 40))
    nodes = [helper.make_node("Identity", ["b"], ["boxes"]), helper.make_node("Identity", ["s"], ["scores"])]
    found, spec = decode(graph(nodes, {"boxes": (1, 40, 4), "scores": (1, 3, 40)}, {"b": boxes, "s": scores}))
    assert spec.decoder == "nms-inputs"
    np.testing.assert_allclose(found["scores"], scores, rtol=1e-6)


def unknown() -> onnx.ModelProto:
    return graph([helper.make_node("Identity", ["x"], ["y"])], {"y": (1, 13, 17)}, {"x": np.zeros((1, 13, 17))})


def test_what_cannot_be_told_is_asked_for_with_a_list() -> None:
    with pytest.raises(UsageError, match="cannot be told") as caught:
        decode(unknown())
    assert all(name in caught.value.next for name in DECODERS)


# The others read any rank-3 output: there the user's word is taken.
@pytest.mark.parametrize("name", sorted(DECODERS.keys() - {"yolov8", "yolov5", "yolov6", "yolox", "rtdetr"}))
def test_a_decoder_that_does_not_fit_says_so(name: str) -> None:
    with pytest.raises(UsageError, match=r"do not fit|cannot"):
        decode(unknown(), decoder=name)


def test_wrong_number_of_labels() -> None:
    model, _ = yolox_parts()
    with pytest.raises(UsageError, match="2 labels"):
        decode(model, decoder="yolox", labels=("a", "b"))


def test_an_unknown_decoder_lists_those_known() -> None:
    with pytest.raises(UsageError, match="no decoder called"):
        decode(unknown(), decoder="yolo9000")


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Cast", ["before"], ["output"], to=TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE
    return model


@pytest.mark.parametrize("change", [lambda m: m, halved])
def test_output_types_do_not_matter(change: Callable[[onnx.ModelProto], onnx.ModelProto]) -> None:
    found, spec = decode(change(yolox_parts()[0]))
    assert spec.decoder == "yolox"
    assert found["boxes"].dtype == np.float32


@pytest.mark.parametrize(
    ("file", "decoder"),
    [
        ("detectors/yolox_nano/yolox_nano.onnx", "yolox"),
        ("detectors/fastestdet/FastestDet.onnx", "fastestdet"),
        ("detectors/ultraface/version-RFB-320.onnx", "ssd"),
        ("yolov9t_coco/yolov9t_coco_640.onnx", "yolov8"),
    ],
)
def test_real_detectors_are_recognised(file: str, decoder: str) -> None:
    model = onnx.load(str(data(file)))
    _, spec = canonical_outputs(simplify(fix_shapes(model, None, file), file), file)
    assert spec.decoder == decoder


def test_yolov6() -> None:
    """Its objectness is a column of ones, and its images are prepared otherwise than YOLOX's."""
    box, logits = RANDOM.random((1, CELLS, 4)) * 50, RANDOM.standard_normal((1, CELLS, 3))
    nodes = [
        helper.make_node("Sigmoid", ["logits"], ["likely"]),
        helper.make_node("Concat", ["box", "ones", "likely"], ["outputs"], axis=2),
    ]
    model = graph(nodes, {"outputs": (1, CELLS, 8)}, {"box": box, "logits": logits})
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, CELLS, 1), np.float32), "ones"))
    found, spec = decode(model)
    assert (spec.decoder, spec.image.color, spec.image.std[0]) == ("yolov6", "rgb", 255)
    np.testing.assert_allclose(found["boxes"], corners(box), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["scores"], sigmoid(logits).transpose(0, 2, 1), rtol=1e-5)
