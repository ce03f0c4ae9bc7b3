"""Small detectors with NonMaxSuppression in their graph, ending as different exporters write them.

How many boxes are left differs from image to image; class, score and box of each are computed here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
SIDE = 64
CLASSES = 3


def suppressing(ending: str, batch: bool = True) -> onnx.ModelProto:
    """`ending`: the columns of the rows, in order, as `batch class score box`; or `dets`, `separate`, `counted`."""
    rng = np.random.default_rng(3)
    constants: dict[str, Array] = {
        "w0": rng.standard_normal((16, 3, 8, 8)).astype(np.float32) * 0.15,
        "w1": rng.standard_normal((CLASSES, 16, 3, 3)).astype(np.float32) * 0.15,
        "flat": np.array([1, CLASSES, -1]),
        "most": np.array([20]),
        "overlap": np.array([0.5], np.float32),
        "least": np.array([0.6], np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "two": np.array([2]),
        "three": np.array([3]),
        "boxes_in": _boxes(),
        "nought": np.array(0, np.float32),
        "rows": np.array([-1]),
        "axis1": np.array([1]),
        "axis0": np.array([0]),
        "half": np.array(0.5, np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["image", "half"], ["centred"]),
        helper.make_node("Conv", ["centred", "w0"], ["cells"], strides=[8, 8]),
        helper.make_node("Relu", ["cells"], ["bright"]),
        helper.make_node("Conv", ["bright", "w1"], ["logits"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["logits", "flat"], ["by_class"]),
        helper.make_node("Sigmoid", ["by_class"], ["scores_all"]),
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["none"]),
        helper.make_node("Add", ["boxes_in", "none"], ["boxes_all"]),
        helper.make_node("NonMaxSuppression", ["boxes_all", "scores_all", "most", "overlap", "least"], ["kept"]),
        helper.make_node("Slice", ["kept", "zero", "one", "axis1"], ["batch_i"]),
        helper.make_node("Slice", ["kept", "one", "two", "axis1"], ["class_i"]),
        helper.make_node("Slice", ["kept", "two", "three", "axis1"], ["which_i"]),
        helper.make_node("Concat", ["batch_i", "which_i"], ["where_box"], axis=1),
        helper.make_node("GatherND", ["boxes_all", "where_box"], ["box"]),
        helper.make_node("GatherND", ["scores_all", "kept"], ["score_i"]),
        helper.make_node("Unsqueeze", ["score_i", "axis1"], ["score"]),
        helper.make_node("Cast", ["batch_i"], ["batch"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["class_i"], ["class"], to=TensorProto.FLOAT),
    ]
    outputs: dict[str, tuple[list[Any], int]] = {}
    words = ending.split()
    if len(words) > 1:
        nodes.append(helper.make_node("Concat", words, ["output"], axis=1))
        outputs["output"] = (["n", 3 + len(words)], TensorProto.FLOAT)
    else:
        nodes += _apart(ending, batch, outputs)
    infos = [helper.make_tensor_value_info(n, kind, shape) for n, (shape, kind) in outputs.items()]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    values = [numpy_helper.from_array(v, n) for n, v in constants.items()]
    made = helper.make_graph(nodes, "g", [image], infos, values)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def _apart(ending: str, batch: bool, outputs: dict[str, tuple[list[Any], int]]) -> list[Any]:
    """Boxes, scores and classes as outputs of their own."""
    first: list[Any] = [1] if batch else []
    nodes = [helper.make_node("Reshape", ["class_i", "rows"], ["class_row"])]
    sources = {"boxes": "box", "scores": "score_i", "labels": "class_row"}
    if ending == "dets":
        nodes.append(helper.make_node("Concat", ["box", "score"], ["five"], axis=1))
        sources = {"dets": "five", "labels": "class_row"}
    if ending == "counted":
        sources = {"det_boxes": "box", "det_scores": "score_i", "det_classes": "class_row"}
        nodes += [
            helper.make_node("Shape", ["score_i"], ["number"]),
            helper.make_node("Unsqueeze", ["number", "axis0"], ["num_dets"]),
        ]
        outputs["num_dets"] = ([1, 1], TensorProto.INT64)
    for name, source in sources.items():
        kind = "Unsqueeze" if batch else "Identity"
        nodes.append(helper.make_node(kind, [source, *(["axis0"] if batch else [])], [name]))
        width: Sequence[Any] = [4] if "box" in name else [5] if name == "dets" else []
        whole = name in ("labels", "det_classes")
        outputs[name] = ([*first, "n", *width], TensorProto.INT64 if whole else TensorProto.FLOAT)
    return nodes


def _boxes() -> Array:
    y, x = np.mgrid[:8, :8]
    low = np.stack([x, y], -1).reshape(1, 64, 2) * 8.0
    return np.concatenate([low, low + np.array([7.0, 6.0])], 2).astype(np.float32)


def expected(model: onnx.ModelProto, image: Array) -> Array:
    """(K, 6) of the graph before its ending: box, score, class, best first."""
    import onnxruntime as ort

    graph = onnx.ModelProto()
    graph.CopyFrom(model)
    del graph.graph.output[:]
    for name, kind in (
        ("kept", TensorProto.INT64),
        ("scores_all", TensorProto.FLOAT),
        ("boxes_all", TensorProto.FLOAT),
    ):
        graph.graph.output.append(helper.make_tensor_value_info(name, kind, None))
    session = ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    kept, scores, boxes = session.run(None, {"image": image})
    rows = [[*boxes[0, i], scores[0, c, i], c] for _, c, i in kept]
    found = np.array(rows, np.float32).reshape(-1, 6)
    return found[np.argsort(-found[:, 4], kind="stable")]
