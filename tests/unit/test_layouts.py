"""What a graph does to its channels tells one layout from another of the same shape."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgekit.errors import SourceError, UsageError
from edgekit.graph.fold_sizes import fold_sizes
from edgekit.graph.view import GraphView
from tests.heads import CELLS, RANDOM, SIDE, cells, corners, decode, graph, sigmoid, ultralytics


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize(
    ("beside", "seen"), [(51, "key points (17 of three"), (10, "key points (5 of two"), (1, "an angle")]
)
@pytest.mark.parametrize("classes", [1, 5])
def test_what_is_beside_boxes_is_no_class(transposed: bool, beside: int, seen: str, classes: int) -> None:
    for labels in ((), tuple(map(str, range(classes)))):
        with pytest.raises(SourceError, match="no detector of boxes") as caught:
            decode(ultralytics(classes, beside, transposed), labels=labels)
        assert seen in caught.value.why and f"{classes} come from a sigmoid" in caught.value.why


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("labels", [(), ("ball",)])
def test_one_class(transposed: bool, labels: tuple[str, ...]) -> None:
    """The commonest detector that people train themselves."""
    found, spec = decode(ultralytics(1, 0, transposed), labels=labels)
    assert (spec.decoder, spec.labels) == ("yolov8", labels or ("class_0",))
    assert found["scores"].shape == (1, 1, CELLS)


@pytest.mark.parametrize(
    ("metadata", "seen"),
    [
        ({"task": "pose", "kpt_shape": "[17, 3]"}, "kpt_shape"),
        ({"task": "obb"}, "obb"),
        ({"task": "segment"}, "segment"),
        ({"task": "classify"}, "classify"),
        ({"kpt_shape": "[5, 2]"}, "[5, 2]"),
    ],
)
def test_metadata_says_another_task(metadata: dict[str, str], seen: str) -> None:
    with pytest.raises(SourceError, match="no detector of boxes") as caught:
        decode(ultralytics(3, 0), metadata=metadata)
    assert seen in caught.value.why
    decode(ultralytics(3, 0), metadata={"task": "detect"})


def test_masks_and_classifiers() -> None:
    model = ultralytics(3, 32)
    model.graph.node.append(helper.make_node("Conv", ["image", "w"], ["output1"], strides=[4, 4]))
    weights = np.zeros((32, 3, 4, 4), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(weights, "w"))
    model.graph.output.append(helper.make_tensor_value_info("output1", 1, [1, 32, 16, 16]))
    with pytest.raises(SourceError, match="gives masks"):
        decode(model)
    row = graph([helper.make_node("Softmax", ["x"], ["y"])], {"y": (1, 10)}, {"x": np.zeros((1, 10))})
    with pytest.raises(SourceError, match="classifier"):
        decode(row)


@pytest.mark.parametrize("likely", [False, True])
@pytest.mark.parametrize("apart", [False, True])
def test_boxes_relative_to_anchors(likely: bool, apart: bool) -> None:
    """YOLOv5 without its decoding: refused, and read with its standard anchors when told so."""
    rows = [RANDOM.standard_normal((1, 3, SIDE // s, SIDE // s, 9)) for s in (8, 16, 32)]
    arrays = {f"r{i}": r for i, r in enumerate(rows)}
    nodes, ends, outputs = [], [], {}
    for i, array in enumerate(rows):
        nodes.append(helper.make_node("Sigmoid" if likely else "Identity", [f"r{i}"], [f"l{i}"]))
        if apart:
            outputs[f"l{i}"] = array.shape
        else:
            nodes.append(helper.make_node("Reshape", [f"l{i}", "flat"], [f"f{i}"]))
            ends.append(f"f{i}")
    if not apart:
        nodes.append(helper.make_node("Concat", ends, ["output"], axis=1))
        outputs = {"output": (1, 3 * CELLS, 9)}
    model = graph(nodes, outputs, arrays, raw=tuple(arrays))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, -1, 9]), "flat"))
    with pytest.raises(SourceError, match="leaves its boxes undecoded") as caught:
        decode(model)
    assert "yolov5-raw" in caught.value.next and "3 boxes a cell" in caught.value.why
    found, spec = decode(model, decoder="yolov5-raw")
    assert len(spec.labels) == 4
    expected = []
    anchors = ((10, 13, 16, 30, 33, 23), (30, 61, 62, 45, 59, 119), (116, 90, 156, 198, 373, 326))
    for array, stride, sizes in zip(rows, (8, 16, 32), anchors):
        p = sigmoid(array[0])
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride]
        centre = (p[..., :2] * 2 - 0.5 + np.stack([x, y], -1)) * stride
        size = (p[..., 2:4] * 2) ** 2 * np.array(sizes).reshape(3, 1, 1, 2)
        expected.append(corners(np.concatenate([centre, size], -1)).reshape(-1, 4))
    np.testing.assert_allclose(found["boxes"][0], np.concatenate(expected), rtol=1e-3, atol=1e-2)
    p = sigmoid(np.concatenate([a.reshape(-1, 9) for a in rows]))
    np.testing.assert_allclose(found["scores"][0], (p[:, 5:] * p[:, 4:5]).T, rtol=1e-4)


def test_boxes_straight_from_a_layer_are_refused() -> None:
    arrays = {"b": RANDOM.standard_normal((1, 896, 16)), "s": RANDOM.standard_normal((1, 896, 1))}
    nodes = [helper.make_node("Identity", [n], [f"{n}_out"]) for n in arrays]
    model = graph(nodes, {"b_out": (1, 896, 16), "s_out": (1, 896, 1)}, arrays, raw=("b", "s"))
    with pytest.raises(SourceError, match="undecoded") as caught:
        decode(model)
    assert "16 numbers a box" in caught.value.why


def pairs(strides: tuple[int, ...], bins: int, maps: bool) -> tuple[onnx.ModelProto, list[np.ndarray[Any, Any]]]:
    """Class probabilities and side distributions of each stride, as outputs of their own."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    nodes, outputs = [], {}
    for stride in strides:
        n = SIDE // stride
        for kind, channels in (("c", 5), ("d", 4 * bins)):
            shape = (1, channels, n, n) if maps else (1, n * n, channels)
            arrays[f"{kind}{stride}"] = RANDOM.standard_normal(shape)
            nodes.append(
                helper.make_node("Sigmoid" if kind == "c" else "Identity", [f"{kind}{stride}"], [f"{kind}{stride}_out"])
            )
            outputs[f"{kind}{stride}_out"] = shape
    order = sorted(outputs)  # all classes first, as NanoDet and PicoDet do
    return graph(nodes, {n: outputs[n] for n in order}, arrays, raw=tuple(arrays)), list(arrays.values())


@pytest.mark.parametrize(
    ("strides", "bins", "maps", "decoder", "color"),
    [
        ((8, 16, 32), 8, False, "nanodet-strides", "bgr"),
        ((8, 16, 32, 64), 8, False, "picodet", "rgb"),
        ((8, 16, 32), 16, True, "yolov8-strides", "rgb"),
    ],
)
def test_pairs_of_each_stride(strides: tuple[int, ...], bins: int, maps: bool, decoder: str, color: str) -> None:
    model, arrays = pairs(strides, bins, maps)
    found, spec = decode(model)
    assert (spec.decoder, spec.image.color) == (decoder, color)
    boxes, scores = [], []
    for stride, likely, sides in zip(strides, arrays[::2], arrays[1::2]):
        if maps:
            likely, sides = (a.reshape(1, a.shape[1], -1).transpose(0, 2, 1) for a in (likely, sides))
        weights = np.exp(sides[0].reshape(-1, 4, bins))
        d = (weights / weights.sum(2, keepdims=True) * np.arange(bins)).sum(2)
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride]
        middle = np.stack([x, y], -1).reshape(-1, 2) + 0.5
        boxes.append(np.concatenate([middle - d[:, :2], middle + d[:, 2:]], 1) * stride)
        scores.append(sigmoid(likely[0]))
    np.testing.assert_allclose(found["boxes"][0], np.concatenate(boxes), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["scores"][0], np.concatenate(scores).T, rtol=1e-4)


def test_yunet() -> None:
    arrays, nodes, outputs = {}, [], {}
    for kind, channels in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
        for stride in (8, 16, 32):
            name, shape = f"{kind}_{stride}", (1, (SIDE // stride) ** 2, channels)
            arrays[f"{name}_in"] = RANDOM.standard_normal(shape) * 0.5
            ends = "Sigmoid" if channels == 1 else "Identity"
            nodes.append(helper.make_node(ends, [f"{name}_in"], [name]))
            outputs[name] = shape
    found, spec = decode(graph(nodes, outputs, arrays, raw=tuple(arrays)), labels=("face",))
    assert (spec.decoder, spec.image.color, spec.image.pad) == ("yunet", "bgr", 0)
    grid, scale = cells()
    raw = np.concatenate([arrays[f"bbox_{s}_in"][0] for s in (8, 16, 32)])
    both = [np.concatenate([sigmoid(arrays[f"{k}_{s}_in"][0, :, 0]) for s in (8, 16, 32)]) for k in ("cls", "obj")]
    box = np.concatenate([(raw[:, :2] + grid) * scale, np.exp(raw[:, 2:]) * scale], 1)
    np.testing.assert_allclose(found["boxes"][0], corners(box), rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found["scores"][0, 0], np.sqrt(both[0] * both[1]), rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "shape", "kind", "value"),
    [
        ("orig_target_sizes", (1, 2), 7, [96, 64]),
        ("orig_target_sizes", (-1, 2), 7, [96, 64]),
        ("im_shape", (1, 2), 1, [64, 96]),
        ("scale_factor", (1, 2), 1, [1, 1]),
        ("im_info", (1, 3), 1, [64, 96, 1]),
    ],
)
def test_inputs_that_tell_the_size_become_constants(
    name: str, shape: tuple[int, ...], kind: int, value: list[float]
) -> None:
    image = helper.make_tensor_value_info("image", 1, ["batch", 3, 64, 96])
    second = helper.make_tensor_value_info(name, kind, [d if d > 0 else "batch" for d in shape])
    nodes = [helper.make_node("Identity", ["image"], ["a"]), helper.make_node("Identity", [name], ["b"])]
    outputs = [helper.make_tensor_value_info("a", 1, None), helper.make_tensor_value_info("b", kind, None)]
    model = helper.make_model(helper.make_graph(nodes, "g", [image, second], outputs))
    folded, notes = fold_sizes(model, None, "m")
    view = GraphView(folded)
    assert view.inputs == ["image"] and view.shape(name) == (1, shape[-1])
    array = view.array(name)
    assert array is not None and array.ravel().tolist() == value
    assert name in notes[0]


def test_another_second_input_stays() -> None:
    image = helper.make_tensor_value_info("image", 1, [1, 3, 64, 96])
    second = helper.make_tensor_value_info("text", 7, [1, 16])
    model = helper.make_model(helper.make_graph([], "g", [image, second], []))
    assert fold_sizes(model, None, "m")[0] is model


def test_an_open_size_beside_a_second_input_is_asked_for() -> None:
    image = helper.make_tensor_value_info("image", 1, [1, 3, "h", "w"])
    second = helper.make_tensor_value_info("orig_target_sizes", 7, [1, 2])
    model = helper.make_model(helper.make_graph([], "g", [image, second], []))
    with pytest.raises(UsageError, match="is open"):
        fold_sizes(model, None, "m")


def detr(logits: np.ndarray[Any, Any], last: str) -> onnx.ModelProto:
    arrays = {"logits": logits, "raw": RANDOM.standard_normal((1, 30, 4))}
    nodes = [
        helper.make_node("Sigmoid", ["raw"], ["pred_boxes"]),
        helper.make_node(last, ["logits"], ["pred_logits"], **({"axis": 2} if last == "Softmax" else {})),
    ]
    outputs = {"pred_logits": logits.shape, "pred_boxes": (1, 30, 4)}
    return graph(nodes, outputs, arrays, raw=("logits",))


@pytest.mark.parametrize("last", ["Identity", "Softmax"])
@pytest.mark.parametrize("labels", [(), tuple("abcde")])
def test_a_class_for_no_object(last: str, labels: tuple[str, ...]) -> None:
    """DETR's last: what nearly all boxes in noise are of."""
    logits = RANDOM.standard_normal((1, 30, 6)) + np.array([0, 0, 0, 0, 0, 6])
    found, spec = decode(detr(logits, last), labels=labels)
    assert (spec.decoder, len(spec.labels)) == ("rtdetr", 5)
    weights = np.exp(logits[0])
    expected = weights / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(found["scores"][0], expected[:, :5].T, rtol=1e-4)


@pytest.mark.parametrize("classes", [1, 2, 6])
def test_sigmoids_have_no_class_for_no_object(classes: int) -> None:
    """RT-DETR's: all improbable, one less so than the others."""
    logits = RANDOM.standard_normal((1, 30, classes)) - 6
    logits[..., -1] += 3
    found, spec = decode(detr(logits, "Identity"))
    assert len(spec.labels) == classes
    np.testing.assert_allclose(found["scores"][0], sigmoid(logits[0]).T, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("last", [True, False])
def test_background_may_be_last(last: bool) -> None:
    logits = RANDOM.standard_normal((1, 50, 4)) + (np.array([0, 0, 0, 5])[:: 1 if last else -1])
    arrays = {"logits": logits, "b": RANDOM.random((1, 50, 4))}
    nodes = [
        helper.make_node("Softmax", ["logits"], ["scores"], axis=2),
        helper.make_node("Identity", ["b"], ["boxes"]),
    ]
    found, spec = decode(graph(nodes, {"scores": (1, 50, 4), "boxes": (1, 50, 4)}, arrays))
    assert (spec.decoder, len(spec.labels)) == ("ssd", 3)
    weights = np.exp(logits[0])
    expected = (weights / weights.sum(1, keepdims=True)).T
    np.testing.assert_allclose(found["scores"][0], expected[:3] if last else expected[1:], rtol=1e-4)


@pytest.mark.parametrize("shape", [(1, 19, SIDE, SIDE), (1, SIDE, SIDE), (1, SIDE // 4, SIDE // 4, 3)])
def test_maps_of_the_picture_are_no_boxes(shape: tuple[int, ...]) -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["y"])]
    with pytest.raises(SourceError, match="no detector of boxes: it gives a map") as caught:
        decode(graph(nodes, {"y": shape}, {"x": np.zeros(shape)}, raw=("x",)))
    assert "segmentation, depth" in caught.value.why


def test_heat_maps_are_undecoded() -> None:
    sizes = {"hm": 5, "wh": 2, "reg": 2}
    arrays = {f"{n}_in": np.zeros((1, c, SIDE // 4, SIDE // 4)) for n, c in sizes.items()}
    nodes = [helper.make_node("Sigmoid", [f"{n}_in"], [n]) for n in sizes]
    with pytest.raises(SourceError, match="leaves its boxes undecoded") as caught:
        decode(graph(nodes, {n: arrays[f"{n}_in"].shape for n in sizes}, arrays))
    assert "CenterNet" in caught.value.why
