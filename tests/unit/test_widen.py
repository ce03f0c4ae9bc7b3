"""A detector exported in half precision is read as one in single precision with the same weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.graph.canonical import canonicalise
from edgekit.graph.widen import widen
from edgekit.sources.base import SourceOptions
from edgekit.sources.onnx import OnnxSource
from edgekit.tasks.detection.evidence import open_model
from tests.heads import SIDE, Array, corners, sigmoid, ultralytics


def half(model: onnx.ModelProto, ends: bool) -> onnx.ModelProto:
    """As exporters leave it: weights in half, and casts at its ends or half there as well."""
    graph = model.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    if ends:
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
        return model
    for node in graph.node:
        node.input[:] = ["narrow" if n == "image" else n for n in node.input]
        node.output[:] = ["narrow_out" if n == "output0" else n for n in node.output]
    graph.node.insert(0, helper.make_node("Cast", ["image"], ["narrow"], to=TensorProto.FLOAT16))
    graph.node.append(helper.make_node("Cast", ["narrow_out"], ["output0"], to=TensorProto.FLOAT))
    return model


def values(model: onnx.ModelProto, name: str) -> Array:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == f"{name}_values").astype(
        np.float32
    )


@pytest.mark.parametrize("ends", [True, False])
def test_half_precision(ends: bool, tmp_path: Path) -> None:
    model = half(ultralytics(3, 0), ends)
    onnx.save(model, tmp_path / "half.onnx")
    options = SourceOptions()
    read = canonicalise(OnnxSource().read(str(tmp_path / "half.onnx"), options, tmp_path), options)
    assert read.spec is not None
    assert (read.spec.decoder, read.spec.input.dtype) == ("yolov8", "float32")
    assert any("half precision" in n for n in read.source.notes)
    assert {t.data_type for t in read.graph.graph.initializer}.isdisjoint({TensorProto.FLOAT16})
    with open_model(read) as detector:
        detector.prepare(np.zeros((SIDE, SIDE, 3), np.uint8))
        found = detector.run()
    boxes, logits = values(model, "box")[0].T, values(model, "logits")[0]
    np.testing.assert_allclose(found["boxes"][0], corners(boxes), rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["scores"][0], sigmoid(logits), rtol=1e-5)


def test_single_precision_stays() -> None:
    model = ultralytics(3, 0)
    assert widen(model) == (model, ())
