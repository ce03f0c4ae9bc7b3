"""What was quantised by ONNX Runtime's own tools comes back as the float of its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.errors import SourceError
from edgekit.graph import count
from edgekit.graph.canonical import canonicalise
from edgekit.graph.dequantise import dequantise, kind_of
from edgekit.sources.base import SourceOptions
from edgekit.sources.onnx import OnnxSource

Array = np.ndarray[Any, Any]


def network() -> onnx.ModelProto:
    """A detector in the layout of YOLOv8, of 64 cells at stride 8 and so on, with activations and pooling."""
    rng = np.random.default_rng(0)
    nodes, values = [], []

    def weight(name: str, *shape: int) -> None:
        values.append(numpy_helper.from_array((rng.standard_normal(shape) * 0.2).astype(np.float32), name))

    weight("w0", 8, 3, 8, 8)
    weight("b0", 8)
    weight("w1", 7, 8, 1, 1)
    values += [numpy_helper.from_array(np.array(v, np.int64), n) for n, v in (("flat", [1, 7, -1]), ("parts", [4, 3]))]
    nodes.append(helper.make_node("Conv", ["images", "w0", "b0"], ["c"], strides=[8, 8]))
    nodes.append(helper.make_node("Relu", ["c"], ["r"]))
    ends, last = [], "r"
    for level in range(3):
        if level:
            nodes.append(helper.make_node("MaxPool", [last], [f"p{level}"], kernel_shape=[2, 2], strides=[2, 2]))
            last = f"p{level}"
        nodes.append(helper.make_node("Conv", [last, "w1"], [f"h{level}"]))
        nodes.append(helper.make_node("Reshape", [f"h{level}", "flat"], [f"f{level}"]))
        ends.append(f"f{level}")
    nodes += [
        helper.make_node("Concat", ends, ["all"], axis=2),
        helper.make_node("Split", ["all", "parts"], ["b", "s"], axis=1),
        helper.make_node("Sigmoid", ["s"], ["likely"]),
        helper.make_node("Concat", ["b", "likely"], ["output0"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 64, 64])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 7, 84])],
        values,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def pictures() -> list[dict[str, Array]]:
    return [{"images": np.random.default_rng(i).random((1, 3, 64, 64), dtype=np.float32)} for i in range(4)]


def quantised(kind: str, folder: Path) -> onnx.ModelProto:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(pictures())

        def get_next(self) -> dict[str, Array]:
            return next(self.left, None)  # type: ignore[return-value]

    onnx.save(network(), folder / "float.onnx")
    source, place = str(folder / "float.onnx"), str(folder / "q.onnx")
    if kind == "dynamic":
        quantize_dynamic(source, place, weight_type=QuantType.QUInt8)
    else:
        form = QuantFormat.QOperator if "QOperator" in kind else QuantFormat.QDQ
        quantize_static(
            source, place, Reader(), quant_format=form, per_channel="channel" in kind, weight_type=QuantType.QInt8
        )
    return onnx.load(place)


def run(model: onnx.ModelProto, feed: dict[str, Array]) -> Array:
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feed)[0])


KINDS = ["dynamic", "QDQ", "QDQ by channel", "QOperator", "QOperator by channel"]


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_float_of_its_weights(kind: str, tmp_path: Path) -> None:
    model = quantised(kind, tmp_path)
    assert kind_of(model) == kind.split()[0]
    back, (note,) = dequantise(model, "m")
    assert kind_of(back) == "" and f"already quantised ({kind.split()[0]})" in note
    onnx.checker.check_model(back, full_check=True)
    assert sum(n.op_type == "Conv" for n in back.graph.node) == 4
    for feed in pictures():
        exact, float_, rounded = run(back, feed), run(network(), feed), run(model, feed)
        scale = np.abs(float_).max()
        assert np.abs(exact - rounded).max() < 0.03 * scale  # activations were rounded to 8 bits
        assert np.abs(exact - float_).max() < 0.03 * scale


def test_weights_are_what_the_integers_stand_for(tmp_path: Path) -> None:
    model = quantised("QDQ by channel", tmp_path)
    back = dequantise(model, "m")[0]
    have = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    real = {t.name: numpy_helper.to_array(t) for t in back.graph.initializer}
    node = next(n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0].startswith("w0"))
    whole, scale, zero = (have[i] for i in node.input)
    expected = (whole.astype(np.float64) - zero.reshape(-1, 1, 1, 1)) * scale.astype(np.float64).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(real[node.output[0]], expected.astype(np.float32))


def test_an_end_that_was_left_to_the_range_is_kept() -> None:
    """Exporters drop a Relu before eight bits that begin at zero."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
    ]
    values = [numpy_helper.from_array(np.array(v, t), n) for n, v, t in (("s", 0.1, np.float32), ("z", 0, np.uint8))]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [3]) for n in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "g", infos[:1], infos[1:], values),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    found = run(dequantise(model, "m")[0], {"x": np.array([-5, 1.234, 99], np.float32)})
    np.testing.assert_allclose(found, [0, 1.234, 25.5], rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_detector_is_read_and_counted(kind: str, tmp_path: Path) -> None:
    onnx.save(quantised(kind, tmp_path), tmp_path / "detector.onnx")
    model = canonicalise(OnnxSource().read(str(tmp_path / "detector.onnx"), SourceOptions(), tmp_path), SourceOptions())
    assert model.spec is not None and (model.spec.decoder, len(model.spec.labels)) == ("yolov8", 3)
    assert any("already quantised" in n for n in model.source.notes)
    wanted = 8 * 3 * 64 + 8 + 7 * 8
    assert wanted - 8 <= (model.source.parameters or 0) <= wanted + 8
    assert model.source.flops == count.flops(network())


def test_a_scale_that_is_computed_is_refused(tmp_path: Path) -> None:
    model = quantised("QDQ", tmp_path)
    node = next(n for n in model.graph.node if n.op_type == "QuantizeLinear")
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["images"], ["most"], keepdims=0))
    node.input[1] = "most"
    with pytest.raises(SourceError, match="already quantised") as caught:
        dequantise(model, "m")
    assert "is computed" in caught.value.why and "float model" in caught.value.next


def test_a_float_graph_stays_as_it_is() -> None:
    model = network()
    assert dequantise(model, "m") == (model, ())


def test_a_softmax_of_eight_bits() -> None:
    """It carries the opset whose softmax it is: that is no attribute of the float one."""
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node(
            "QLinearSoftmax", ["q", "s", "z", "s1", "z"], ["p"], domain="com.microsoft", axis=-1, opset=17
        ),
        helper.make_node("DequantizeLinear", ["p", "s1", "z"], ["y"]),
    ]
    values = [
        numpy_helper.from_array(np.array(v, t), n)
        for n, v, t in (("s", 0.02, np.float32), ("s1", 1 / 255, np.float32), ("z", 0, np.uint8))
    ]
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 3]) for n in "xy"]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_graph(nodes, "g", infos[:1], infos[1:], values)
    model = helper.make_model(made, opset_imports=opsets, ir_version=9)
    x = np.array([[0.5, 1, 2], [3, 0, 1]], np.float32)
    weights = np.exp(x)
    found = run(dequantise(model, "m")[0], {"x": x})
    np.testing.assert_allclose(found, weights / weights.sum(1, keepdims=True), rtol=1e-5)
    np.testing.assert_allclose(run(model, {"x": x}), found, atol=0.02)
