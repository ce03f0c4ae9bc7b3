"""Pass: keys and values go in and out of a decoder graph in float16.

Requires: `past_…` inputs, and `key_…` and `value_…` outputs, in float32. Ensures: the same in float16,
as the NPU computes with them anyway: half the memory and half of what is copied for each token.
"""

from __future__ import annotations

import onnx
from onnx import TensorProto, helper

_INSIDE = "/float32"


def half_cache(model: onnx.ModelProto) -> onnx.ModelProto:
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    past = [v for v in graph.input if v.name.startswith("past_")]
    new = [v for v in graph.output if v.name.startswith(("key_", "value_"))]
    names = {v.name for v in (*past, *new)}
    for node in graph.node:
        for side in (node.input, node.output):
            for i, name in enumerate(side):
                side[i] = name + _INSIDE if name in names else name
    for value in (*past, *new):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    before = [_cast(v.name, v.name + _INSIDE, TensorProto.FLOAT) for v in past]
    after = [_cast(v.name + _INSIDE, v.name, TensorProto.FLOAT16) for v in new]
    nodes = [*before, *graph.node, *after]
    del graph.node[:]
    graph.node.extend(nodes)
    return result


def _cast(source: str, result: str, to: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], f"cast_{result}", to=to)
