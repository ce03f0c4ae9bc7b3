"""Small ONNX graphs, what ONNX Runtime makes of them, and what LiteRT makes of them once lowered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgekit.graph.view import Editor

pytest.importorskip("ai_edge_litert")

from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from edgekit.tflite.lowering import Lowered, lower
from edgekit.tflite.writer import SIGNATURE, unpack

Array = np.ndarray[Any, Any]
Built = str | Sequence[str]
Build = Callable[[Editor, str], Built]  # appends to a graph that has the value; returns the outputs

_NAMES = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}


@dataclass(frozen=True)
class Case:
    """One operator on a value of `shape`, drawn from a normal distribution times `scale`."""

    shape: tuple[int, ...]
    build: Build
    scale: float = 2.0
    opset: int = 18
    tolerance: float = 1e-5


def random(*shape: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def one(kind: str, *more: Any, **attributes: Any) -> Build:
    """One operator; `more`: its further inputs, as values."""
    return lambda e, x: e.op(
        kind, x, *["" if m is None else e.const(m, np.asarray(m).dtype) for m in more], **attributes
    )


def floats(value: Any) -> Any:
    return np.asarray(value, np.float32)


def computed(e: Editor, x: str, *shape: int) -> str:
    """A value of this shape that is computed from x."""
    size = int(np.prod(shape))
    ends = e.slice(e.reshape(x, -1), 0, 0, size)
    return e.op("Tanh", e.reshape(ends, *shape))


def integers(e: Editor, x: str, low: int = -5, high: int = 5, kind: int = TensorProto.INT64) -> str:
    return e.op("Cast", e.op("Clip", x, e.const(float(low)), e.const(float(high))), to=kind)


def graph(case: Case, after_conv: bool = False) -> onnx.ModelProto:
    """The case's graph; `after_conv`: its value comes from a convolution, so that it lies NHWC."""
    shape = (case.shape[0], 3, *case.shape[2:]) if after_conv else case.shape
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph([], "case", [value], []), opset_imports=[helper.make_opsetid("", case.opset)], ir_version=10
    )
    editor, x = Editor(model), "x"
    if after_conv:
        x = editor.op("Conv", x, editor.const(random(case.shape[1], 3, 1, 1)))
    built = case.build(editor, x)
    for name in [built] if isinstance(built, str) else built:
        known = [v for v in model.graph.input if v.name == name]
        model.graph.output.append(known[0] if known else onnx.ValueInfoProto(name=name))
    return onnx.shape_inference.infer_shapes(model, data_prop=True)


def reference(model: onnx.ModelProto, feed: Mapping[str, Array]) -> dict[str, Array]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [v.name for v in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(names, dict(feed)))))


def litert(data: bytes, feed: Mapping[str, Array]) -> dict[str, Array]:
    runner = Interpreter(model_content=data, num_threads=1).get_signature_runner(SIGNATURE)
    return {name: np.array(value) for name, value in runner(**feed).items()}


def agree(
    model: onnx.ModelProto, images: Sequence[str] = (), scale: float = 1.0, tolerance: float = 1e-5
) -> Counter[str]:
    """Asserts that the lowered graph computes the same; returns how often it has each operator."""
    rng = np.random.default_rng(0)
    feed, stored = {}, {}
    for value in model.graph.input:
        size = [d.dim_value for d in value.type.tensor_type.shape.dim]
        feed[value.name] = np.asarray(rng.normal(size=size) * scale, np.float32)
        stored[value.name] = feed[value.name].transpose(0, 2, 3, 1) if value.name in images else feed[value.name]
    want = reference(model, feed)
    lowered = lower(model, images)
    assert lowered.inputs == {n: a.shape for n, a in stored.items()}
    got = litert(lowered.data, stored)
    assert set(got) == set(want) == set(lowered.outputs)
    for name, array in want.items():
        assert got[name].shape == array.shape == lowered.outputs[name], name
        if array.dtype.kind == "f":
            np.testing.assert_allclose(got[name], array, tolerance, tolerance, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], array, err_msg=name)
    return kinds(lowered)


def check(case: Case, after_conv: bool = False) -> Counter[str]:
    return agree(graph(case, after_conv), ["x"] * after_conv, case.scale, case.tolerance)


def both(cases: Mapping[str, Case]) -> pytest.MarkDecorator:
    """Parametrises a test with each case, and with images once more after a convolution."""
    return pytest.mark.parametrize(
        ("case", "after_conv"),
        [
            pytest.param(case, after, id=f"{name}-nhwc" if after else name)
            for name, case in cases.items()
            for after in (False, True)[: 1 + (len(case.shape) == 4)]
        ],
    )


def kinds(lowered: Lowered) -> Counter[str]:
    model = unpack(lowered.data)
    codes = [_NAMES[c.builtinCode] for c in model.operatorCodes]
    return Counter(codes[o.opcodeIndex] for o in model.subgraphs[0].operators)
