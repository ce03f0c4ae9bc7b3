"""Pass: integers in and out of a quantised graph.

Requires: a graph whose inputs are quantised and outputs dequantised. Ensures: the same integers
inside; the caller gives and gets them instead of floats. The image is then its own bytes, and a
frame moves a quarter of the memory.
"""

from __future__ import annotations

import dataclasses

import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekit.spec import DetectionSpec, TensorSpec

_DTYPES = {TensorProto.UINT8: "uint8", TensorProto.UINT16: "uint16"}


def integers_in_and_out(model: onnx.ModelProto, spec: DetectionSpec) -> tuple[onnx.ModelProto, DetectionSpec]:
    """Makes quantised inputs and outputs integers; those in float stay in float."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    constants = {t.name: t for t in graph.initializer}
    image = _strip_input(graph, constants, spec.input)
    outputs = tuple(_strip_output(graph, constants, o) for o in spec.outputs)
    return result, dataclasses.replace(spec, input=image, outputs=outputs)


def _strip_input(graph: onnx.GraphProto, constants: dict[str, TensorProto], tensor: TensorSpec) -> TensorSpec:
    readers = [n for n in graph.node if tensor.name in n.input]
    if len(readers) != 1 or readers[0].op_type != "QuantizeLinear":
        return tensor
    stored = _stored(tensor, readers[0], constants)
    for node in graph.node:
        for i, name in enumerate(node.input):
            if name == readers[0].output[0]:
                node.input[i] = tensor.name
    graph.node.remove(readers[0])
    _retype(graph.input, stored)
    return stored


def _strip_output(graph: onnx.GraphProto, constants: dict[str, TensorProto], tensor: TensorSpec) -> TensorSpec:
    producer = next(n for n in graph.node if tensor.name in n.output)
    if producer.op_type != "DequantizeLinear":
        return tensor
    stored = _stored(tensor, producer, constants)
    before = producer.input[0]
    graph.node.remove(producer)
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = tensor.name if name == before else name
    _retype(graph.output, stored)
    return stored


def _stored(tensor: TensorSpec, node: onnx.NodeProto, constants: dict[str, TensorProto]) -> TensorSpec:
    scale, zero = (numpy_helper.to_array(constants[n]).item() for n in node.input[1:3])
    dtype = _DTYPES[constants[node.input[2]].data_type]
    return dataclasses.replace(tensor, dtype=dtype, scale=float(scale), zero_point=int(zero))


def _retype(values: list[onnx.ValueInfoProto], tensor: TensorSpec) -> None:
    kind = next(k for k, name in _DTYPES.items() if name == tensor.dtype)
    for value in values:
        if value.name == tensor.name:
            value.CopyFrom(helper.make_tensor_value_info(tensor.name, kind, tensor.shape))
