"""Graphs that end as detectors do, with random predictions, and what their boxes should be, in plain numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.decoders import canonical_outputs
from edgekit.graph.shapes import fix_shapes
from edgekit.graph.simplify import simplify
from edgekit.spec import DetectionSpec

Array = np.ndarray[Any, Any]
SIDE = 64
CELLS = 84  # 8² + 4² + 2² at strides 8, 16, 32
RANDOM = np.random.default_rng(0)


def graph(
    nodes: list[Any],
    outputs: dict[str, tuple[Any, ...]],
    arrays: dict[str, Array],
    kinds: dict[str, int] | None = None,
    raw: Sequence[str] = (),
) -> onnx.ModelProto:
    """A graph whose predictions are constants plus 0 × the image: as good as a network here. `raw`: those that
    leave its last layer, before any arithmetic."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    base = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "nought"], ["zero"]),
    ]
    initializers = [numpy_helper.from_array(np.array(0, np.float32), "nought")]
    for name, array in arrays.items():
        if name in raw:
            base += layer(name, array, initializers)
            continue
        initializers.append(numpy_helper.from_array(np.asarray(array, np.float32), f"{name}_values"))
        base.append(helper.make_node("Add", [f"{name}_values", "zero"], [name]))
    infos = [
        helper.make_tensor_value_info(n, (kinds or {}).get(n, TensorProto.FLOAT), list(s)) for n, s in outputs.items()
    ]
    made = helper.make_graph([*base, *nodes], "test", [image], infos, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def layer(name: str, array: Array, initializers: list[Any]) -> list[Any]:
    """A fully connected layer whose weights are nought, and whose biases are the array."""
    flat = np.asarray(array, np.float32).reshape(1, -1)
    for part, value in {"weights": np.zeros_like(flat), "bias": flat, "shape": np.array(array.shape)}.items():
        initializers.append(numpy_helper.from_array(value, f"{name}_{part}"))
    if not any(t.name == "one_one" for t in initializers):
        initializers.append(numpy_helper.from_array(np.array([1, 1]), "one_one"))
    return [
        helper.make_node("Reshape", ["mean", "one_one"], [f"{name}_mean"]),
        helper.make_node("Gemm", [f"{name}_mean", f"{name}_weights", f"{name}_bias"], [f"{name}_row"]),
        helper.make_node("Reshape", [f"{name}_row", f"{name}_shape"], [name]),
    ]


def decode(model: onnx.ModelProto, **options: Any) -> tuple[dict[str, Array], DetectionSpec]:
    model = simplify(fix_shapes(model, None, "test"), "test")
    result, spec = canonical_outputs(model, "test", **options)
    session = ort.InferenceSession(result.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    image = RANDOM.random((1, 3, SIDE, SIDE), dtype=np.float32)
    found = dict(zip(names, session.run(names, {session.get_inputs()[0].name: image})))
    for output in spec.outputs:
        assert all(a in (b, -1) for a, b in zip(output.shape, found[output.name].shape))
    return found, spec


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def corners(boxes: Array) -> Array:
    """(…, 4) centre x, centre y, width, height to x1 y1 x2 y2."""
    return np.concatenate([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


def cells() -> tuple[Array, Array]:
    grid, scale = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: SIDE // stride, : SIDE // stride]
        grid.append(np.stack([x, y], -1).reshape(-1, 2))
        scale.append(np.full((len(grid[-1]), 1), stride))
    return np.concatenate(grid), np.concatenate(scale)


def ultralytics(classes: int, beside: int, transposed: bool = False) -> onnx.ModelProto:
    """Boxes, class probabilities, and as many other numbers beside them."""
    arrays = {"box": RANDOM.random((1, 4, CELLS)) * 50, "logits": RANDOM.standard_normal((1, classes, CELLS))}
    nodes = [helper.make_node("Sigmoid", ["logits"], ["likely"])]
    parts = ["box", "likely"]
    if beside:
        arrays["more"] = RANDOM.standard_normal((1, beside, CELLS)) * 9
        parts.append("more")
    channels = 4 + classes + beside
    nodes.append(helper.make_node("Concat", parts, ["joined"], axis=1))
    last = ("Transpose", {"perm": [0, 2, 1]}) if transposed else ("Identity", {})
    nodes.append(helper.make_node(last[0], ["joined"], ["output0"], **last[1]))
    shape = (1, CELLS, channels) if transposed else (1, channels, CELLS)
    return graph(nodes, {"output0": shape}, arrays, raw=("more",))
