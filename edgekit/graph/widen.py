"""Pass: a graph in half precision, taken to single precision.

Requires nothing. Ensures: no tensor is float16 or bfloat16. Weights are the same numbers; what is computed with them
is no longer rounded to half. Runtimes feed single precision, and what is half is decided for each target.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_NOTE = (
    "the source is in half precision: its weights were taken to float32 as they are, and nothing is rounded to half in "
    "between; everything is compared with that"
)


def widen(model: onnx.ModelProto) -> tuple[onnx.ModelProto, tuple[str, ...]]:
    """The graph in single precision, and a note where it was not."""
    if not any(_is_half(g) for g in _graphs(model.graph)):
        return model, ()
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for graph in _graphs(result.graph):
        _widen_graph(graph)
    return result, (_NOTE,)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes: the branches of an If, the body of a Loop."""
    yield graph
    for node in graph.node:
        for item in node.attribute:
            if item.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(item.g)


def _is_half(graph: onnx.GraphProto) -> bool:
    values = (*graph.input, *graph.output)
    return (
        any(t.data_type in _HALF for t in graph.initializer)
        or any(v.type.tensor_type.elem_type in _HALF for v in values)
        or any(a.name == "to" and a.i in _HALF for n in graph.node for a in n.attribute)
        or any(a.t.data_type in _HALF for n in graph.node for a in n.attribute if a.HasField("t"))
    )


def _widen_graph(graph: onnx.GraphProto) -> None:
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type in _HALF:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for node in graph.node:
        for item in node.attribute:
            if item.HasField("t"):
                _widen_tensor(item.t)
            elif item.name in ("to", "dtype") and item.i in _HALF:
                item.i = TensorProto.FLOAT


def _widen_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type in _HALF:
        array = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
