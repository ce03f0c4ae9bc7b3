"""What the Snapdragon tests share: small graphs, and Qualcomm's compiler and simulator on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgekit.target import Chip

Array = np.ndarray[Any, Any]
ELITE = Chip("SM8750", 69, 79)
SIDE, CELLS = 32, 16  # of the small detector: its image, and the places it looks at


def model(
    nodes: Sequence[onnx.NodeProto],
    image: Sequence[int],
    outputs: dict[str, Sequence[int]],
    weights: dict[str, Array],
    contrib: bool = False,
) -> onnx.ModelProto:
    def info(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    graph = helper.make_graph(
        list(nodes),
        "test",
        [info("image", image)],
        [info(n, s) for n, s in outputs.items()],
        [numpy_helper.from_array(np.asarray(w), n) for n, w in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid("com.microsoft", 1)] * contrib)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def conv_and_silu(height: int, width: int = 12, channels: int = 32) -> onnx.ModelProto:
    weights = np.random.default_rng(0).standard_normal((channels, 8, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], "conv"),
        helper.make_node("Sigmoid", ["c"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["c", "s"], ["y"], "product"),
    ]
    return model(nodes, [1, 8, height, width], {"y": [1, channels, height, width]}, {"w": weights * 0.3})


def detector(*middle: str, suppress: bool = False) -> onnx.ModelProto:
    """Boxes (1, 16, 4) and scores (1, 16, 2) of an image of 32 pixels, as `boxes-scores`.

    `middle`: operators of one input between the two convolutions, each named net/OPERATOR.
    """
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["image", "w0"], ["stem"], "net/stem", strides=[8, 8]),
        helper.make_node("Conv", ["stem", "w2"], ["x0"], "net/second"),
    ]
    for i, kind in enumerate(middle):
        nodes.append(helper.make_node(kind, [f"x{i}"], [f"x{i + 1}"], f"net/{kind}"))
    nodes += [
        helper.make_node("Conv", [f"x{len(middle)}", "w1"], ["raw"], "net/head"),
        helper.make_node("Reshape", ["raw", "rows"], ["flat"], "net/flat"),
        helper.make_node("Transpose", ["flat"], ["cells"], "net/cells", perm=[0, 2, 1]),
        helper.make_node("Split", ["cells", "parts"], ["sides", "logits"], "net/split", axis=2),
        helper.make_node("Sigmoid", ["logits"], ["scores"], "net/scores"),
        helper.make_node("Relu", ["sides"], ["out"], "net/sides"),
        helper.make_node("Sub", ["middle", "out"], ["low"], "net/low"),
        helper.make_node("Add", ["middle", "out"], ["high"], "net/high"),
        helper.make_node("Slice", ["low", "zero", "two", "last"], ["low2"], "net/low2"),
        helper.make_node("Slice", ["high", "two", "four", "last"], ["high2"], "net/high2"),
        helper.make_node("Concat", ["low2", "high2"], ["boxes"], "net/boxes", axis=2),
    ]
    centres = np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(1, 16, 2) * 8 + 4
    weights = {
        "w0": rng.standard_normal((8, 3, 8, 8)).astype(np.float32) * 0.1,
        "w1": rng.standard_normal((6, 8, 1, 1)).astype(np.float32),
        "w2": rng.standard_normal((8, 8, 1, 1)).astype(np.float32) * 0.3,
        "rows": np.array([1, 6, 16]),
        "parts": np.array([4, 2]),
        "middle": np.tile(centres, 2).astype(np.float32),
        "zero": np.array([0]),
        "two": np.array([2]),
        "four": np.array([4]),
        "last": np.array([2]),
    }
    outputs: dict[str, Sequence[int]] = {"boxes": [1, 16, 4], "scores": [1, 16, 2]}
    made = model(nodes, [1, 3, SIDE, SIDE], outputs, weights)
    return _suppressing(made) if suppress else made


def _suppressing(made: onnx.ModelProto) -> onnx.ModelProto:
    """With NonMaxSuppression at its end, as boxes, scores and labels of what is left."""
    graph = made.graph
    for name, value in {"most": np.array([10]), "overlap": np.array([0.5], np.float32), "third": np.array([2])}.items():
        graph.initializer.append(numpy_helper.from_array(value, name))
    graph.node.extend(
        [
            helper.make_node("Transpose", ["scores"], ["by_class"], "net/by_class", perm=[0, 2, 1]),
            helper.make_node("NonMaxSuppression", ["boxes", "by_class", "most", "overlap"], ["kept"], "net/nms"),
            helper.make_node("Gather", ["kept", "third"], ["which2"], "net/which", axis=1),
            helper.make_node("Squeeze", ["which2", "last1"], ["which"], "net/which1"),
            helper.make_node("Gather", ["boxes", "which"], ["k_boxes"], "net/k_boxes", axis=1),
            helper.make_node("ReduceMax", ["scores"], ["best"], "net/best", axes=[2], keepdims=0),
            helper.make_node("Gather", ["best", "which"], ["k_scores"], "net/k_scores", axis=1),
            helper.make_node("ArgMax", ["scores"], ["class"], "net/class", axis=2, keepdims=0),
            helper.make_node("Gather", ["class", "which"], ["k_labels"], "net/k_labels", axis=1),
        ]
    )
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "last1"))
    del graph.output[:]
    graph.output.extend(
        [
            helper.make_tensor_value_info("k_boxes", TensorProto.FLOAT, [1, "n", 4]),
            helper.make_tensor_value_info("k_scores", TensorProto.FLOAT, [1, "n"]),
            helper.make_tensor_value_info("k_labels", TensorProto.INT64, [1, "n"]),
        ]
    )
    return made


def on_cpu(graph: onnx.ModelProto, image: Array) -> dict[str, Array]:
    from edgekit.quantize.search import run_onnx

    return run_onnx(graph, [{"image": image}], fused=False)[0]


def on_npu(graph: onnx.ModelProto, image: Array, chip: Chip = ELITE) -> dict[str, Array]:
    """Compiled, and run in the simulator."""
    from edgekit.qnn.context import compile_context
    from edgekit.runtime.engines.qnn import provider

    context = compile_context(graph, chip)
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.add_provider_for_devices([provider()], {"backend_type": "htp"})
    session = ort.InferenceSession(context, settings)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {"image": image})))


def on_sixteen_bits(graph: onnx.ModelProto, image: Array) -> onnx.ModelProto:
    """`graph` as quantise/dequantise pairs of 16 bits, with the ranges it has on `image`."""
    from edgekit.qnn.qdq import write

    probe = onnx.ModelProto()
    probe.CopyFrom(graph)
    known = {o.name for o in graph.graph.output}
    probe.graph.output.extend(onnx.ValueInfoProto(name=o) for n in graph.graph.node for o in n.output if o not in known)
    values = {"image": image, **on_cpu(probe, image)}
    ranges = {n: (min(float(v.min()), 0.0), max(float(v.max()), 0.0)) for n, v in values.items()}
    return write(graph, ranges, ranges, {n.name for n in graph.graph.node}, set())


def snr(reference: Array, other: Array) -> float:
    """Signal to noise in dB; 200 when equal."""
    noise = float(np.square(reference.astype(np.float64) - other).sum())
    signal = float(np.square(reference.astype(np.float64)).sum())
    return 10 * float(np.log10(signal / noise)) if noise and signal else 200.0
